"""What the kernel says of processes: who descends from us, what they cost, when they end.

The harness is the reaper of everything it starts (PR_SET_CHILD_SUBREAPER): what a supervisor leaves behind
becomes our child, so that it is counted and ended, never forgotten.
"""

import contextlib
import ctypes
import os
import select
import signal
import time

PR_SET_CHILD_SUBREAPER = 36

# Names of the measured services: bench/probe.c, and the same as the run file of runit and s6.
PROBE_NAMES = {"probe", "run"}


def become_reaper():
    """Orphans below us become our children."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def _table():
    """pid -> (parent, name) of every process that lives; zombies are not listed."""
    table = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat", "rb") as file:
                text = file.read().decode(errors="replace")
        except OSError:
            continue
        name, rest = text[text.index("(") + 1 :].rsplit(")", 1)
        state, parent = rest.split()[:2]
        if state != "Z":
            table[int(entry)] = (int(parent), name)
    return table


def descendants(root=None):
    """pid -> name of all that descends from us (or from `root`)."""
    table = _table()
    children = {}
    for pid, (parent, _) in table.items():
        children.setdefault(parent, []).append(pid)
    found, stack = {}, [root or os.getpid()]
    while stack:
        for pid in children.get(stack.pop(), []):
            found[pid] = table[pid][1]
            stack.append(pid)
    return found


def supervisors():
    """The processes below us that are no services: what the supervisor consists of."""
    return [pid for pid, name in descendants().items() if name not in PROBE_NAMES]


def memory(pids):
    """Proportional set size of the processes in bytes (smaps_rollup): shared pages are counted once."""
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
            line = next(line for line in file if line.startswith("Pss:"))
        total += int(line.split()[1]) * 1024
    return total


def cpu_seconds(pids):
    """CPU time of the processes so far, with the threads that ended: the scheduler's sum, not clock ticks."""
    total = 0
    for pid in pids:
        # MAKE_PROCESS_CPUCLOCK(pid, CPUCLOCK_SCHED) of the kernel, see clock_getcpuclockid(3).
        total += time.clock_gettime_ns((~pid << 3) | 2)
    return total / 1e9


def wakeups(pids):
    """thread -> how often it went to sleep by itself, which is how often it was woken."""
    counts = {}
    for pid in pids:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/status", encoding="utf-8", errors="replace") as file:
                line = next(line for line in file if line.startswith("voluntary_ctxt_switches"))
            counts[thread] = int(line.split()[1])
    return counts


class Ends:
    """Waits until all of a set of processes have ended."""

    def __init__(self, pids):
        self.epoll = select.epoll()
        self.open = {}
        for pid in pids:
            try:
                descriptor = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
            self.open[descriptor] = pid
            self.epoll.register(descriptor, select.EPOLLIN)

    def wait(self, seconds):
        """The time the last one took to end, monotonic nanoseconds; None when some are left after `seconds`."""
        deadline = time.monotonic() + seconds
        last = time.monotonic_ns()
        while self.open:
            events = self.epoll.poll(max(0.0, deadline - time.monotonic()), 1024)
            if not events:
                self.close()
                return None
            last = time.monotonic_ns()
            for descriptor, _ in events:
                self.epoll.unregister(descriptor)
                os.close(descriptor)
                del self.open[descriptor]
        self.epoll.close()
        return last

    def still_below_us(self):
        """Descriptors of those that are (again) seen among our descendants now that they are held."""
        living = descendants()
        return [descriptor for descriptor, pid in self.open.items() if pid in living]

    def close(self):
        for descriptor in self.open:
            os.close(descriptor)
        self.open = {}
        self.epoll.close()


def reap():
    """Buries the children that ended."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def end_all(seconds=20):
    """Kills everything below us and waits until it is gone; supervisors first, else they start it again."""
    deadline = time.monotonic() + seconds
    while True:
        reap()
        living = descendants()
        if not living:
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"still there after SIGKILL: {living}")
        chosen = [pid for pid, name in living.items() if name not in PROBE_NAMES] or list(living)
        ends = Ends(chosen)
        for descriptor in ends.still_below_us():
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        ends.wait(5)


def kill(pid):
    """Kills a service; never whatever has its number by now."""
    with open(f"/proc/{pid}/comm", encoding="utf-8") as file:
        name = file.read().strip()
    if name not in PROBE_NAMES:
        raise ProcessLookupError(f"{pid} is {name}, not a service")
    os.kill(pid, signal.SIGKILL)
