"""One life of a supervisor: started with N services, killed at, looked at, stopped. Each step is a row."""

import contextlib
import os
import shutil
import statistics
import subprocess
import tempfile
import time

from . import processes
from .starts import Starts

# How long a step may take before the supervisor has failed it.
PATIENCE = 120

# Services killed one by one, as long as there is time.
KILLS = 100
KILL_SECONDS = 6

STATUS_RUNS = 20

MEBIBYTE = 1 << 20


class Failed(Exception):
    """A supervisor did not do what it is for, within PATIENCE."""


@contextlib.contextmanager
def run_directory(parent):
    """Where all lives of a run have their files, removed at the end of the run.

    Not after each life: for minutes after thousands of files were removed, ext4 makes each new one slowly (it passes
    over inodes freed lately, `recently_deleted`), and the next supervisor would pay for the one before.
    """
    directory = tempfile.mkdtemp(prefix="cafe-bench-", dir=parent)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def life(peer_class, count, directory):
    """A configured, not yet started peer and the starts of its services; no process is left afterwards."""
    work = tempfile.mkdtemp(prefix=f"{peer_class.name}-", dir=directory)
    starts = None
    try:
        starts = Starts(os.path.join(work, "fifo"))
        peer = peer_class(work, starts.path, count)
        peer.prepare()
        yield peer, starts
    finally:
        processes.end_all()
        remove_cgroups(work)
        if starts:
            starts.close()


def measure(peer_class, count, rows, idle_seconds, directory):
    """Rows of one life: name -> value, in the unit of `report.ROWS`."""
    with life(peer_class, count, directory) as (peer, starts):
        figures = {}
        try:
            _measure(peer, starts, count, rows, idle_seconds, figures)
        except Failed as failure:
            print(f"    {peer.name}: {failure}\n{peer.explain()}", flush=True)
        return figures


def _measure(peer, starts, count, rows, idle_seconds, figures):
    began = time.monotonic_ns()
    peer.start()
    last = starts.wait_all(count, PATIENCE)
    if last is None:
        raise Failed(f"only {len(starts.current)} of {count} services started")
    figures["start"] = (last - began) / 1e9
    starts.settle(peer.settle)
    if "memory" in rows:
        figures["memory"] = processes.memory(processes.supervisors()) / MEBIBYTE
    if "restart" in rows:
        figures["restart"] = statistics.median(_kill_some(starts, count)) * 1000
        starts.settle(peer.settle)
    if "back" in rows:
        figures["back"] = _kill_all(starts)
        starts.settle(peer.settle)
    if "memory" in rows:
        figures["memory_after"] = processes.memory(processes.supervisors()) / MEBIBYTE
    if "status" in rows and peer.name == "cafe":
        figures["status"] = statistics.median(_ask_status(peer)) * 1000
    if "idle" in rows:
        figures["idle"], figures["wakeups"] = _idle(starts, idle_seconds)
    figures["stop"] = _stop(peer, starts)


def _kill_some(starts, count):
    """Seconds from SIGKILL to running again, one service after the other."""
    times = []
    end = time.monotonic() + KILL_SECONDS
    step = max(1, count // KILLS)
    for index in range(0, count, step):
        pid, _ = before = starts.current[index]
        killed = time.monotonic_ns()
        processes.kill(pid)
        again = starts.wait_new({index: before}, PATIENCE)
        if again is None:
            raise Failed(f"service {index} did not come back")
        times.append((again - killed) / 1e9)
        if time.monotonic() > end:
            break
    return times


def _kill_all(starts):
    """Seconds from the first SIGKILL to the last service running again."""
    before = dict(starts.current)
    killed = time.monotonic_ns()
    for pid, _ in before.values():
        processes.kill(pid)
    back = starts.wait_new(before, PATIENCE)
    if back is None:
        missing = sum(starts.current[index] == start for index, start in before.items())
        raise Failed(f"{missing} services did not come back")
    return (back - killed) / 1e9


def _ask_status(peer):
    """Seconds of `cafe status`, the whole process."""
    times = []
    null = os.open(os.devnull, os.O_RDWR)
    command = [str(peer.binary), "status", "--socket", str(peer.socket)]
    for _ in range(STATUS_RUNS):
        began = time.perf_counter()
        done = subprocess.run(command, stdin=null, stdout=null, check=False)
        times.append(time.perf_counter() - began)
        if done.returncode != 0:
            raise Failed(f"cafe status: {done.returncode}")
    os.close(null)
    return times


def _idle(starts, seconds):
    """CPU in percent of one core, and wake-ups per second, of all processes of the supervisor."""
    pids = processes.supervisors()
    cpu, wakeups, began = processes.cpu_seconds(pids), processes.wakeups(pids), time.monotonic()
    starts.settle(seconds)
    passed = time.monotonic() - began
    after = processes.wakeups(pids)
    woken = sum(number - wakeups.get(thread, 0) for thread, number in after.items())
    return (processes.cpu_seconds(pids) - cpu) / passed * 100, woken / passed


def _stop(peer, starts):
    """Seconds from the order to stop until no service and no part of the supervisor is left."""
    supervisors = processes.supervisors()
    ends = processes.Ends([pid for pid, _ in starts.current.values()] + supervisors)
    ordered = time.monotonic_ns()
    peer.stop()
    ended = ends.wait(PATIENCE)
    if ended is None:
        raise Failed("did not stop")
    return (ended - ordered) / 1e9


def remove_cgroups(work):
    """What cafe leaves of its cgroups when it was killed."""
    with contextlib.suppress(OSError):
        found = os.stat(os.path.join(work, "state"))
        name = f"cafe-{found.st_dev:x}-{found.st_ino:x}"
        for mount in ("/sys/fs/cgroup/unified", "/sys/fs/cgroup"):
            for directory, _, _ in os.walk(os.path.join(mount, name), topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(directory)
