#!/usr/bin/env python3
"""Upgrades cafe in place again and again while everything is busy, and says what anybody noticed.

    bench/upgrade.py                      1,000 services, 200 upgrades: about four minutes
    bench/upgrade.py --crash              the same with `kill -9` and a new start in place of the upgrades

A thousand services, of which one accepts connections on a socket that cafe holds (a client opens 1,000 per second,
each must be answered) and one writes 10,000 numbered lines per second. The control socket is asked all the time.
Ends with 1 when something was lost. Writes docs/benchmarks-upgrade.md (not with --crash or fewer services).
"""

import argparse
import datetime
import json
import os
import random
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
PAGE = REPOSITORY / "docs/benchmarks-upgrade.md"
LINES_PER_SECOND = 10_000
CONNECTIONS_PER_SECOND = 1_000

# Accepts on the socket it was passed, answers with what it was sent.
SERVER = """
import os, socket
listener = socket.socket(fileno=3)
os.write(4, b"\\n")
while True:
    client, _ = listener.accept()
    client.sendall(client.recv(64))
    client.close()
"""

# As many lines as are due, every ten milliseconds.
WRITER = """
import os, sys, time
began, written = time.monotonic(), 0
os.write(3, b"\\n")
while True:
    due = int((time.monotonic() - began) * RATE)
    if due > written:
        os.write(1, "".join(f"{n}\\n" for n in range(written, due)).encode())
        written = due
    time.sleep(0.01)
"""


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--services", type=int, default=1000)
    parser.add_argument("--upgrades", type=int, default=200)
    parser.add_argument("--crash", action="store_true", help="kill -9 and a new start instead")
    parser.add_argument("--binary", type=Path, default=REPOSITORY / "target/release/cafe")
    return parser.parse_args()


class Client(threading.Thread):
    """Opens connections at a steady rate; each has to be answered."""

    def __init__(self, address):
        super().__init__(daemon=True)
        self.address, self.over, self.latencies, self.failures = address, threading.Event(), [], []

    def run(self):
        number, began = 0, time.monotonic()
        while not self.over.is_set():
            wait = began + number / CONNECTIONS_PER_SECOND - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            elif wait < -1:
                # Never more than is due, and nothing is made up for: the machine is busy.
                began -= wait
            number += 1
            asked = time.monotonic()
            try:
                with socket.create_connection(self.address, timeout=20) as stream:
                    word = str(number).encode()
                    stream.sendall(word)
                    if stream.recv(64) != word:
                        self.failures.append(f"{number}: no answer")
            except OSError as error:
                self.failures.append(f"{number}: {error}")
            self.latencies.append(time.monotonic() - asked)


class Asker(threading.Thread):
    """Asks the control socket for one service, again and again; a connection that is cut is made again."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.path, self.over, self.latencies, self.cut = str(path), threading.Event(), [], 0

    def run(self):
        request = b"GET /v1/services/web HTTP/1.1\r\nhost: cafe\r\nconnection: close\r\n\r\n"
        while not self.over.is_set():
            asked = time.monotonic()
            while True:
                try:
                    with socket.socket(socket.AF_UNIX) as stream:
                        stream.settimeout(20)
                        stream.connect(self.path)
                        stream.sendall(request)
                        if stream.recv(16).startswith(b"HTTP/1.1 200"):
                            break
                except OSError:
                    pass
                self.cut += 1
                time.sleep(0.0005)
            self.latencies.append(time.monotonic() - asked)
            time.sleep(0.002)


def quantile(values, part):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


def resident(pid):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0


class Cafe:
    def __init__(self, options, directory):
        self.binary, self.directory = options.binary, directory
        self.socket = directory / "control.sock"
        self.address = ("127.0.0.1", random.randint(20000, 30000))
        idle = "".join(f'"s{n}": (command: ["sleep", "infinity"]),\n' for n in range(options.services - 2))
        python = lambda text: json.dumps(["python3", "-c", text])  # noqa: E731
        writer = WRITER.replace("RATE", str(LINES_PER_SECOND))
        (directory / "cafe.ron").write_text(
            f"""Cafe(services: {{
            "web": (command: {python(SERVER)}, listen: {{ "http": "127.0.0.1:{self.address[1]}" }}, ready: fd(4)),
            "writer": (command: {python(writer)}, ready: fd(3), log: (keep: 1000)),
            {idle} }}, control: (socket: "{self.socket}"), state_dir: "{directory}/state")"""
        )
        self.start()

    def start(self):
        with open(self.directory / "console", "a") as console:
            command = [self.binary, "run", self.directory / "cafe.ron"]
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=console, stderr=console)

    def tell(self, *arguments, check=True):
        command = [self.binary, "--socket", self.socket, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if check and done.returncode:
            raise SystemExit(f"cafe {' '.join(arguments)}: {done.stderr}\n{(self.directory / 'console').read_text()[-2000:]}")
        return done.stdout

    def services(self):
        status = self.tell("status", "-o", "json", check=False)
        return {it["name"]: it for it in json.loads(status)["services"]} if status else {}

    def settled(self, count):
        for _ in range(2400):
            services = self.services()
            if sum(it["state"] in ("running", "ready") for it in services.values()) == count:
                return services
            time.sleep(0.05)
        raise SystemExit("the services do not come up")

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def upgrade(self):
        return json.loads(self.tell("upgrade", "-o", "json"))["upgrade"]

    def crash(self):
        time.sleep(random.uniform(0, 0.3))
        self.process.kill()
        self.process.wait()
        self.start()

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


def written(directory):
    """The numbers in the log of the writer, as they stand in the files, oldest first."""
    import gzip

    def order(path):
        return (path.name == "current", path.name)

    for path in sorted((directory / "state/logs/writer").iterdir(), key=order):
        opened = gzip.open if path.suffix == ".gz" else open
        with opened(path, "rb") as file:
            for line in file:
                stamp, mark, text = line.rstrip(b"\n").split(b" ", 2)
                if mark == b"o":
                    yield int(text)


def main():
    options = arguments()
    if not options.binary.is_file():
        sys.exit(f"no {options.binary}: make release")
    directory = Path(tempfile.mkdtemp(prefix="cafe-upgrade-"))
    cafe = Cafe(options, directory)
    try:
        return measure(cafe, options, directory)
    finally:
        cafe.end()
        shutil.rmtree(directory, ignore_errors=True)


def measure(cafe, options, directory):
    before = cafe.settled(options.services)
    client, asker = Client(cafe.address), Asker(cafe.socket)
    client.start()
    asker.start()
    time.sleep(2)
    quiet = (list(client.latencies), list(asker.latencies))
    client.latencies.clear()
    asker.latencies.clear()
    upgrades, figures, began = [], [], time.monotonic()
    for number in range(options.upgrades):
        if options.crash:
            cafe.crash()
            if number % 10 == 9:
                cafe.settled(options.services)
            continue
        upgrades.append(cafe.upgrade())
        if number >= 9:
            figures.append((cafe.descriptors(), resident(cafe.process.pid)))
    took = time.monotonic() - began
    after = cafe.settled(options.services)
    client.over.set()
    asker.over.set()
    client.join()
    asker.join()

    restarted = [name for name in before if before[name]["pid"] != after.get(name, {}).get("pid")]
    numbers = list(written(directory))
    gaps = [n for n, found in enumerate(numbers) if found != n]
    rows = [
        ("upgrades" if not options.crash else "kills and new starts", f"{options.upgrades} in {took:.0f} s", ""),
        ("services restarted or lost", len(restarted), "0"),
        ("connections opened on the held socket", len(client.latencies), ""),
        ("refused, reset or not answered", len(client.failures), "0"),
        ("lines written", len(numbers), ""),
        ("lines lost, doubled or out of order", len(gaps), "0"),
        ("connect and answer, p99, ms", f"{quantile(client.latencies, .99) * 1e3:.1f} (at rest {quantile(quiet[0], .99) * 1e3:.1f})", "50"),
        ("control socket, p50, ms", f"{quantile(asker.latencies, .5) * 1e3:.1f} (at rest {quantile(quiet[1], .5) * 1e3:.1f})", ""),
        ("control socket, p99, ms", f"{quantile(asker.latencies, .99) * 1e3:.1f}", ""),
    ]
    if upgrades:
        pauses = [it["pause_ms"] for it in upgrades]
        rows += [
            ("pause of an upgrade, p50, ms", f"{statistics.median(pauses):.0f}", "50"),
            ("pause of an upgrade, p99, ms", quantile(pauses, .99), "50"),
            ("state, bytes for each service", round(upgrades[-1]["state_bytes"] / options.services), ""),
            ("descriptors after the 10th and the last", f"{figures[0][0]}, {figures[-1][0]}", "the same"),
            ("memory after the 10th and the last, MiB", f"{figures[0][1]:.1f}, {figures[-1][1]:.1f}", "flat"),
        ]
    commit = subprocess.run(["git", "-C", REPOSITORY, "describe", "--always", "--dirty"], capture_output=True, text=True).stdout.strip()
    lines = [
        "# Upgrades in place",
        "",
        f"`bench/upgrade.py`, {datetime.date.today()}, commit {commit}, {os.cpu_count()} cores: {options.services} services, one that accepts "
        f"{CONNECTIONS_PER_SECOND} connections per second, one that writes {LINES_PER_SECOND} lines per second, while cafe becomes "
        f"another program {options.upgrades} times in a row.",
        "",
        "| | found | target |",
        "| --- | --- | --- |",
        *(f"| {name} | {found} | {target} |" for name, found, target in rows),
        "",
        "The pause is from the last answer of the program before to the first of the next one. Connections to services wait for nothing "
        "in it: the sockets are held by the process and by the services all the time.",
        "",
    ]
    text = "\n".join(lines)
    print(text)
    for failure in client.failures[:5] + [f"lost or changed: {name}" for name in restarted[:5]]:
        print(failure, file=sys.stderr)
    for n in gaps[:3]:
        print(f"line {n}: {numbers[max(0, n - 2):n + 3]}", file=sys.stderr)
    if not options.crash and options.services == 1000 and options.upgrades == 200:
        PAGE.write_text(text)
    return 1 if client.failures or restarted or gaps else 0


if __name__ == "__main__":
    sys.exit(main())
