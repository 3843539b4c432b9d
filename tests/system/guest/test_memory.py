"""A memory limit ends in a real kill by the kernel, and is told as what it was."""

import subprocess

from harness import Case, numbers, shell

LIMIT = 'limits: (memory_max: "24MiB")'

# Takes all there is the first time, and behaves from then on.
GREEDY = "if test -e $PWD/full; then exec sleep infinity; fi; touch full; echo 'eats all'; exec tail /dev/zero"


class Memory(Case):
    def test_a_service_over_its_limit_is_killed_by_the_kernel_and_comes_back(self):
        cafe = self.cafe(
            {
                "steady": shell("exec sleep infinity", LIMIT),
                "free": shell("exec sleep infinity"),
                "greedy": shell(GREEDY, LIMIT, 'start: manual, ready: delay("100ms")'),
            }
        )
        others = self.runs(cafe, "steady", "free")
        cafe.tell("start", "greedy")
        greedy = self.eventually(
            lambda: (found := cafe.service("greedy"))["restarts"] == 1 and found["state"] == "ready" and found,
            "greedy was restarted",
        )

        self.assertEqual((cafe.cgroup("greedy") / "memory.max").read_text().strip(), str(24 << 20))
        self.assertEqual(numbers(cafe.cgroup("greedy") / "memory.events")["oom_kill"], 1)
        (post_mortem,) = greedy["exits"]
        self.assertEqual(post_mortem["cause"], "out_of_memory")
        self.assertEqual(post_mortem["last_lines"], ["eats all"])
        kernel = subprocess.run(["dmesg"], capture_output=True, text=True, check=True).stdout
        self.assertRegex(kernel, rf"Memory cgroup out of memory: Killed process {post_mortem['pid']} ")

        human = cafe.tell("status", "greedy")
        self.assertRegex(human, r"ended: .*killed for memory \(oom\) after")
        exits = [event for event in cafe.events() if event["event"] == "exit"]
        self.assertEqual([exit["service"] for exit in exits], ["greedy"])
        self.assertEqual(exits[0]["post_mortem"]["cause"], "out_of_memory")

        self.assertEqual(self.runs(cafe, "steady", "free"), others)
        self.assertEqual((cafe.show("ActiveState"), cafe.show("NRestarts")), ("active", "0"))

    def test_a_kill_by_hand_under_a_limit_is_not_taken_for_one_by_the_kernel(self):
        cafe = self.cafe({"steady": shell("exec sleep infinity", LIMIT)})
        self.runs(cafe, "steady")
        cafe.tell("kill", "steady", "--signal", "KILL")
        ended = self.eventually(lambda: cafe.service("steady")["exits"], "the end is told")
        self.assertEqual(ended[0]["cause"], {"signal": {"signal": 9, "core": False}})
