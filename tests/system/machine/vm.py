"""One running machine: boot it, have it run commands, end it. Every wait has a limit."""

import contextlib
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from . import Failure

# Seconds. A boot takes about 20 on an idle machine; emulation shares the cores with whatever else runs.
BOOT_TIMEOUT = 180
END_TIMEOUT = 60

# Emulated rather than with KVM: it is the same everywhere, also inside a virtual machine or container. A plain
# processor, as each of its extensions costs time to emulate.
QEMU = [
    # It ends with us, however we end.
    "setpriv", "--pdeathsig", "KILL",
    "qemu-system-x86_64", "-accel", "tcg", "-smp", "1", "-m", "1024", "-cpu", "qemu64",
    "-nodefaults", "-no-user-config", "-display", "none", "-nic", "none",
]  # fmt: skip
KERNEL_ARGUMENTS = "root=/dev/vda rw console=ttyS0 quiet loglevel=4 panic=-1 mitigations=off"


class Machine:
    """A machine that runs; ends with the `with` block. What it changes on its root disk is forgotten then."""

    def __init__(self, image, payload):
        self._directory = tempfile.TemporaryDirectory(prefix="cafe-system-")
        directory = Path(self._directory.name)
        self._console = directory / "console"
        self._image, self._payload, self._disk = image, payload, directory / "disk"
        subprocess.run(["cp", "--sparse=always", "--reflink=auto", image.disk, self._disk], check=True)
        self._start()

    def _start(self):
        ours, theirs = socket.socketpair()
        self._port, self._received = ours, b""
        image, drives = self._image, []
        # What the kernel of the machine has not written when the power fails is lost, and nothing else.
        for disk, options in ((self._disk, "readonly=off"), (self._payload, "readonly=on")):
            drives += ["-drive", f"file={disk},format=raw,if=virtio,cache=unsafe,{options}"]
        command = [
            *QEMU,
            "-kernel", str(image.kernel), "-initrd", str(image.initrd), "-append", KERNEL_ARGUMENTS,
            *drives,
            "-serial", f"file:{self._console}",
            "-device", "virtio-serial-pci", "-device", "virtserialport,chardev=agent,name=cafe.agent",
            "-chardev", f"socket,id=agent,fd={theirs.fileno()}",
            "-device", "virtio-rng-pci",
        ]  # fmt: skip
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()]
        )
        theirs.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()

    def boot(self):
        """Waits until it listens."""
        if self._answer(BOOT_TIMEOUT, None) != "ready":
            raise Failure("the machine said something else than that it is ready")
        self._mount()

    def run(self, command, timeout, show):
        """Runs one line of shell; `show` gets its output as it comes. Returns the exit code."""
        self._port.sendall(command.encode() + b"\n")
        verdict = self._answer(timeout, show)
        if verdict == "ready":
            raise Failure(self._described("it has started again by itself"))
        return int(verdict)

    def reboot(self):
        """Has it end in order and waits until it listens again."""
        self._port.sendall(b"systemctl reboot\n")
        # First it may still say that it was told to.
        while self._answer(END_TIMEOUT + BOOT_TIMEOUT, None) != "ready":
            pass
        self._mount()

    def cut_power(self):
        """Ends it as when the power fails, and starts it again with the same disk."""
        self._power_off()
        self._start()
        self.boot()

    def _power_off(self):
        self._process.kill()
        self._process.wait(END_TIMEOUT)
        self._port.close()

    def _mount(self):
        """Has the second disk in its place: the machine listens without waiting for it."""
        said = []
        if self.run("mountpoint --quiet /mnt || mount /mnt || mountpoint --quiet /mnt", END_TIMEOUT, said.append) != 0:
            raise Failure(self._described("\n".join(["its second disk cannot be mounted:", *said])))

    def console(self):
        """What the kernel and systemd wrote so far."""
        with contextlib.suppress(OSError):
            return self._console.read_text(errors="replace")
        return ""

    def kill(self):
        """Ends it at once, and forgets its disk."""
        self._power_off()
        self._directory.cleanup()

    def _answer(self, timeout, show):
        """Passes on whole lines until the one that ends an answer, and returns what that says."""
        deadline = time.monotonic() + timeout
        while True:
            line, found, rest = self._received.partition(b"\n")
            if not found:
                self._received += self._receive(deadline, timeout)
                continue
            self._received = rest
            text, ends, verdict = line.decode(errors="replace").partition("\0")
            if text and show:
                show(text)
            if ends:
                return verdict

    def _receive(self, deadline, timeout):
        self._port.settimeout(max(deadline - time.monotonic(), 0.001))
        try:
            received = self._port.recv(65536)
        except TimeoutError:
            raise Failure(self._described(f"it did not answer within {timeout:.0f} s")) from None
        if not received:
            raise Failure(self._described("it ended"))
        return received

    def _described(self, what):
        tail = "\n".join(self.console().splitlines()[-25:])
        return f"the machine is of no use: {what}; the end of its console:\n{tail}"
