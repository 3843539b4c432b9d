"""Nothing of a service outlives its stop: not what left its session, its parents and its environment."""

import os
import subprocess
from pathlib import Path

from harness import CAFE, CGROUPS, PATIENCE, Cafe, Case, members, numbers, processes_called, shell

# A daemon in the old manner, and without the mark of cafe: no parent, session, group or environment tells whose it is.
ESCAPEE = ["sleep", "424242"]
ESCAPE = f"setsid sh -c 'env -i {' '.join(ESCAPEE)} </dev/null >/dev/null 2>&1 &' & wait $!; echo escaped"


class ByHand(Cafe):
    """cafe without systemd, in a cgroup that was made for it."""

    def __init__(self, services):
        super().__init__(services, "/run/cafe-by-hand")
        self.home = CGROUPS / "by-hand"
        self.home.mkdir()
        enter = f"echo $$ >{self.home}/cgroup.procs; exec {CAFE} run {self.config}"
        self.process = subprocess.Popen(
            ["sh", "-c", enter], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def own_cgroup(self):
        return self.home

    def remove(self):
        (self.home / "cgroup.kill").write_text("1")
        self.process.wait(PATIENCE)
        for directory, _, _ in os.walk(self.home, topdown=False):
            os.rmdir(directory)


class Escape(Case):
    def escaped(self, cafe):
        """The process that escaped; checks that nothing but the cgroup tells whose it is."""
        self.eventually(lambda: "escaped" in cafe.tell("logs", "fugitive"), "it escaped")
        (escapee,) = self.eventually(lambda: processes_called(*ESCAPEE), "the escapee runs")
        main = cafe.service("fugitive")["pid"]
        self.assertNotEqual(os.getsid(escapee), os.getsid(main))
        self.assertEqual(Path(f"/proc/{escapee}/environ").read_bytes(), b"")
        status = Path(f"/proc/{escapee}/status").read_text()
        self.assertNotIn(f"PPid:\t{main}\n", status)
        self.assertIn(escapee, members(cafe.cgroup("fugitive")))
        return escapee

    def test_a_stop_leaves_nothing_in_the_cgroup(self):
        cafe = self.cafe({"fugitive": shell(f"{ESCAPE}; exec sleep infinity"), "other": shell("exec sleep infinity")})
        other = self.runs(cafe, "other")
        self.escaped(cafe)
        cafe.tell("stop", "fugitive")
        self.assertEqual(numbers(cafe.cgroup("fugitive") / "cgroup.events")["populated"], 0)
        self.assertEqual(processes_called(*ESCAPEE), [])
        self.assertEqual(self.runs(cafe, "other"), other)

    def test_a_restart_after_a_crash_begins_with_nothing_left(self):
        once = f"if test ! -e $PWD/gone; then touch gone; {ESCAPE}; fi; exec sleep infinity"
        cafe = self.cafe({"fugitive": shell(once)})
        self.escaped(cafe)
        cafe.tell("kill", "fugitive", "--signal", "KILL")
        self.eventually(lambda: cafe.service("fugitive")["restarts"] == 1, "it was restarted")
        again = self.runs(cafe, "fugitive")
        self.assertEqual(members(cafe.cgroup("fugitive")), [again])
        self.assertEqual(processes_called(*ESCAPEE), [])

    def test_the_cgroups_are_gone_with_the_service_and_with_cafe(self):
        cafe = ByHand({"fugitive": shell(f"{ESCAPE}; exec sleep infinity"), "other": shell("exec sleep infinity")})
        self.addCleanup(cafe.remove)
        self.eventually(lambda: cafe.tell("status", check=False), "cafe answers")
        self.escaped(cafe)
        cgroup = cafe.cgroup("fugitive")
        cafe.configure({"other": shell("exec sleep infinity")})
        cafe.tell("reload")
        self.eventually(lambda: not cgroup.is_dir(), "the cgroup of the removed service is gone")
        self.assertEqual(processes_called(*ESCAPEE), [])

        cafe.tell("shutdown", "--yes")
        self.assertEqual(cafe.process.wait(PATIENCE), 0)
        self.assertEqual([entry.name for entry in cafe.home.iterdir() if entry.is_dir()], [])
