"""The disks of the machine: a Debian that is made once, and one with what is tested, made each time."""

import fcntl
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from . import Failure

MIRROR = "http://deb.debian.org/debian"

# The release of the machine. A binary needs the C library it was built with, or a newer one.
RELEASE = "bookworm"

PACKAGES = ["systemd-sysv", "dbus", "udev", "linux-image-cloud-amd64", "initramfs-tools", "python3"]

# Seconds for the whole of Debian; about a minute with a near mirror.
BUILD_TIMEOUT = 600

# Files of the machine that make it small, quick to boot, and listen to us.
AGENT = Path(__file__).with_name("agent.py")
FILES = {
    # What it boots from, and what the host talks to it by; nothing else.
    "etc/initramfs-tools/conf.d/machine": "MODULES=list\nCOMPRESS=zstd\nRUNSIZE=10%\n",
    "usr/share/initramfs-tools/modules.d/machine": "virtio_pci\nvirtio_blk\next4\n",
    "etc/modules-load.d/machine.conf": "virtio_console\n",
    "etc/hostname": "cafe-test\n",
    "etc/fstab": "/dev/vdb /mnt ext4 ro,nofail 0 0\n",
    "etc/systemd/system/agent.service": (
        "[Service]\n"
        "ExecStart=/usr/bin/python3 -u /usr/local/lib/agent.py\n"
        "StandardError=journal+console\n"
        "Restart=on-failure\n"
        "OOMScoreAdjust=-1000\n"
        "[Install]\n"
        "WantedBy=multi-user.target\n"
    ),
    "usr/local/lib/agent.py": AGENT.read_text(),
}

# Starts of systemd that only cost time here.
MASKED = [
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty@tty1.service",
    "systemd-update-utmp.service",
]


class Image:
    """A Debian that boots: root disk, kernel, initial file system. Made once, and again when the recipe changes."""

    def __init__(self, cache):
        recipe = hashlib.sha256(Path(__file__).read_bytes() + AGENT.read_bytes())
        self.directory = cache / f"debian-{recipe.hexdigest()[:12]}"
        self.disk = self.directory / "disk.ext4"
        self.kernel = self.directory / "vmlinuz"
        self.initrd = self.directory / "initrd.img"

    def is_made(self):
        return self.directory.is_dir()

    def make(self):
        """Takes about a minute, as root, and needs the mirror. Two runs at once make it once."""
        cache = self.directory.parent
        cache.mkdir(parents=True, exist_ok=True)
        with open(cache / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if self.is_made():
                return
            for old in cache.glob("debian-*"):
                shutil.rmtree(old)
            work = cache / "making"
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir()
            try:
                _build(work)
                work.rename(self.directory)
            finally:
                shutil.rmtree(work, ignore_errors=True)


def _build(work):
    root, log = work / "root", work.parent / "debian.log"
    if os.geteuid() != 0:
        raise Failure("the image of the test machine can be made by root only")
    command = [
        # Whatever is mounted or started below, it is gone with this command.
        "unshare", "--mount-proc", "--fork", "--kill-child",
        "mmdebstrap", "--mode=root", "--variant=essential", f"--include={','.join(PACKAGES)}",
        *(f"--dpkgopt=path-exclude=/usr/share/{part}/*" for part in ("doc", "man", "locale")),
        f'--setup-hook=cp -a {work}/overlay/. "$1"',
        "--customize-hook=chroot \"$1\" systemctl enable agent.service",
        f"--customize-hook=chroot \"$1\" systemctl mask {' '.join(MASKED)}",
        "--customize-hook=chroot \"$1\" passwd --delete root",
        RELEASE, str(root), MIRROR,
    ]  # fmt: skip
    for name, text in FILES.items():
        path = work / "overlay" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    with open(log, "w") as output:
        try:
            subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=BUILD_TIMEOUT, check=True
            )
        except subprocess.SubprocessError as error:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
            why = f"not within {BUILD_TIMEOUT} s" if isinstance(error, subprocess.TimeoutExpired) else "failed"
            raise Failure(
                f"Debian {RELEASE} could not be put together from {MIRROR} (is it reachable?): {why}; "
                f"the whole story is in {log}, its end:\n{tail}"
            ) from None
    for kind, name in (("vmlinuz", "vmlinuz"), ("initrd.img", "initrd.img")):
        (found,) = sorted((root / "boot").glob(f"{kind}-*"))
        shutil.copy(found, work / name)
    disk(root, work / "disk.ext4", megabytes=1024)
    shutil.rmtree(root)
    shutil.rmtree(work / "overlay")


def disk(directory, image, megabytes):
    """An ext4 image with the contents of a directory."""
    image.touch()
    command = ["mke2fs", "-q", "-F", "-t", "ext4", "-d", str(directory), str(image), f"{megabytes}M"]
    subprocess.run(command, check=True)

