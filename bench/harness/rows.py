"""The rows of the table: what is measured, in which unit, against whom, and what the project asks of itself."""

from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Row:
    key: str
    title: str
    unit: str
    # Against whom; None: the figure itself is held against the limit.
    reference: str | None = None
    limit: float | None = None
    digits: int = 2


ROWS = [
    Row("start", "start all, ready", "s", "s6", 0.45),
    Row("restart", "SIGKILL to running again, p50", "ms", "runit", 0.85),
    Row("back", "all SIGKILLed to all back", "s", "runit", 0.75),
    Row("stop", "stop all", "s", "runit", 0.4, 3),
    Row("memory", "memory of the supervisor, PSS", "MiB", "supervisord", 0.55, 1),
    Row("memory_after", "the same, after all those restarts", "MiB", "supervisord", 0.55, 1),
    Row("idle", "CPU when idle", "% of a core", None, 0.05, 3),
    Row("wakeups", "wake-ups when idle", "per s", None, 2.0),
    Row("storm", "crash storm, CPU after the first minute", "% of a core", None, 10.0),
    Row("storm_rate", "crash storm, starts then", "per s", None, None),
    Row("storm_missing", "crash storm, exits not recorded", "", None, 0.0, 0),
    Row("status", "`cafe status`, whole process", "ms", None, 30.0, 1),
]

# Rows of one life; the others have a run of their own.
LIFE = ["start", "restart", "back", "stop", "memory", "idle", "status"]

# Costs that should grow with the number of services, and no faster.
PER_SERVICE = ["start", "restart", "back", "stop", "memory", "status"]


class Figures:
    """Samples of one number of services: peer -> row -> values, one per round."""

    def __init__(self, count):
        self.count = count
        self.samples = {}

    def add(self, peer, figures):
        for key, value in figures.items():
            self.samples.setdefault(peer, {}).setdefault(key, []).append(value)

    def middle(self, peer, key):
        values = self.samples.get(peer, {}).get(key)
        return median(values) if values else None

    def show(self, peer, row):
        """`median (least to greatest)`."""
        values = self.samples.get(peer, {}).get(row.key)
        if not values:
            return "-"
        text = f"{median(values):.{row.digits}f}"
        if len(values) > 1:
            text += f" ({min(values):.{row.digits}f} to {max(values):.{row.digits}f})"
        return text

    def ratio(self, row):
        """What is held against the limit: cafe in parts of the reference, or cafe's own figure."""
        value = self.middle("cafe", row.key)
        if value is None or row.reference is None:
            return value
        reference = self.middle(row.reference, row.key)
        return value / reference if reference else None

    def verdict(self, row):
        ratio = self.ratio(row)
        if ratio is None or row.limit is None:
            return ""
        return "met" if ratio <= row.limit else "**missed**"
