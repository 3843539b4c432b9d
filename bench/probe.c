/* The service of the measurements: says that it runs, then waits to be ended.
 *
 *   probe FIFO INDEX          reports, then pauses
 *   probe FIFO INDEX exit     reports, then exits with 1 (the crash storm)
 *   run                       as a run file of runit and s6: INDEX is the name of its directory, FIFO is ../../fifo
 *
 * The report is one write of a `struct start`, smaller than PIPE_BUF and so never torn. It carries the time at which
 * the program began: how late the harness reads it does not matter.
 *
 * Without the C library, because the start of that (glibc asks the processor for its caches, and in a virtual machine
 * each answer is an exit to the host) took longer than all that any supervisor does: half the CPU time of a run.
 */
#include <fcntl.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>

struct start {
    uint32_t index;
    uint32_t pid;
    uint64_t nanoseconds; /* CLOCK_MONOTONIC */
};

#if defined(__x86_64__)
__asm__(".globl _start\n_start: mov %rsp, %rdi\n and $-16, %rsp\n call begin\n");

static long call(long number, long first, long second, long third, long fourth) {
    register long r10 __asm__("r10") = fourth;
    __asm__ volatile("syscall" : "+a"(number) : "D"(first), "S"(second), "d"(third), "r"(r10) : "rcx", "r11", "memory");
    return number;
}
#elif defined(__aarch64__)
__asm__(".globl _start\n_start: mov x0, sp\n bl begin\n");

static long call(long number, long first, long second, long third, long fourth) {
    register long x8 __asm__("x8") = number, x0 __asm__("x0") = first, x1 __asm__("x1") = second;
    register long x2 __asm__("x2") = third, x3 __asm__("x3") = fourth;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
    return x0;
}
#else
#error "say here how this processor begins a program and makes a system call"
#endif

static const char *directory_name(void) {
    static char path[4096];
    if (call(SYS_getcwd, (long)path, sizeof path, 0, 0) <= 0) return "0";
    const char *name = path;
    for (const char *at = path; *at != 0; at++) {
        if (*at == '/') name = at + 1;
    }
    return name;
}

static uint32_t number(const char *text) {
    uint32_t value = 0;
    for (; *text >= '0' && *text <= '9'; text++) value = value * 10 + (uint32_t)(*text - '0');
    return value;
}

static int run(long count, char **words) {
    struct timespec now;
    call(SYS_clock_gettime, CLOCK_MONOTONIC, (long)&now, 0, 0);
    const char *fifo = count > 2 ? words[1] : "../../fifo";
    const char *index = count > 2 ? words[2] : directory_name();
    struct start start = {
        .index = number(index),
        .pid = (uint32_t)call(SYS_getpid, 0, 0, 0, 0),
        .nanoseconds = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec,
    };
    /* The harness holds the FIFO open for reading and writing, so this never waits for it. */
    long descriptor = call(SYS_openat, AT_FDCWD, (long)fifo, O_WRONLY | O_CLOEXEC, 0);
    if (descriptor < 0) return 2;
    if (call(SYS_write, descriptor, (long)&start, sizeof start, 0) != sizeof start) return 2;
    call(SYS_close, descriptor, 0, 0, 0);
    if (count > 3) return 1;
    /* Without a handler no signal makes it return; SIGSTOP and SIGCONT may. */
    for (;;) call(SYS_ppoll, 0, 0, 0, 0);
}

/* What the kernel leaves on the stack: the number of words, then pointers to them. */
__attribute__((used)) void begin(long *stack) {
    call(SYS_exit_group, run(stack[0], (char **)(stack + 1)), 0, 0, 0);
    __builtin_unreachable();
}
