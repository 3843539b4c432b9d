"""An enabled cafe comes back with the machine, and so do its services, its state and its logs."""

from pathlib import Path

from harness import Case, shell
from installed import Installed, install

BOOT = Path("/proc/sys/kernel/random/boot_id")
# What is to be known after the reboot.
NOTES = Path("/root/before")

SERVICES = {
    "web": shell("echo boot $(cat /proc/sys/kernel/random/boot_id); exec sleep infinity"),
    "after": shell("exec sleep infinity", 'requires: ["web"]'),
    "by_hand": shell("exec sleep infinity", "start: manual"),
}


class Before(Case):
    def test_it_is_enabled_and_runs(self):
        install()
        cafe = Installed()
        self.units.append(cafe.name)
        cafe.configure(SERVICES)
        cafe.systemctl("enable", "--now", "cafe")
        self.runs(cafe, "web", "after")
        boot = BOOT.read_text().strip()
        self.eventually(lambda: f"boot {boot}" in cafe.tell("logs", "web"), "its output is kept")
        NOTES.write_text(boot)


class After(Case):
    def test_it_is_back_with_its_services_and_their_logs(self):
        cafe = Installed()
        self.units.append(cafe.name)
        self.addCleanup(cafe.remove)
        before, now = NOTES.read_text(), BOOT.read_text().strip()
        self.assertNotEqual(before, now)
        self.eventually(lambda: cafe.tell("status", check=False), "it answers")
        self.runs(cafe, "web", "after")
        self.assertEqual(cafe.service("by_hand")["state"], "stopped")
        self.assertEqual([cafe.service(name)["restarts"] for name in ("web", "after")], [0, 0])
        self.eventually(lambda: f"boot {now}" in cafe.tell("logs", "web"), "its new output is kept")
        lines = cafe.tell("logs", "web", "-n", "all", "--no-prefix", "-o", "plain").splitlines()
        boots = [line.rsplit(" ", 1)[1] for line in lines if "boot " in line]
        self.assertEqual(boots, [before, now])
        self.assertEqual((cafe.show("ActiveState"), cafe.show("NRestarts")), ("active", "0"))
