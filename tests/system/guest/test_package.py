"""The package: installed, and used as a user of systemd uses any service."""

import grp
import re
import signal
import subprocess
from pathlib import Path

from harness import Case, alive, members, processes_called, shell
from installed import Installed, install

STAYS = shell("exec sleep infinity")

# In front of a line that is stamped twice.
STAMP = re.compile(r"^\d\d:\d\d:\d\d", re.MULTILINE)


class Package(Case):
    @classmethod
    def setUpClass(cls):
        install()

    def installed(self, services=None):
        """The installed cafe, started; with a config of these services, or with the one it came with."""
        cafe = Installed()
        self.units.append(cafe.name)
        self.addCleanup(cafe.remove)
        if services is not None:
            cafe.configure(services)
        cafe.start()
        return cafe

    def main_pid(self, cafe, but=""):
        """The process id of a cafe that answers, and is not the one before."""
        def look():
            pid = cafe.show("MainPID")
            return pid not in ("0", but) and cafe.show("ActiveState") == "active" and cafe.tell("status", check=False) and pid
        return self.eventually(look, "it runs and answers")

    def test_it_starts_as_installed_and_its_group_may_look(self):
        cafe = self.installed()
        self.assertEqual((cafe.show("ActiveState"), cafe.show("Type")), ("active", "notify"))
        self.assertEqual(grp.getgrgid(cafe.socket.stat().st_gid).gr_name, "cafe")
        as_member = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--groups=cafe", "/usr/bin/cafe", "status"]
        self.assertIn("0 services", subprocess.run(as_member, capture_output=True, text=True, check=True).stdout)
        for shown in ("usr/share/man/man1/cafe.1.gz", "usr/share/bash-completion/completions/cafe"):
            self.assertGreater((Path("/") / shown).stat().st_size, 100)
        verified = subprocess.run(["systemd-analyze", "verify", "--man=no", "cafe.service"], capture_output=True, text=True, check=False)
        self.assertEqual((verified.returncode, verified.stderr), (0, ""))

    def test_a_reload_applies_a_good_config_and_fails_with_a_bad_one(self):
        cafe = self.installed({"one": STAYS})
        one, main = self.runs(cafe, "one"), self.main_pid(cafe)
        cafe.configure({"one": STAYS, "two": STAYS})
        cafe.systemctl("reload", "cafe")
        two = self.runs(cafe, "two")

        cafe.config.write_text('Cafe(services: { "one": (comand: ["true"]) })\n')
        with self.assertRaises(AssertionError):
            cafe.systemctl("reload", "cafe")
        self.assertEqual(cafe.show("ActiveState"), "active")
        self.assertEqual((self.runs(cafe, "one", "two"), self.main_pid(cafe)), ([one, two], main))
        self.assertRegex(cafe.journal(), "did you mean `command`")

    def test_the_journal_has_each_line_once_stamped_and_with_its_priority(self):
        cafe = self.installed({"one": STAYS, "broken": shell("exit 3", "restart: temporary")})
        self.runs(cafe, "one")
        self.eventually(lambda: cafe.service("broken")["state"] == "failed", "it failed")
        since = ["--identifier=cafe", f"_PID={self.main_pid(cafe)}"]
        text = self.eventually(lambda: "exited 3" in (found := cafe.journal(*since)) and found, "the journal has it")
        self.assertIn("one", text)
        self.assertNotRegex(text, STAMP)
        self.assertNotRegex(text, r"^<\d>")
        worse = cafe.journal(*since, "--priority=err")
        self.assertIn("broken", worse)
        self.assertNotIn("one:", worse)

    def test_a_stop_leaves_nothing_and_a_restart_starts_all_services_anew(self):
        sleep = ["sleep", "515151"]
        cafe = self.installed({"one": STAYS, "two": shell(f"setsid {' '.join(sleep)} & wait")})
        before, main = self.runs(cafe, "one", "two"), self.main_pid(cafe)
        self.eventually(lambda: processes_called(*sleep), "it has a child in a session of its own")
        cafe.systemctl("restart", "cafe")
        self.main_pid(cafe, but=main)
        after = self.runs(cafe, "one", "two")
        self.assertEqual([pid for pid in before if alive(pid)], [])
        self.assertEqual([cafe.service(name)["restarts"] for name in ("one", "two")], [0, 0])

        cgroup = cafe.own_cgroup()
        cafe.stop()
        self.assertEqual((cafe.show("ActiveState"), cafe.show("Result")), ("inactive", "success"))
        self.assertEqual([pid for pid in after if alive(pid)], [])
        self.assertEqual(processes_called(*sleep), [])
        self.assertFalse(cgroup.is_dir(), "a cgroup in which something runs would stay")

    def test_a_shutdown_is_final(self):
        cafe = self.installed({"one": STAYS})
        one = self.runs(cafe, "one")
        cafe.tell("shutdown", "--yes")
        self.eventually(lambda: cafe.show("ActiveState") == "inactive", "it ended")
        self.assertEqual((cafe.show("Result"), cafe.show("NRestarts"), alive(one)), ("success", "0", False))

    def test_services_outlive_a_killed_cafe_with_their_limits(self):
        cafe = self.installed({"one": STAYS, "two": f"{STAYS}, limits: (tasks_max: 6, memory_max: \"64MiB\")"})
        pids, main = self.runs(cafe, "one", "two"), self.main_pid(cafe)
        limit = cafe.cgroup("two") / "pids.max"
        for _ in range(3):
            cafe.signal(signal.SIGKILL)
            main = self.main_pid(cafe, but=main)
            self.assertEqual(self.runs(cafe, "one", "two"), pids)
            self.eventually(lambda: limit.is_file() and limit.read_text().strip() == "6", "its limit is in force again")
            self.assertEqual(members(cafe.cgroup("two")), [pids[1]])
        self.assertEqual([cafe.service(name)["restarts"] for name in ("one", "two")], [0, 0])
        cafe.stop()
        self.assertEqual([pid for pid in pids if alive(pid)], [])

    def test_services_outlive_a_cafe_that_hangs_and_systemd_starts_it_again(self):
        cafe = self.installed({"one": STAYS})
        cafe.stop()
        cafe.settings("WatchdogSec=8s")
        cafe.start()
        one, main = self.runs(cafe, "one"), self.main_pid(cafe)
        cafe.signal(signal.SIGSTOP)
        self.main_pid(cafe, but=main)
        self.assertEqual(self.runs(cafe, "one"), one)
        self.assertEqual(cafe.show("NRestarts"), "1")
        self.assertRegex(cafe.journal(), "[Ww]atchdog timeout")

    def test_a_cafe_that_finds_a_bad_config_after_a_crash_comes_back_once_it_is_repaired(self):
        cafe = self.installed({"one": STAYS})
        one, main = self.runs(cafe, "one"), self.main_pid(cafe)
        cafe.config.write_text("Cafe(services: {\n")
        cafe.signal(signal.SIGKILL)
        self.eventually(lambda: int(cafe.show("NRestarts")) >= 2, "it is tried again")
        self.assertTrue(alive(one), "its services run on meanwhile")
        cafe.configure({"one": STAYS})
        self.main_pid(cafe, but=main)
        self.assertEqual(self.runs(cafe, "one"), one)
        # A try takes two seconds at least: the machine has other work.
        self.assertLess(int(cafe.show("NRestarts")), 15)
