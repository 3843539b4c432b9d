"""The starts of the services, as the probes report them through a FIFO (see bench/probe.c)."""

import fcntl
import os
import select
import struct
import time

RECORD = struct.Struct("=IIQ")

F_SETPIPE_SZ = 1031

# Room for every start while the harness does something else.
FIFO_BYTES = 1 << 20


class Starts:
    """Who runs since when. `current[index]` is (pid, start in monotonic nanoseconds) of the last start."""

    def __init__(self, path):
        self.path = path
        os.mkfifo(path)
        # For writing, too: without a reader or writer the others would wait or see the end.
        self.descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.fcntl(self.descriptor, F_SETPIPE_SZ, FIFO_BYTES)
        self.poll = select.poll()
        self.poll.register(self.descriptor, select.POLLIN)
        self.current = {}
        self.count = 0
        self.torn = b""

    def close(self):
        os.close(self.descriptor)
        os.unlink(self.path)

    def drain(self, seconds):
        """Takes what has come; waits up to `seconds` for something. Returns the records."""
        if not self.poll.poll(max(0, seconds * 1000)):
            return []
        data = self.torn + os.read(self.descriptor, FIFO_BYTES)
        whole = len(data) - len(data) % RECORD.size
        self.torn = data[whole:]
        records = list(RECORD.iter_unpack(data[:whole]))
        for index, pid, nanoseconds in records:
            self.current[index] = (pid, nanoseconds)
        self.count += len(records)
        return records

    def settle(self, seconds):
        """A sampling window: keeps taking for so long."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.drain(left)

    def wait_all(self, count, seconds):
        """Waits until `count` services have started once; the time of the last start, or None."""
        return self._wait(lambda: len(self.current) >= count, range(count), seconds)

    def wait_new(self, before, seconds):
        """Waits until each service of `before` (index -> old start) runs anew; the time of the last, or None."""
        old = dict(before)

        def all_new():
            for index in [index for index in old if self.current[index] != before[index]]:
                del old[index]
            return not old

        return self._wait(all_new, list(before), seconds)

    def _wait(self, done, indices, seconds):
        end = time.monotonic() + seconds
        while not done():
            left = end - time.monotonic()
            if left <= 0:
                return None
            self.drain(left)
        return max(self.current[index][1] for index in indices)
