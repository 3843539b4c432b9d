"""cafe, its peers and the floor: how each is installed, configured, started and told to stop.

Each runs the same N services (bench/probe.c). Peers keep their defaults, except where N services need a higher
limit; their logs are off. cafe keeps its logs and its cgroups; only the delays between restarts are 0.
"""

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

BENCH = Path(__file__).resolve().parent.parent
CACHE = BENCH / ".cache"
REPOSITORY = BENCH.parent

# runsvdir takes no more (MAXSERVICES in runsvdir.c): more services are spread over several of them.
RUNSVDIR_SERVICES = 1000


def output(*command):
    """First line a command prints, or None."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return (done.stdout.strip() or done.stderr.strip()).split("\n")[0]


def debian(package):
    return output("dpkg-query", "-W", "-f=${Version}", package)


def pip(package):
    line = output(str(CACHE / "py/bin/pip"), "list", "--format=json")
    versions = {entry["name"]: entry["version"] for entry in json.loads(line or "[]")}
    return versions.get(package)


class Peer:
    """One supervisor, for one life of N services in the directory `work`."""

    name = ""
    # Shortest life after which a death counts as one, not as a failed start; the longest among the defaults.
    settle = 1.3
    largest = 5000
    stop_signal = signal.SIGTERM

    def __init__(self, work, fifo, count):
        self.work, self.fifo, self.count = Path(work), fifo, count
        self.probe = str(CACHE / "probe")

    @classmethod
    def version(cls):
        """What is installed; None: it cannot take part."""
        raise NotImplementedError

    def configure(self):
        """Writes its files; returns the commands to start, mostly one."""
        raise NotImplementedError

    def environment(self):
        return os.environ | {"HOME": str(self.work)}

    def start(self):
        """Starts the supervisor. `configure` was called before: writing files is not measured."""
        self.roots = []
        errors = open(self.work / "errors", "wb")
        for command in self.commands:
            root = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors, cwd=self.work,
                env=self.environment(), start_new_session=True,
            )
            self.roots.append(root)
        errors.close()

    def prepare(self):
        self.commands = self.configure()

    def stop(self):
        for root in self.roots:
            os.kill(root.pid, self.stop_signal)

    def explain(self):
        """What it said last, for a failed run."""
        return (self.work / "errors").read_text(errors="replace")[-1500:]

    def words(self, index):
        return [self.probe, self.fifo, str(index)]


class Cafe(Peer):
    """Release build, logs on, cgroups as found."""

    name = "cafe"
    backoff = '(min: "0ms", max: "0ms")'
    extra = ""
    binary = REPOSITORY / "target/release/cafe"

    @classmethod
    def version(cls):
        version = output(str(cls.binary), "--version")
        return version and version.removeprefix("cafe ")

    def configure(self):
        self.socket = self.work / "socket"
        lines = [
            "Cafe(",
            f'    state_dir: "{self.work / "state"}",',
            f'    control: (socket: "{self.socket}"),',
            "    services: {",
        ]
        for index in range(self.count):
            command = json.dumps(self.words(index))
            policy = f'backoff: {self.backoff}, intensity: (restarts: 10000, within: "1s")'
            lines.append(f'        "s{index}": (command: {command}, {policy}),')
        lines += ["    },", ")"]
        # In a directory of its own, as installed: cafe watches it, and the FIFO and its own output are not its business.
        (self.work / "etc").mkdir()
        config = self.work / "etc/cafe.ron"
        config.write_text("\n".join(lines))
        return [[str(self.binary), "run", str(config)]]


class CrashingCafe(Cafe):
    """The services of the crash storm."""

    backoff = '(min: "100ms", max: "30s")'

    def words(self, index):
        return [*super().words(index), "exit"]


class Floor(Peer):
    """A bare spawn loop, bench/floor.c."""

    name = "floor"

    @classmethod
    def version(cls):
        return "posix_spawn"

    def configure(self):
        return [[str(CACHE / "floor"), self.probe, self.fifo, str(self.count)]]


class Directories(Peer):
    """A service is a directory with a run file: the probe itself, no shell in between."""

    def directories(self, parent, indices):
        for index in indices:
            directory = self.work / parent / str(index)
            directory.mkdir(parents=True)
            (directory / "run").symlink_to(self.probe)
        return str(self.work / parent)


class Runit(Directories):
    name = "runit"

    @classmethod
    def version(cls):
        return debian("runit") if shutil.which("runsvdir") else None

    def configure(self):
        commands = []
        for first in range(0, self.count, RUNSVDIR_SERVICES):
            indices = range(first, min(first + RUNSVDIR_SERVICES, self.count))
            commands.append(["runsvdir", "-P", self.directories(f"services{first}", indices)])
        return commands

    # To runsvdir TERM means: leave the services alone. HUP: end them, then end.
    stop_signal = signal.SIGHUP


class S6(Directories):
    name = "s6"

    @classmethod
    def version(cls):
        return debian("s6") if shutil.which("s6-svscan") else None

    def configure(self):
        limit = str(self.count + 100)
        return [["s6-svscan", "-c", limit, self.directories("services", range(self.count))]]


class Supervisord(Peer):
    name = "supervisord"
    largest = 1000

    @classmethod
    def version(cls):
        return pip("supervisor")

    def configure(self):
        text = [
            "[supervisord]", "nodaemon=true", "logfile=/dev/null", "logfile_maxbytes=0",
            f"pidfile={self.work}/pid",
        ]
        for index in range(self.count):
            text += [
                f"[program:s{index}]", f"command={' '.join(self.words(index))}", "autorestart=true",
                "stdout_logfile=NONE", "stderr_logfile=NONE",
            ]
        (self.work / "supervisord.conf").write_text("\n".join(text))
        return [[str(CACHE / "py/bin/supervisord"), "-c", str(self.work / "supervisord.conf")]]


class Circus(Peer):
    name = "circus"
    largest = 1000

    @classmethod
    def version(cls):
        return pip("circus")

    def configure(self):
        text = [
            "[circus]", f"endpoint = ipc://{self.work}/endpoint", f"pubsub_endpoint = ipc://{self.work}/pubsub",
            "statsd = false", "loglevel = ERROR",
        ]
        for index in range(self.count):
            text += [f"[watcher:s{index}]", f"cmd = {' '.join(self.words(index))}", "numprocesses = 1"]
        (self.work / "circus.ini").write_text("\n".join(text))
        return [[str(CACHE / "py/bin/circusd"), str(self.work / "circus.ini")]]


class Pm2(Peer):
    name = "pm2"
    largest = 1000
    script = CACHE / "node/node_modules/pm2/bin/pm2"

    @classmethod
    def version(cls):
        package = CACHE / "node/node_modules/pm2/package.json"
        return json.loads(package.read_text())["version"] if package.exists() else None

    def environment(self):
        return super().environment() | {"PM2_HOME": str(self.work / "pm2"), "PM2_DISABLE_VERSION_CHECK": "1"}

    def configure(self):
        null = {"out_file": "/dev/null", "error_file": "/dev/null"}
        apps = [
            {"name": f"s{index}", "script": self.probe, "args": self.words(index)[1:], "interpreter": "none", **null}
            for index in range(self.count)
        ]
        config = self.work / "apps.json"
        config.write_text(json.dumps({"apps": apps}))
        return [[str(self.script), "start", str(config)]]

    def stop(self):
        os.kill(int((self.work / "pm2/pm2.pid").read_text()), signal.SIGTERM)


class Horust(Peer):
    name = "horust"
    largest = 1000

    @classmethod
    def version(cls):
        # It has no --version: cargo knows what it installed.
        line = output("cargo", "install", "--list", "--root", str(CACHE / "horust"))
        return line.split()[1].strip("v:") if line else None

    def configure(self):
        services = self.work / "services"
        services.mkdir()
        for index in range(self.count):
            text = f'command = "{" ".join(self.words(index))}"\n[restart]\nstrategy = "always"\n'
            (services / f"s{index}.toml").write_text(text)
        binary = str(CACHE / "horust/bin/horust")
        return [[binary, "--services-path", str(services), "--uds-folder-path", str(self.work)]]


PEERS = {peer.name: peer for peer in (Cafe, Floor, Runit, S6, Supervisord, Circus, Pm2, Horust)}
