"""A clock that is set forward and back by a day: what runs goes on, and nothing waits for a day."""

import json
import subprocess
import time
from datetime import datetime, timedelta, timezone

from harness import Case, shell

DAY = timedelta(days=1)
FIRST_DAY = datetime(2026, 12, 1, 10, 0, 5, tzinfo=timezone.utc)

# cafe looks at the clock at least this often, seconds, while it waits for a time of day.
LOOK = 30

SERVICES = {
    "steady": shell("while :; do echo tick; sleep 1; done"),
    "checked": 'command: ["python3", "-m", "http.server", "8099", "--bind", "127.0.0.1"], '
    'ready: tcp("127.0.0.1:8099"), ready_timeout: "60s", '
    'health: (probe: tcp("127.0.0.1:8099"), every: "1s", timeout: "20s", failures: 1)',
    "crashing": shell(
        "exit 1", 'backoff: (min: "3s", max: "3s")', 'intensity: (restarts: 1000, within: "1s", then: hold)'
    ),
    "often": shell("echo ran", 'kind: timer("every 2s")'),
    "hourly": shell("echo ran", 'kind: timer("0 * * * *")'),
}


def set_clock(to):
    subprocess.run(["date", "--set", to.isoformat()], stdout=subprocess.DEVNULL, check=True)


def now():
    return datetime.now(timezone.utc)


class Clock(Case):
    def setUp(self):
        super().setUp()
        before, begun = now(), time.monotonic()
        self.addCleanup(lambda: set_clock(before + timedelta(seconds=time.monotonic() - begun)))
        set_clock(FIRST_DAY)
        self.unit = self.cafe(SERVICES)
        self.pids = self.runs(self.unit, "steady", "checked")

    def test_a_day_forward_and_a_day_back(self):
        self.goes_on()
        self.assertEqual(self.next_run("hourly"), FIRST_DAY.replace(hour=11, minute=0, second=0))

        # The run of 11 o'clock was missed, and those after it: it is made up for once.
        stepped = now() + DAY
        set_clock(stepped)
        self.goes_on()
        steady = self.service("steady")
        for duration in ("uptime_ms", "state_ms"):
            self.assertLess(steady[duration], 3_600_000, f"{duration} has the day in it")
        self.eventually(lambda: self.count("hourly") == 1, "the missed run is made up for", 2 * LOOK)
        self.assertEqual(self.next_run("hourly"), (FIRST_DAY + DAY).replace(hour=11, minute=0, second=0))
        second_day = self.stamps("steady", "--since", "20m")
        self.assertGreater(len(second_day), 3, "lines of the last minutes are there")
        self.assertGreaterEqual(min(second_day), stepped, "lines of yesterday are not of the last minutes")

        # Back to the first day: the next run is that of the first day again, not that of the second.
        stepped = now() - DAY
        set_clock(stepped)
        self.goes_on()
        due = FIRST_DAY.replace(hour=11, minute=0, second=0)
        self.eventually(lambda: self.next_run("hourly") == due, "the next run is not a day away", 2 * LOOK)
        self.assertEqual(self.count("hourly"), 1, "a clock that goes back is no reason to run")
        window = ["--since", stepped.isoformat(), "--until", (stepped + timedelta(minutes=20)).isoformat()]
        stamps = self.eventually(lambda: self.stamps("steady", *window), "lines since the step are found")
        self.assertTrue(all(stepped <= stamp <= now() for stamp in stamps), stamps)
        again = self.stamps("steady", "--since", second_day[3].isoformat())
        self.assertEqual(again[: len(second_day) - 3], second_day[3:], "those of the second day are still found")

        # And when its time has come, it runs.
        set_clock(due - timedelta(seconds=2))
        self.eventually(lambda: self.count("hourly") == 2, "it runs at its time", 2 * LOOK)
        self.assertEqual(self.runs(self.unit, "steady", "checked"), self.pids)

    def goes_on(self):
        """Waits until everything that should happen by itself did, and sees that nothing else did."""
        lines, runs, crashes = (self.count("steady"), self.count("often"), self.service("crashing")["restarts"])
        self.eventually(lambda: self.count("steady") >= lines + 3, "the daemon goes on to write")
        self.eventually(lambda: self.count("often") >= runs + 2, "the timer runs by its period")
        self.eventually(lambda: self.service("crashing")["restarts"] >= crashes + 2, "delays end")
        self.assertEqual(self.runs(self.unit, "steady", "checked"), self.pids, "nothing was restarted")
        self.assertEqual(self.service("checked")["state"], "ready")

    def service(self, name):
        return self.unit.service(name)

    def next_run(self, name):
        return datetime.fromisoformat(self.service(name)["next_start"])

    def count(self, name):
        return len(self.stamps(name, "-n", "all"))

    def stamps(self, name, *arguments):
        """When the lines of a service were written."""
        lines = self.unit.tell("logs", name, "-o", "json", *arguments).splitlines()
        return [datetime.fromisoformat(json.loads(line)["t"]) for line in lines]
