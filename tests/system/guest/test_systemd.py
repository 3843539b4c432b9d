"""cafe as a unit: what systemd hears of it, with a cgroup delegated to it and without."""

import signal
import subprocess
from pathlib import Path

from harness import CAFE, PATIENCE, Case, alive, members, shell

STAYS = shell("exec sleep infinity")


class Systemd(Case):
    def test_it_is_active_when_ready_and_tells_its_status_and_that_it_is_alive(self):
        cafe = self.cafe({"one": STAYS, "two": STAYS}, WatchdogSec="6s")
        # The start came back, so READY=1 was heard: else it would be over only after TimeoutStartSec, failed.
        self.assertEqual((cafe.show("ActiveState"), cafe.show("SubState")), ("active", "running"))
        self.eventually(lambda: cafe.show("StatusText") == "2 services: 2 running", "STATUS= is heard")
        fed = cafe.show("WatchdogTimestampMonotonic")
        for _ in range(2):
            fed = self.eventually(
                lambda: (now := cafe.show("WatchdogTimestampMonotonic")) != fed and now, "WATCHDOG=1 is heard"
            )
        one, two = self.runs(cafe, "one", "two")
        self.assertEqual((members(cafe.cgroup("one")), members(cafe.cgroup("two"))), ([one], [two]))
        self.assertEqual(cafe.show("NRestarts"), "0")

    def test_systemd_ends_a_cafe_that_hangs(self):
        cafe = self.cafe({"one": STAYS}, WatchdogSec="6s")
        cafe.signal(signal.SIGSTOP)
        self.eventually(lambda: cafe.show("Result") == "watchdog", "the missed watchdog is seen")

    def test_systemd_hears_that_it_stops_and_waits_for_its_services(self):
        enough = Path("/run/enough")
        ends = f"until test -e {enough}; do sleep 0.2; done; exit 0"
        slow = shell(f"trap '{ends}' TERM; echo up; while :; do sleep 0.2; done")
        cafe = self.cafe({"slow": slow}, KillMode="mixed")
        self.addCleanup(enough.unlink, missing_ok=True)
        self.eventually(lambda: "up" in cafe.tell("logs", "slow"), "the service listens")
        pid = self.runs(cafe, "slow")
        # Not by systemd, so that it knows from cafe alone.
        stopping = subprocess.Popen(
            [CAFE, "--quiet", "--socket", str(cafe.socket), "shutdown", "--yes"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        self.addCleanup(stopping.wait, PATIENCE)
        self.eventually(lambda: cafe.show("ActiveState") == "deactivating", "STOPPING=1 is heard")
        self.assertTrue(alive(pid), "cafe waits for its service")
        enough.touch()
        self.eventually(lambda: cafe.show("ActiveState") == "inactive", "it ends")
        self.assertEqual((cafe.show("Result"), cafe.show("ExecMainStatus")), ("success", "0"))
        self.assertFalse(alive(pid))

    def test_systemctl_stop_leaves_nothing(self):
        # systemd itself kills nothing here.
        cafe = self.cafe({"one": STAYS, "two": shell("setsid sleep 363636 & wait")}, KillMode="process")
        pids = self.runs(cafe, "one", "two")
        cgroup = cafe.own_cgroup()
        cafe.stop()
        self.assertEqual((cafe.show("ActiveState"), cafe.show("Result")), ("inactive", "success"))
        self.assertEqual([pid for pid in pids if alive(pid)], [])
        self.assertFalse(cgroup.is_dir(), "a cgroup in which something runs would stay")

    def test_without_delegation_a_limit_names_the_controller_that_is_missing(self):
        # Root may make cgroups anywhere, but systemd gives nobody a controller that was not asked for.
        cafe = self.cafe(
            {"plain": STAYS, "limited": f"{STAYS}, limits: (cpu_percent: 50), restart: temporary"},
            Delegate="no",
            # A slice of its own: `system.slice` hands on for a while what other units needed.
            Slice="undelegated.slice",
        )
        self.runs(cafe, "plain")
        limited = self.eventually(
            lambda: (found := cafe.service("limited"))["state"] == "failed" and found, "it is refused"
        )
        self.assertIn("`cpu.max` needs the cgroup controller `cpu`, which is not delegated to cafe", limited["reason"])

    def test_without_delegation_services_run_and_one_with_limits_says_what_it_lacks(self):
        cafe = self.cafe(
            {"plain": STAYS, "limited": f"{STAYS}, limits: (tasks_max: 6), restart: temporary"},
            Delegate="no",
            User="daemon",
        )
        plain = self.runs(cafe, "plain")
        own = Path(f"/proc/{plain}/cgroup").read_text().strip()
        self.assertTrue(own.endswith(cafe.name), f"it runs in cafe's own cgroup: {own}")
        limited = self.eventually(
            lambda: (found := cafe.service("limited"))["state"] == "failed" and found, "it is refused"
        )
        self.assertIn(
            "cgroups cannot be used: this service has limits that need one; "
            "run cafe as root or delegate a cgroup v2 to it",
            limited["reason"],
        )
        self.assertRegex(cafe.journal(), r"cgroups not used .*is not delegated to cafe: Permission denied")
        self.assertEqual(cafe.show("ActiveState"), "active")
        cafe.tell("stop", "plain")
        self.assertFalse(alive(plain))
