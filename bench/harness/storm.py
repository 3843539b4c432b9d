"""The crash storm: services that exit at once whenever started, backoff 100 ms to 30 s."""

import http.client
import socket
import time

from . import processes
from .life import PATIENCE, Failed, life
from .peers import CrashingCafe


class Control(http.client.HTTPConnection):
    """cafe's API on its unix socket."""

    def __init__(self, path):
        super().__init__("cafe", timeout=PATIENCE)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(self.path)

    def ask(self, method, path):
        self.request(method, path)
        answer = self.getresponse()
        text = answer.read().decode()
        if answer.status >= 300:
            raise Failed(f"{method} {path}: {answer.status} {text}")
        return text


def measure(count, first_seconds, then_seconds, directory):
    """CPU of the supervisor in percent of one core after the first `first_seconds`, starts per second then, and
    how many of all starts cafe has not recorded the exit of."""
    with life(CrashingCafe, count, directory) as (peer, starts):
        peer.start()
        if starts.wait_all(count, PATIENCE) is None:
            raise Failed("the storm did not begin")
        starts.settle(first_seconds)
        cafe = [peer.roots[0].pid]
        cpu, began, count_before = processes.cpu_seconds(cafe), time.monotonic(), starts.count
        starts.settle(then_seconds)
        passed = time.monotonic() - began
        cpu = processes.cpu_seconds(cafe) - cpu
        rate = (starts.count - count_before) / passed
        control = Control(peer.socket)
        for index in range(count):
            control.ask("POST", f"/v1/services/s{index}/stop")
        missing = _missing(control, starts)
        control.close()
    return {"storm": cpu / passed * 100, "storm_rate": rate, "storm_missing": missing}


def _missing(control, starts):
    """Starts without a recorded exit, once nothing runs any more."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        starts.drain(0.2)
        page = control.ask("GET", "/v1/metrics")
        recorded = sum(
            int(line.rsplit(" ", 1)[1]) for line in page.splitlines() if line.startswith("cafe_service_exits_total")
        )
        if recorded == starts.count:
            return 0
    return starts.count - recorded
