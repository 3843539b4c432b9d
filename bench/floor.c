/* The floor: the least a program can do that keeps N processes running.
 *
 *   floor PROBE FIFO N
 *
 * posix_spawn in a loop, then wait for any and spawn it again. One thread, no log, no state, no readiness, no stop
 * deadline, no look for what a service left behind. SIGTERM: ends all of them, waits for all of them, exits.
 */
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* kernel.pid_max is at most this. */
#define PIDS (1 << 22)

static posix_spawnattr_t attributes;

static pid_t spawn(char *probe, char *fifo, int index) {
    char number[16];
    snprintf(number, sizeof number, "%d", index);
    char *words[] = {probe, fifo, number, NULL};
    char *environment[] = {NULL};
    pid_t pid;
    if (posix_spawn(&pid, probe, NULL, &attributes, words, environment) != 0) exit(1);
    return pid;
}

int main(int count, char **words) {
    if (count != 4) return 2;
    int services = atoi(words[3]), ending = 0;
    pid_t *pids = calloc((size_t)services, sizeof *pids);
    /* Pid to index by a table: a search would be a cost of its own. */
    int *index_of = calloc(PIDS, sizeof *index_of);
    if (pids == NULL || index_of == NULL) return 1;

    sigset_t awaited, none;
    sigemptyset(&none);
    sigemptyset(&awaited);
    sigaddset(&awaited, SIGCHLD);
    sigaddset(&awaited, SIGTERM);
    sigprocmask(SIG_BLOCK, &awaited, NULL);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);

    for (int index = 0; index < services; index++) {
        pids[index] = spawn(words[1], words[2], index);
        index_of[pids[index]] = index;
    }
    for (int running = services; running > 0;) {
        int signal = sigwaitinfo(&awaited, NULL);
        if (signal == SIGTERM) {
            ending = 1;
            for (int index = 0; index < services; index++) kill(pids[index], SIGTERM);
        }
        for (pid_t pid; (pid = waitpid(-1, NULL, WNOHANG)) > 0;) {
            int index = index_of[pid];
            if (ending) {
                running--;
                continue;
            }
            pids[index] = spawn(words[1], words[2], index);
            index_of[pids[index]] = index;
        }
    }
    return 0;
}
