"""The power fails while services write: after it everything is as after any other start."""

import subprocess
from pathlib import Path

from harness import Case, shell
from installed import Installed, install

BOOT = Path("/proc/sys/kernel/random/boot_id")
WRITES = "boot=$(cat /proc/sys/kernel/random/boot_id); n=0; while :; do n=$((n+1)); echo line $n of $boot; sleep 0.01; done"
SERVICES = {
    "writes": shell(WRITES),
    "more": shell(WRITES),
    "after": shell("exec sleep infinity", 'requires: ["writes"]'),
}


class Before(Case):
    def test_it_runs_and_writes(self):
        install()
        cafe = Installed()
        self.units.append(cafe.name)
        cafe.configure(SERVICES)
        cafe.systemctl("enable", "--now", "cafe")
        self.runs(cafe, *SERVICES)
        self.eventually(lambda: "line 20 " in cafe.tell("logs", "writes", "-n", "all"), "it writes")
        # All so far is on the disk; what comes is under way when the power fails.
        subprocess.run(["sync"], check=True)
        Path("/root/boot").write_text(BOOT.read_text())
        subprocess.run(["sync", "/root/boot", "/root"], check=True)
        self.eventually(lambda: "line 60 " in cafe.tell("logs", "writes", "-n", "all"), "it writes on")


class After(Case):
    def test_all_is_well_again(self):
        cafe = Installed()
        self.units.append(cafe.name)
        self.addCleanup(cafe.remove)
        before, now = Path("/root/boot").read_text().strip(), BOOT.read_text().strip()
        self.assertNotEqual(before, now)
        self.eventually(lambda: cafe.tell("status", check=False), "it answers")
        self.runs(cafe, *SERVICES)
        self.assertEqual((cafe.show("ActiveState"), cafe.show("NRestarts")), ("active", "0"))
        for name in SERVICES:
            service = cafe.service(name)
            self.assertEqual((service["restarts"], service["exits"]), (0, []), "of another boot nothing is taken for an end")
        for name in ("writes", "more"):
            self.eventually(lambda name=name: f"line 10 of {now}" in cafe.tell("logs", name), "its new output is kept")
            lines = cafe.tell("logs", name, "-n", "all", "-o", "plain").splitlines()
            lines = [line.split("\t", 3)[3] for line in lines]
            of = {boot: [line for line in lines if line.endswith(boot)] for boot in (before, now)}
            for boot, shown in of.items():
                self.assertEqual(shown, [f"line {number} of {boot}" for number in range(1, len(shown) + 1)])
            self.assertGreaterEqual(len(of[before]), 20)
            torn = [line for line in lines if line not in of[before] and line not in of[now]]
            self.assertLessEqual(len(torn), 1, torn)
            for line in torn:
                self.assertTrue(line.isprintable() and f"line {len(of[before]) + 1} of {before}".startswith(line), line)
