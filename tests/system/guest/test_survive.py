"""The installed cafe is killed, upgraded, stopped: what runs does not notice, and nothing that was written is lost."""

import contextlib
import json
import os
import random
import re
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

from harness import Case, alive, processes_called, shell
from installed import Installed, install

STAYS = shell("exec sleep infinity")

# Lines with numbers, in steps as a busy service writes them; to stdout and, every hundredth, without its end at first.
WRITER = """
import itertools, os, time
for step in itertools.count():
    text = "".join(f"line {number}\\\\n" for number in range(step * 100, step * 100 + 100))
    os.write(1, text[:-5].encode()); os.write(1, text[-5:].encode())
    time.sleep(0.1)
"""

# Answers each connection with its process id.
SERVER = """
import os, socket
listener = socket.socket(fileno=3)
os.write(4, b"\\\\n")
while True:
    client, _ = listener.accept()
    client.sendall(str(os.getpid()).encode()); client.close()
"""

IDLE = ["sleep", "727272"]


def python(program, *fields):
    text = program.replace("\n", "\\n").replace('"', '\\"')
    return ", ".join([f'command: ["python3", "-c", "{text}"]', *fields])


class Client(threading.Thread):
    """Connects all the time; knows who answered, and whether it was ever refused."""

    def __init__(self, address):
        super().__init__(daemon=True)
        self.address, self.answers, self.failures, self.over = address, {}, [], False
        self.slowest = 0.0

    def run(self):
        while not self.over:
            begun = time.monotonic()
            try:
                with socket.create_connection(self.address, timeout=60) as stream:
                    pid = int(stream.makefile().read())
                self.answers[pid] = self.answers.get(pid, 0) + 1
            except (OSError, ValueError) as error:
                self.failures.append(repr(error))
            self.slowest = max(self.slowest, time.monotonic() - begun)
            time.sleep(0.02)


class Survive(Case):
    @classmethod
    def setUpClass(cls):
        install()

    def installed(self, services, settings=""):
        cafe = Installed()
        self.units.append(cafe.name)
        self.addCleanup(cafe.remove)
        cafe.settings(settings)
        cafe.configure(services)
        cafe.start()
        return cafe

    def main_pid(self, cafe, but=""):
        def look():
            pid = cafe.show("MainPID")
            return pid not in ("0", but) and cafe.show("ActiveState") == "active" and cafe.tell("status", check=False) and pid
        return self.eventually(look, "it runs and answers")

    def all_up(self, cafe, names):
        """The pids of services that run and were never restarted, asked for all at once."""
        def look():
            services = json.loads(cafe.tell("status", "-o", "json", check=False) or '{"services": []}')["services"]
            found = {service["name"]: service for service in services}
            well = [found[name] for name in names if name in found and found[name]["state"] in ("running", "ready")]
            return len(well) == len(names) and [(service["pid"], service["restarts"]) for service in well]
        found = self.eventually(look, "all of them run")
        self.assertEqual({restarts for _, restarts in found}, {0})
        return [pid for pid, _ in found]

    def said(self, cafe, service):
        """All that a service wrote, without stamps."""
        lines = cafe.tell("logs", service, "-n", "all", "-o", "plain").splitlines()
        return [line.split("\t", 3)[3] for line in lines]

    def kept(self, cafe):
        return int(cafe.show("NFileDescriptorStore"))

    def test_twenty_five_kills_lose_nothing_and_nobody_notices(self):
        count = Path("/run/count")
        count.unlink(missing_ok=True)
        ends = f"n=$(($(cat {count} 2>/dev/null || echo 0) + 1)); echo $n >{count}; sleep 0.3; echo last $n"
        address = ("127.0.0.1", 8042)
        services = {
            "writer": python(WRITER),
            "server": python(SERVER, 'listen: { "http": "127.0.0.1:8042" }', "ready: fd(4)"),
            "ends": shell(ends, 'backoff: (min: "50ms", max: "50ms")', 'intensity: (restarts: 10000, within: "1s")'),
            **{f"idle{number}": shell(f"exec {' '.join(IDLE)}") for number in range(20)},
        }
        cafe = self.installed(services)
        stay = ["writer", "server", *(f"idle{number}" for number in range(20))]
        pids, main = self.all_up(cafe, stay), self.main_pid(cafe)
        client = Client(address)
        client.start()
        for _ in range(25):
            time.sleep(random.uniform(0, 2.5))
            pid = self.eventually(lambda: (pid := cafe.show("MainPID")) != "0" and pid, "there is a cafe to kill")
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
            main = pid
        self.main_pid(cafe, but=main)
        self.assertEqual(self.all_up(cafe, stay), pids)
        client.over = True
        client.join(60)
        self.assertEqual(client.failures, [], "nobody is refused")
        self.assertEqual(list(client.answers), [pids[1]])
        self.assertGreater(sum(client.answers.values()), 100)
        self.assertEqual(len(processes_called(*IDLE)), 20)

        cafe.tell("stop", "ends")
        cafe.tell("stop", "writer")
        written = [int(line.removeprefix("line ")) for line in self.said(cafe, "writer") if line.startswith("line ")]
        self.assertGreater(len(written), 5000)
        self.assertEqual(written, list(range(len(written))), "each line once and in order")
        raw = b"".join(path.read_bytes() for path in sorted(Path("/var/lib/cafe/logs/writer").iterdir()))
        self.assertEqual(len(re.findall(rb"line \d+", raw)), len(written))
        last = [int(line.removeprefix("last ")) for line in self.said(cafe, "ends") if line.startswith("last ")]
        began = int(count.read_text())
        self.assertGreater(began, 10)
        # The one that was stopped may not have come to its last line.
        self.assertEqual(last, list(range(1, len(last) + 1)), "the last words of each, once and in order")
        self.assertIn(len(last), (began - 1, began))
        # Of what runs, and nothing else: two pipes and a process each, and the socket.
        self.eventually(lambda: self.kept(cafe) == 21 * 3 + 1, "the store has what runs")
        print(f"    {len(written)} lines, {len(last)} last words, {sum(client.answers.values())} connections, slowest {client.slowest:.1f} s", flush=True)

    def test_a_store_that_is_full_breaks_nothing(self):
        cafe = self.installed(
            {"one": shell("while sleep 0.2; do echo tick; done"), "two": STAYS}, "FileDescriptorStoreMax=2"
        )
        pids, main = self.runs(cafe, "one", "two"), self.main_pid(cafe)
        for _ in range(2):
            cafe.signal(signal.SIGKILL)
            main = self.main_pid(cafe, but=main)
            self.assertEqual(self.runs(cafe, "one", "two"), pids)
        before = len(self.said(cafe, "one"))
        self.eventually(lambda: len(self.said(cafe, "one")) > before, "it is still heard")
        self.assertLessEqual(self.kept(cafe), 2)

    def test_an_upgrade_and_the_way_back_are_one_process_to_systemd(self):
        other = Path("/root/cafe-other")
        own = Path("/usr/bin/cafe").read_bytes()
        version = subprocess.run(["/usr/bin/cafe", "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
        another = version[:-1] + ("9" if version[-1] != "9" else "8")
        other.write_bytes(own.replace(version.encode(), another.encode()))
        other.chmod(0o755)
        self.addCleanup(other.unlink)
        self.assertIn(another, subprocess.run([other, "--version"], capture_output=True, text=True, check=True).stdout)

        cafe = self.installed({"one": f"{STAYS}, limits: (tasks_max: 6)", "two": STAYS}, "WatchdogSec=10s")
        pids, main = self.runs(cafe, "one", "two"), self.main_pid(cafe)
        self.eventually(lambda: self.kept(cafe) == 6, "the store has what runs")
        for path, now in ((other, another), (Path("/usr/bin/cafe"), version)):
            cafe.tell("upgrade", str(path))
            self.assertIn(now, cafe.tell("status", "-o", "json"))
            self.assertEqual(self.runs(cafe, "one", "two"), pids)
            self.assertEqual((cafe.show("MainPID"), cafe.show("NRestarts"), cafe.show("ActiveState")), (main, "0", "active"))
            self.assertEqual((cafe.cgroup("one") / "pids.max").read_text().strip(), "6")
            fed = cafe.show("WatchdogTimestampMonotonic")
            self.eventually(lambda fed=fed: cafe.show("WatchdogTimestampMonotonic") != fed, "the watchdog is fed")
        self.assertEqual(self.kept(cafe), 6, "nothing twice")
        cafe.configure({"one": f"{STAYS}, limits: (tasks_max: 6)", "two": STAYS, "three": STAYS})
        cafe.systemctl("reload", "cafe")
        pids.append(self.runs(cafe, "three"))
        cafe.stop()
        self.assertEqual((cafe.show("ActiveState"), cafe.show("Result")), ("inactive", "success"))
        self.assertEqual([pid for pid in pids if alive(pid)], [])

    def test_a_socket_of_systemd_is_used_and_stays_open_while_cafe_is_stopped(self):
        verified = subprocess.run(["systemd-analyze", "verify", "--man=no", "cafe.socket"], capture_output=True, text=True, check=False)
        self.assertEqual((verified.returncode, verified.stderr), (0, ""))
        unit = Installed()
        self.addCleanup(unit.systemctl, "stop", "cafe.socket")
        unit.systemctl("start", "cafe.socket")
        cafe = self.installed({"web": python(SERVER, 'listen: { "http": "0.0.0.0:80" }', "ready: fd(4)")})
        web, main = self.runs(cafe, "web"), self.main_pid(cafe)
        inodes = {Path(f"/proc/{pid}/fd/{number}").readlink() for pid, number in ((web, 3), (1, self.fd_of_systemd()))}
        self.assertEqual(len(inodes), 1, inodes)
        # The store has it not: systemd has.
        self.eventually(lambda: self.kept(cafe) == 3, "the store has what runs")
        cafe.stop()
        with socket.create_connection(("127.0.0.1", 80), timeout=60) as waits:
            # The first client starts it again.
            self.assertEqual(int(waits.makefile().read()), self.runs(cafe, "web"))
        self.main_pid(cafe, but=main)

    def fd_of_systemd(self):
        """The descriptor of process 1 that listens on port 80."""
        table = Path("/proc/net/tcp").read_text().splitlines()[1:]
        (inode,) = {row.split()[9] for row in table if row.split()[1] == "00000000:0050" and row.split()[3] == "0A"}
        found = [link.name for link in Path("/proc/1/fd").iterdir() if str(link.readlink()) == f"socket:[{inode}]"]
        return found[0]
