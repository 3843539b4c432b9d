"""The tables as Markdown: printed, and written to docs/benchmarks.md."""

import re

from .rows import PER_SERVICE, ROWS


def render(about, tables, logs):
    """The whole page. `about`: lines on machine, versions and command; `tables`: Figures, the smallest first."""
    parts = [
        "# Benchmarks",
        "",
        "Written by `bench/supervisors.py`; not edited by hand. Everything was measured in one run on one machine, in "
        "turns; the figures are medians of the rounds, with the least and the greatest. Only the ratios mean something "
        "on another machine.",
        "",
        *[f"- {line}" for line in about],
        "",
    ]
    for figures in tables:
        parts += [f"## {figures.count:,} services", "", *_targets(figures), "", *_all(figures), ""]
    if len(tables) > 1:
        parts += [f"## From {tables[0].count:,} to {tables[-1].count:,} services", "", *_growth(tables[0], tables[-1]), ""]
    if logs:
        parts += ["## Log path", "", *_log_verdict(logs), "", "```text", logs.strip(), "```", ""]
    return "\n".join([*parts, *HOW])


def _table(head, lines):
    yield f"| {' | '.join(head)} |"
    yield f"| {' | '.join('---' for _ in head)} |"
    for line in lines:
        yield f"| {' | '.join(line)} |"


def _targets(figures):
    lines = []
    for row in ROWS:
        ratio = figures.ratio(row)
        if ratio is None:
            continue
        limit = "" if row.limit is None else f"at most {row.limit:g}"
        if row.reference:
            limit += f" of {row.reference}"
            shown = f"{ratio:.2f}"
        else:
            shown = f"{ratio:.{row.digits}f} {row.unit}".strip()
        lines.append([row.title, shown, limit, figures.verdict(row)])
    return _table(["cafe", "measured", "target", ""], lines)


def _all(figures):
    peers = list(figures.samples)
    rows = [row for row in ROWS if any(figures.middle(peer, row.key) is not None for peer in peers)]
    head = ["", *(f"{row.title}{f', {row.unit}' if row.unit else ''}" for row in rows)]
    lines = [[peer, *(figures.show(peer, row) for row in rows)] for peer in peers]
    # One line per row, one column per peer: rows are many, peers are few.
    turned = list(map(list, zip(head, *lines)))
    return _table(["", *turned[0][1:]], turned[1:])


def _log_verdict(logs):
    """The ratios that bench/log_throughput.rs prints; it fails by itself when a line is lost."""
    found = re.search(r"median of \d+: ([\d.]+) x lines/s, ([\d.]+) x lines/CPU s", logs)
    shown = f"{found[1]} in lines/s, {found[2]} in lines per CPU second" if found else "-"
    met = found and min(float(found[1]), float(found[2])) > 1
    verdict = "met" if met else "**missed**"
    head = ["100-byte lines, ISO time stamps, none lost", "measured", "target", ""]
    return _table(head, [["cafe's pump in parts of s6-log, `bench/logs.sh`", shown, "over 1", verdict]])


def _growth(small, large):
    """How much more one service costs when there are many: 1 is flat."""
    factor = large.count / small.count
    peers = [peer for peer in large.samples if peer in small.samples]
    lines = []
    for row in (row for row in ROWS if row.key in PER_SERVICE):
        cells = []
        for peer in peers:
            before, after = small.middle(peer, row.key), large.middle(peer, row.key)
            # A single restart does not grow with the number of services at all.
            expected = 1 if row.key == "restart" else factor
            cells.append(f"{after / before / expected:.2f}" if before and after else "-")
        lines.append([row.title, *cells])
    return _table(["cost per service, in parts of the smaller run's", *peers], lines)


HOW = [
    "## How",
    "",
    "- The service is `bench/probe.c`, a static C program without a C library: it writes its index, its pid and the time it began to "
    "a FIFO, then pauses. All times are of the monotonic clock; the harness's own delay is not in them.",
    "- `floor` is `bench/floor.c`: `posix_spawn` in a loop on one thread, then wait and spawn again. It does nothing else.",
    "- cafe is a release build with its logs, its journal of running processes and its cgroups on, and delays between "
    "restarts of 0. Before each restart it looks for what the service left behind; no peer does. Peers keep their defaults, with logs off.",
    "- start: from the start of the supervisor until the last service runs. restart: up to 100 services, one after the "
    "other, each killed and awaited. back: from the first of all kills until the last service runs again. stop: from "
    "the signal until no service and no part of the supervisor is left.",
    "- Services live longer than 1.3 s before they are killed: runit and supervisord take an earlier end as a failed start. "
    "s6 waits until 1 s after the last start, supervisord and horust look once a second, circus every 5 s: this is in their figures.",
    "- memory: proportional set size (`smaps_rollup`) of all processes of the supervisor, services excluded. "
    "One second after its start cafe unmaps what only the start needed of its program; what is used again is mapped again, so the second "
    "row, after all those restarts, is what a busy day comes to. CPU: the scheduler's sum over them. Wake-ups: voluntary context switches of all threads.",
    "- crash storm: all services exit with 1 as soon as they start; backoff 100 ms to 30 s, and an intensity that never "
    "holds, so that backoff alone slows them. Exits recorded: the sum of `cafe_service_exits_total` against the starts the services reported themselves.",
    "",
]
