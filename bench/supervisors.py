#!/usr/bin/env python3
"""Runs cafe and its peers with the same services in one run, prints the ratios, writes docs/benchmarks.md.

    bench/supervisors.py                  everything: about 20 minutes
    bench/supervisors.py --quick          1,000 services, one round, the peers that targets name: under 3 minutes
    bench/supervisors.py --prepare        first installs the peers that pip, npm and cargo have, into bench/.cache

runit and s6 are Debian packages (apt-get install runit s6). A peer that is not installed is left out.
"""

import argparse
import datetime
import os
import platform
import shlex
import subprocess
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True
from harness import install, life, peers, processes, report, rows, storm  # noqa: E402

PAGE = peers.REPOSITORY / "docs/benchmarks.md"


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = list(peers.PEERS)
    keys = [*rows.LIFE, "storm", "many", "logs"]
    parser.add_argument("--quick", action="store_true", help="one round, few peers; docs/benchmarks.md stays")
    parser.add_argument("--prepare", action="store_true", help="install the peers, then measure")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--services", type=int, default=1000)
    parser.add_argument("--many", type=int, default=5000, help="services of the row `many`")
    parser.add_argument("--idle", type=float, default=10, help="seconds of the idle window")
    parser.add_argument("--peers", default=",".join(names), help=f"of {','.join(names)}")
    parser.add_argument("--rows", default=",".join(keys), help=f"of {','.join(keys)}")
    parser.add_argument("--directory", type=Path, help="where state and logs go meanwhile; $TMPDIR unless given")
    parser.add_argument("--output", type=Path, default=PAGE, help="where the page goes")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.idle = 1, 3
        options.peers = "cafe,floor,runit,s6,supervisord"
        options.rows = ",".join(rows.LIFE)
        if options.output == PAGE:
            options.output = None
    options.peers, options.rows = options.peers.split(","), set(options.rows.split(","))
    if unknown := (set(options.peers) - set(names)) | (options.rows - set(keys)):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    return options


def about(chosen, options, load, seconds):
    """What the figures depend on."""
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    commit = peers.output("git", "-C", str(peers.REPOSITORY), "describe", "--always", "--dirty")
    versions = ", ".join(f"{peer.name} {peer.version()}" for peer in chosen)
    return [
        f"date: {datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC, {seconds / 60:.0f} minutes",
        f"machine: {os.cpu_count()} cores of {cpu}, {memory:.0f} GiB, load before the run {load:.1f}",
        f"kernel: {platform.system()} {platform.release()}",
        f"versions: {versions}; cafe at commit {commit}",
        f"command: `{shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])}`, {options.rounds} rounds",
    ]


def run_rounds(chosen, count, options, directory):
    """All peers in turns, in another order each round: what disturbs the machine disturbs all of them."""
    figures = rows.Figures(count)
    for number in range(options.rounds):
        turn = chosen[number % len(chosen) :] + chosen[: number % len(chosen)]
        for peer in turn:
            measured = life.measure(peer, count, options.rows, options.idle, directory)
            figures.add(peer.name, measured)
            shown = ", ".join(f"{key} {value:.3g}" for key, value in measured.items())
            print(f"{count} services, round {number + 1}, {peer.name}: {shown}", flush=True)
    # In the order of the list, whoever came first.
    figures.samples = {peer.name: figures.samples.get(peer.name, {}) for peer in chosen}
    return figures


def measure(chosen, options, directory):
    """The tables, the one with the fewest services first."""
    tables = []
    if options.rows & set(rows.LIFE):
        tables.append(run_rounds(chosen, options.services, options, directory))
    if "storm" in options.rows and peers.Cafe in chosen:
        tables = tables or [rows.Figures(options.services)]
        tables[0].add("cafe", storm.measure(options.services, 60, 60, directory))
    if "many" in options.rows:
        many = [peer for peer in chosen if peer.largest >= options.many]
        tables.append(run_rounds(many, options.many, options, directory))
    return tables


def log_path():
    """The row of bench/logs.sh, as it prints it."""
    done = subprocess.run([peers.BENCH / "logs.sh"], capture_output=True, text=True, check=False)
    print(done.stdout, done.stderr, sep="", flush=True)
    return done.stdout if done.returncode == 0 else f"failed: {done.stderr[-500:]}"


def main():
    options = arguments()
    os.environ.pop("NOTIFY_SOCKET", None)
    processes.become_reaper()
    install.build(with_logs="logs" in options.rows)
    if options.prepare:
        install.peers()
    chosen = [peers.PEERS[name] for name in options.peers]
    for peer in [peer for peer in chosen if peer.version() is None]:
        print(f"{peer.name} is not installed and left out: see --help", file=sys.stderr)
        chosen.remove(peer)
    load, began = os.getloadavg()[0], time.monotonic()
    with life.run_directory(options.directory) as directory:
        tables = measure(chosen, options, directory)
    logs = log_path() if "logs" in options.rows else None

    page = report.render(about(chosen, options, load, time.monotonic() - began), tables, logs)
    print(page)
    if options.output:
        options.output.write_text(page)


if __name__ == "__main__":
    main()
