"""A file system whose power can be cut: ext4 in an image, mounted by a loop device.

Owns: the image, the loop device, the mount, and their removal whatever happens. Never does: start what runs on it.

``cut()`` shuts the file system down without writing its journal out, which is what a power cut leaves: only what was
synced is there after ``remount()``. The image's own blocks lie in the page cache of the machine, which stays up.
Needs root and a loop device; ``needs_power_cut`` skips by name where they are missing.
"""

import fcntl
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

#: _IOR('X', 125, __u32); the argument NOLOGFLUSH (2) drops the journal's unwritten part as a power cut would.
_EXT4_IOC_SHUTDOWN = 0x8004587D
_NOLOGFLUSH = 2


def _available() -> bool:
    return os.geteuid() == 0 and Path("/dev/loop-control").exists() and bool(shutil.which("mkfs.ext4"))


needs_power_cut = pytest.mark.skipif(not _available(), reason="power cut needs root and a loop device")


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout.strip()


class PowerCut:
    """A mounted file system at ``path``. Processes that use it must be stopped by the caller before ``remount``."""

    def __init__(self, directory: Path, mebibytes: int) -> None:
        self.path = directory / "disk"
        self._image = directory / "disk.img"
        self.device = ""
        self._mounted = False
        self._mebibytes = mebibytes

    def make(self) -> None:
        """The image and its loop device."""
        self.path.mkdir()
        with self._image.open("wb") as image:
            image.truncate(self._mebibytes << 20)
        _run("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", str(self._image))
        # Not ``mount -o loop``: the device is ours to detach, also when the mount fails.
        self.device = _run("losetup", "--find", "--show", str(self._image))

    def mount(self) -> None:
        """Replays the journal, as a start after a power cut does."""
        _run("mount", "-t", "ext4", self.device, str(self.path))
        self._mounted = True

    def cut(self) -> None:
        """The power goes. Every later operation on the file system fails with EIO until ``remount``."""
        fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(fd, _EXT4_IOC_SHUTDOWN, struct.pack("I", _NOLOGFLUSH))
        finally:
            os.close(fd)

    def remount(self) -> None:
        """The power is back."""
        self.unmount()
        self.mount()

    def unmount(self) -> None:
        if self._mounted:
            _run("umount", str(self.path))
            self._mounted = False

    def close(self) -> None:
        """Leaves no mount, no loop device and no image behind, also when somebody still has a file open."""
        if self._mounted:
            try:
                self.unmount()
            except RuntimeError:
                _run("umount", "--lazy", str(self.path))
                self._mounted = False
        if self._image.exists():
            # Asked for, because an interrupt may have come between the making of the device and its name.
            for device in _run("losetup", "--noheadings", "--output", "NAME", "--associated", str(self._image)).split():
                _run("losetup", "--detach", device)
        self._image.unlink(missing_ok=True)


@contextmanager
def power_cut_disk(directory: Path, mebibytes: int = 64) -> Iterator[PowerCut]:
    """A fresh file system under ``directory``, mounted and synced."""
    disk = PowerCut(directory, mebibytes)
    try:
        disk.make()
        disk.mount()
        _run("sync", "--file-system", str(disk.path))
        yield disk
    finally:
        disk.close()
