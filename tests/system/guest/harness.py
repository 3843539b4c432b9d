"""Runs cafe as a unit of systemd, or in a cgroup made by hand, and says what it, systemd and the kernel tell of it."""

import itertools
import json
import os
import shutil
import subprocess
import time
import unittest
from pathlib import Path

CAFE = "/mnt/cafe"
CGROUPS = Path("/sys/fs/cgroup")

# Seconds for what should be done by then; the machine is emulated and may share its cores.
PATIENCE = 45


class Case(unittest.TestCase):
    """A test with one cafe of its own."""

    maxDiff = None

    def setUp(self):
        self.units = []

    def eventually(self, look, what, within=PATIENCE):
        """The first true answer of `look`; fails with the last answer when there is none in time."""
        deadline = time.monotonic() + within
        while True:
            answer = look()
            if answer:
                return answer
            if time.monotonic() > deadline:
                self.fail(f"not within {within} s: {what}; last: {answer!r}")
            time.sleep(0.1)

    def cafe(self, services, **settings):
        """A started cafe in a unit with these settings, stopped when the test ends."""
        unit = Unit(services, settings)
        self.units.append(unit.name)
        self.addCleanup(unit.remove)
        unit.start()
        return unit

    def runs(self, cafe, *names):
        """Waits until services run; the pids of their main processes."""
        def look():
            found = [cafe.service(name) for name in names]
            return all(service["state"] in ("running", "ready") for service in found) and found
        found = self.eventually(look, f"{', '.join(names)} run")
        pids = [service["pid"] for service in found]
        return pids[0] if len(pids) == 1 else pids


class Cafe:
    """What can be asked of a cafe that runs, however it was started."""

    def own_cgroup(self):
        """The directory of the cgroup that cafe was started in."""
        raise NotImplementedError

    def __init__(self, services, directory):
        self.directory = Path(directory)
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(parents=True)
        self.socket = self.directory / "control.sock"
        self.config = self.directory / "cafe.ron"
        self.configure(services)

    def configure(self, services):
        """Writes the config: names of services and their fields as RON."""
        entries = "".join(f'"{name}": ({fields}),\n' for name, fields in services.items())
        self.config.write_text(
            f'Cafe(services: {{\n{entries}}}, state_dir: "{self.directory}/state",'
            f' control: (socket: "{self.socket}"))\n'
        )

    def tell(self, *arguments, check=True):
        """A verb of the command line; its standard output."""
        done = subprocess.run(
            [CAFE, "--socket", str(self.socket), *arguments],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE, check=False,
        )  # fmt: skip
        if check and done.returncode != 0:
            raise AssertionError(f"cafe {' '.join(arguments)}: {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout

    def service(self, name):
        """The record of a service, as in the API."""
        (service,) = json.loads(self.tell("status", name, "-o", "json", check=False))["services"]
        return {"exits": [], **service}

    def events(self):
        """All events so far."""
        # It follows until it is ended.
        heard = subprocess.run(
            ["timeout", "3", CAFE, "--socket", str(self.socket), "events", "--after", "0", "-o", "json"],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip
        return [json.loads(line) for line in heard.stdout.splitlines()]

    def cgroup(self, service):
        """The directory of a service's cgroup, whether it is there or not."""
        (directory,) = self.own_cgroup().glob("cafe-*-*")
        return directory / service


class Systemd(Cafe):
    """cafe as a unit of systemd, and what systemd knows of it."""

    def systemctl(self, *arguments, check=True):
        done = subprocess.run(
            ["systemctl", *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        if check and done.returncode != 0:
            raise AssertionError(f"systemctl {' '.join(arguments)}: {done.stderr}")
        return done.stdout

    def start(self):
        self.systemctl("start", self.name)

    def stop(self):
        self.systemctl("stop", self.name)

    def signal(self, number):
        """Sends a signal to cafe alone."""
        os.kill(int(self.show("MainPID")), number)

    def show(self, name):
        """A property that systemd knows of the unit."""
        return self.systemctl("show", "--value", f"--property={name}", self.name).strip()

    def journal(self, *arguments):
        """What the unit wrote, and systemd of it."""
        command = ["journalctl", "--no-pager", "--output=cat", f"--unit={self.name}", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def own_cgroup(self):
        return CGROUPS / "system.slice" / self.name


class Unit(Systemd):
    """A unit of our own. Each has its own name: a new one needs no `daemon-reload`, which takes seconds."""

    numbers = itertools.count(1)

    def __init__(self, services, settings):
        self.name = f"cafe-{next(self.numbers)}-{os.getpid()}.service"
        super().__init__(services, f"/run/{self.name}")
        settings = {
            "Type": "notify",
            "Delegate": "yes",
            "ExecStart": f"{CAFE} run -v {self.config}",
            "TimeoutStartSec": f"{PATIENCE}s",
            "TimeoutStopSec": f"{PATIENCE}s",
            **settings,
        }
        lines = "".join(f"{key}={value}\n" for key, value in settings.items())
        self.file = Path("/run/systemd/system") / self.name
        self.file.parent.mkdir(parents=True, exist_ok=True)
        if "User" in settings:
            shutil.chown(self.directory, settings["User"])
        self.file.write_text(f"[Unit]\nStartLimitIntervalSec=0\n[Service]\n{lines}")

    def remove(self):
        """Ends all of it, whatever its settings leave."""
        self.systemctl("kill", "--signal=KILL", "--kill-whom=all", self.name, check=False)
        self.systemctl("stop", self.name, check=False)
        self.systemctl("reset-failed", self.name, check=False)
        self.file.unlink()
        shutil.rmtree(self.directory, ignore_errors=True)


def shell(script, *fields):
    """The fields of a service that runs a script."""
    return ", ".join([f'command: ["sh", "-c", {json.dumps(script)}]', *fields])


def numbers(file):
    """A file of the kernel with lines of a key and a number."""
    return {key: int(value) for key, value in (line.split() for line in file.read_text().splitlines())}


def members(cgroup):
    """Process ids in a cgroup."""
    return [int(line) for line in (cgroup / "cgroup.procs").read_text().split()]


def alive(pid):
    """Whether a process runs, other than as a zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def command_of(pid):
    """Arguments of a process; nothing once it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")[:-1]
    except OSError:
        return []


def processes_called(*command):
    """Process ids of all processes of the machine with these arguments."""
    pids = (int(name) for name in os.listdir("/proc") if name.isdigit())
    return sorted(pid for pid in pids if command_of(pid) == list(command))
