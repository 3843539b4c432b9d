"""cafe is killed: its services go on, and the cafe that systemd starts next takes them over."""

import signal

from harness import Case, processes_called, shell

# As a unit must say for its services to outlive cafe, and to be taken over however often that happens. systemd cannot
# start anything in a cgroup with controllers for what is below it (219/CGROUP), so they are taken back until cafe asks.
TAKE_BACK = "for cgroup in cafe-*-* .; do echo -cpu -memory -pids >$$cgroup/cgroup.subtree_control; done"
SURVIVES = {
    "KillMode": "process",
    "Restart": "always",
    "RestartSec": "0",
    "ExecStopPost": f"-/bin/sh -c 'cd /sys/fs/cgroup/system.slice/%n && {TAKE_BACK}'",
}


class Crash(Case):
    def test_the_next_start_takes_over_what_runs_and_doubles_nothing(self):
        sleeps = {"one": ["sleep", "111111"], "two": ["sleep", "222222"]}
        services = {name: shell(f"echo up; exec {' '.join(command)}") for name, command in sleeps.items()}
        writes = "i=0; while :; do i=$((i+1)); echo line $i; sleep 0.5; done"
        services["two"] += ", limits: (tasks_max: 6)"
        cafe = self.cafe({**services, "writer": shell(writes)}, **SURVIVES)
        pids = self.runs(cafe, "one", "two", "writer")
        limit = cafe.cgroup("two") / "pids.max"
        self.assertEqual(limit.read_text().strip(), "6")
        for _ in range(2):
            killed = cafe.show("MainPID")
            cafe.signal(signal.SIGKILL)
            self.eventually(
                lambda: cafe.show("MainPID") not in ("0", killed) and cafe.show("ActiveState") == "active",
                "systemd started it again",
            )
            self.eventually(lambda: cafe.tell("status", check=False), "it answers")
            self.assertEqual(self.runs(cafe, "one", "two", "writer"), pids)
            self.eventually(lambda: limit.is_file() and limit.read_text().strip() == "6", "its limit is in force again")
            found = [processes_called(*command) for command in sleeps.values()]
            self.assertEqual(found, [[pid] for pid in pids[:2]])
            self.assertEqual([cafe.service(name)["restarts"] for name in sleeps], [0, 0])
        lines = cafe.tell("logs", "writer", "-n", "all", "--no-prefix", "-o", "plain").splitlines()
        written = [int(line.rsplit(" ", 1)[1]) for line in lines]
        self.assertEqual(written, list(range(1, len(written) + 1)), "each line once, and in order")
        self.eventually(
            lambda: len(cafe.tell("logs", "writer", "-n", "all").splitlines()) > len(lines), "its output is heard again"
        )
        cafe.stop()
        self.assertEqual([processes_called(*command) for command in sleeps.values()], [[], []])
