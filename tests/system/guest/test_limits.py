"""CPU and task limits: written to the cgroup, and felt by the service."""

import time

from harness import Case, numbers, shell

# As many children as it is let, then stays.
FORKS = "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep infinity & done; echo all started; wait"


class Limits(Case):
    def test_a_service_gets_no_more_cpu_than_its_limit(self):
        burn = "while :; do :; done"
        cafe = self.cafe({"burner": shell(burn, "limits: (cpu_percent: 20, cpu_weight: 50)")})
        self.runs(cafe, "burner")
        cgroup = cafe.cgroup("burner")
        self.assertEqual((cgroup / "cpu.max").read_text().split(), ["20000", "100000"])
        self.assertEqual((cgroup / "cpu.weight").read_text().strip(), "50")

        def used():
            return numbers(cgroup / "cpu.stat")["usage_usec"] / 1e6, time.monotonic()

        # Ten periods in which it wanted more than it got.
        before, begun = used()
        throttled = numbers(cgroup / "cpu.stat")["nr_throttled"]
        self.eventually(
            lambda: numbers(cgroup / "cpu.stat")["nr_throttled"] >= throttled + 20, "it is throttled"
        )
        after, ended = used()
        share = (after - before) / (ended - begun)
        self.assertLess(share, 0.25, "percent of the core that it used")
        self.assertGreater(share, 0.02, "it does run")

    def test_a_service_cannot_have_more_tasks_than_its_limit(self):
        cafe = self.cafe(
            {
                "limited": shell(FORKS, "limits: (tasks_max: 6)", "restart: temporary"),
                "free": shell(FORKS),
            }
        )
        # Its last lines come a little after its end.
        def ended():
            limited = cafe.service("limited")
            return limited if any(end["last_lines"] for end in limited["exits"]) else None

        limited = self.eventually(ended, "the limited one failed to fork")
        self.assertEqual((cafe.cgroup("limited") / "pids.max").read_text().strip(), "6")
        self.assertGreaterEqual(numbers(cafe.cgroup("limited") / "pids.events")["max"], 1)
        (post_mortem,) = limited["exits"]
        self.assertNotEqual(post_mortem["cause"], {"code": 0})
        self.assertRegex("\n".join(post_mortem["last_lines"]), "Cannot fork")

        self.runs(cafe, "free")
        self.eventually(
            lambda: "all started" in cafe.tell("logs", "free"), "without a limit all can be started"
        )
        self.assertEqual((cafe.cgroup("free") / "pids.max").read_text().strip(), "max")

    def test_a_limit_holds_at_once_however_many_start_beside_it(self):
        services = {f"free{number}": shell("exec sleep infinity") for number in range(24)}
        services["free9a"] = shell("exec sleep infinity", "limits: (tasks_max: 6)")
        cafe = self.cafe(services)
        self.runs(cafe, *services)
        self.assertEqual(cafe.service("free9a")["exits"], [])
        self.assertEqual((cafe.cgroup("free9a") / "pids.max").read_text().strip(), "6")

    def test_a_limit_that_was_taken_out_of_the_config_is_lifted(self):
        cafe = self.cafe({"one": shell("exec sleep infinity", 'limits: (tasks_max: 6, memory_high: "32MiB")')})
        self.runs(cafe, "one")
        cgroup = cafe.cgroup("one")
        files = {"pids.max": "6", "memory.high": str(32 << 20)}
        self.assertEqual({name: (cgroup / name).read_text().strip() for name in files}, files)
        cafe.configure({"one": shell("exec sleep infinity")})
        cafe.tell("reload")
        self.eventually(
            lambda: [(cgroup / name).read_text().strip() for name in files] == ["max", "max"], "both are lifted"
        )
