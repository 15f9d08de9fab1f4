"""The machine: how busy it is, and the facts that a reader needs beside the figures.

Owns: reading /proc and versions. Never does: judge a peer.
"""

import os
import platform
import shutil
import subprocess
import time
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

#: Above this share of all cores something else is running, and its CPU time would be counted as the peer's.
IDLE = 0.04
_WINDOW = 0.25


def cpu_times() -> tuple[float, float]:
    """(busy, stolen) seconds of all cores together since boot; what the host stole counts as busy too."""
    with open("/proc/stat") as file:
        ticks = [int(word) for word in file.readline().split()[1:]]
    tick = float(os.sysconf("SC_CLK_TCK"))
    idle = ticks[3] + ticks[4]
    return (sum(ticks) - idle) / tick, (ticks[7] if len(ticks) > 7 else 0) / tick


def busy_share(seconds: float = _WINDOW) -> float:
    """Part of all cores' time that was used in the coming ``seconds``."""
    before = cpu_times()[0]
    time.sleep(seconds)
    return (cpu_times()[0] - before) / seconds / (os.cpu_count() or 1)


def settle(patience: float = 4.0) -> float:
    """Waits until the machine is idle, at most so many seconds; the last share seen (above IDLE: it never was)."""
    deadline = time.monotonic() + patience
    while (share := busy_share()) > IDLE and time.monotonic() < deadline:
        pass
    return share


def facts(directory: Path, durability: str) -> dict[str, str]:
    """What the header of the table says. ``directory`` is where the spools are."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{_cpu_model()}, {os.cpu_count()} cores, {_memory_gib()} GiB",
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "file system": file_system(directory),
        "durability": durability,
        "python": ", ".join([f"CPython {platform.python_version()}", *map(_package, ("uvloop", "lmdb", "Cython"))]),
    }


def _package(name: str) -> str:
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return f"no {name}"


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown processor"


def _memory_gib() -> int:
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30))


def file_system(directory: Path) -> str:
    """Type, device and mount options of what the directory lies on, with a warning when it is no disk."""
    device = directory.stat().st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
        mount, _, rest = line.partition(" - ")
        words = mount.split()
        if words[2] == wanted:
            kind, source, _ = rest.split(" ", 2)
            warning = " (NOT A DISK: nothing here is durable)" if kind in ("tmpfs", "ramfs") else ""
            return f"{kind} on {source} ({words[5]}){warning}"
    return "unknown"


def program(name: str) -> str | None:
    """Where a program is; the system directories count even when PATH leaves them out."""
    search = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])
    return shutil.which(name, path=search)


def said(*argv: str, timeout: float = 10.0) -> str:
    """The first line that a program prints, for version texts; "" when it fails or prints nothing."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    lines = (done.stdout or done.stderr).strip().splitlines()
    return lines[0] if lines else ""
