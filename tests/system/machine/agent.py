"""Runs inside the machine: takes one command per line from the host, answers with its output and exit code.

The answer to a line is what the command wrote, then a line of a NUL and the exit code.
"""

import subprocess

PORT = "/dev/virtio-ports/cafe.agent"

with open(PORT, "r+b", buffering=0) as port:
    port.write(b"\0ready\n")
    for line in port:
        done = subprocess.run(
            ["/bin/bash", "-c", line.decode()], stdin=subprocess.DEVNULL, stdout=port, stderr=port
        )
        port.write(b"\0%d\n" % done.returncode)
