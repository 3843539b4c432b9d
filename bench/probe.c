/* The service of the measurements: says that it runs, then waits to be ended.
 *
 *   probe FIFO INDEX          reports, then pauses
 *   probe FIFO INDEX exit     reports, then exits with 1 (the crash storm)
 *   run                       as a run file of runit and s6: INDEX is the name of its directory, FIFO is ../../fifo
 *
 * The report is one write of a `struct start`, smaller than PIPE_BUF and so never torn. It carries the time at which
 * main began: how late the harness reads it does not matter. Static, so that it costs as little as a program can.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct start {
    uint32_t index;
    uint32_t pid;
    uint64_t nanoseconds; /* CLOCK_MONOTONIC */
};

static const char *directory_name(void) {
    static char path[4096];
    if (getcwd(path, sizeof path) == NULL) return "0";
    const char *slash = strrchr(path, '/');
    return slash == NULL ? path : slash + 1;
}

int main(int count, char **words) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    const char *fifo = count > 2 ? words[1] : "../../fifo";
    const char *index = count > 2 ? words[2] : directory_name();
    struct start start = {
        .index = (uint32_t)atoi(index),
        .pid = (uint32_t)getpid(),
        .nanoseconds = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec,
    };
    /* The harness holds the FIFO open for reading and writing, so this never waits for it. */
    int descriptor = open(fifo, O_WRONLY | O_CLOEXEC);
    if (descriptor < 0 || write(descriptor, &start, sizeof start) != sizeof start) return 2;
    close(descriptor);
    if (count > 3) return 1;
    for (;;) pause();
}
