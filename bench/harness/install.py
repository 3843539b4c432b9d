"""Builds what is measured, and installs the peers that Debian has not, into bench/.cache."""

import subprocess

from .peers import BENCH, CACHE, REPOSITORY, Circus, Horust, Pm2, Supervisord

# The versions the figures are about; newer ones are a decision, not an accident.
SUPERVISORD, CIRCUS, PM2, HORUST = "4.3.0", "0.19.0", "7.0.4", "0.1.14"


def _run(*command):
    print("+", *command, flush=True)
    subprocess.run([str(word) for word in command], check=True)


def build(with_logs):
    """cafe, the service and the floor, and what bench/logs.sh runs."""
    CACHE.mkdir(exist_ok=True)
    _run("cargo", "build", "--quiet", "--release", "--bin", "cafe", "--manifest-path", REPOSITORY / "Cargo.toml")
    if with_logs:
        manifest = REPOSITORY / "Cargo.toml"
        _run("cargo", "bench", "--quiet", "--no-run", "--bench", "log_throughput", "--manifest-path", manifest)
    flags = ["-static", "-O2", "-Wall", "-Wextra"]
    _run("cc", *flags, "-o", CACHE / "floor", BENCH / "floor.c")
    _run("cc", *flags, "-nostdlib", "-fno-stack-protector", "-o", CACHE / "probe", BENCH / "probe.c")


def peers():
    """What is missing of supervisord, circus, pm2 and horust (that one takes minutes to compile)."""
    if Supervisord.version() != SUPERVISORD or Circus.version() != CIRCUS:
        _run("python3", "-m", "venv", CACHE / "py")
        _run(CACHE / "py/bin/pip", "install", "--quiet", f"supervisor=={SUPERVISORD}", f"circus=={CIRCUS}")
    if Pm2.version() != PM2:
        _run("npm", "install", "--silent", "--no-fund", "--no-audit", "--prefix", CACHE / "node", f"pm2@{PM2}")
    if Horust.version() is None:
        target = CACHE / "horust-target"
        root = CACHE / "horust"
        _run("cargo", "install", "horust", "--version", HORUST, "--locked", "--root", root, "--target-dir", target)
