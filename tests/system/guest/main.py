"""Runs the tests of one topic, or a part of them, inside the machine: a line per test, and of a failure everything
there is to know.
"""

import subprocess
import sys
import time
import unittest


class Lines(unittest.TestResult):
    """Prints each outcome when it is known."""

    def startTest(self, test):
        super().startTest(test)
        self.begun = time.monotonic()

    def addSuccess(self, test):
        self._say("ok", test)

    def addFailure(self, test, error):
        super().addFailure(test, error)
        self._say("FAILED", test, self.failures[-1][1])

    def addError(self, test, error):
        super().addError(test, error)
        self._say("FAILED", test, self.errors[-1][1])

    def _say(self, outcome, test, details=""):
        took = time.monotonic() - getattr(self, "begun", time.monotonic())
        print(f"{outcome:6} {test.id().replace('.', ' ', 1)} ({took:.1f} s)")
        if details:
            print(details)
            for unit in getattr(test, "units", []):
                journal = ["journalctl", "--no-pager", "--output=short-monotonic", "--lines=60", f"--unit={unit}"]
                subprocess.run(journal, stdin=subprocess.DEVNULL, check=False)


def main(topic):
    found = unittest.defaultTestLoader.loadTestsFromName(topic)
    outcome = found.run(Lines())
    return 0 if outcome.wasSuccessful() and outcome.testsRun else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
