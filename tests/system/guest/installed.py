"""cafe as a package installs it: its unit, its group, its directories, its config."""

import shutil
import subprocess
from pathlib import Path

from harness import Systemd

# What `make install DESTDIR=... PREFIX=/usr` made.
PACKAGE = Path("/mnt/package")


def install():
    """Copies the files and does what the scripts of a package do."""
    subprocess.run(["cp", "-a", "--no-preserve=ownership", f"{PACKAGE}/.", "/"], check=True)
    subprocess.run(["systemd-sysusers", "cafe.conf"], check=True)
    subprocess.run(["systemd-tmpfiles", "--create", "cafe.conf"], check=True)
    subprocess.run(["systemctl", "daemon-reload"], check=True)


class Installed(Systemd):
    """The one that was installed."""

    def __init__(self):
        self.name = "cafe.service"
        self.socket = Path("/run/cafe/control.sock")
        self.config = Path("/etc/cafe/cafe.ron")

    def configure(self, services):
        entries = "".join(f'"{name}": ({fields}),\n' for name, fields in services.items())
        self.config.write_text(f'Cafe(services: {{\n{entries}}}, control: (group: "cafe"))\n')

    def settings(self, text):
        """A drop-in; an empty text removes it."""
        drop_in = Path("/run/systemd/system/cafe.service.d/test.conf")
        if text:
            drop_in.parent.mkdir(parents=True, exist_ok=True)
            drop_in.write_text(f"[Service]\n{text}\n")
        elif drop_in.exists():
            drop_in.unlink()
        else:
            # The reload takes seconds.
            return
        self.systemctl("daemon-reload")

    def remove(self):
        """Ends all of it and takes back what a test configured."""
        self.stop()
        self.systemctl("reset-failed", self.name, check=False)
        self.settings("")
        shutil.copy(PACKAGE / "etc/cafe/cafe.ron", self.config)
        shutil.rmtree("/var/lib/cafe")
        subprocess.run(["systemd-tmpfiles", "--create", "cafe.conf"], check=True)
