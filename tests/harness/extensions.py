"""Makes sure that the extension modules beside their sources are those of the sources.

``python3 -m pytest`` puts the checkout first on the path, before what ``pip install .`` has installed, so tests run
against the sources at hand and never against an older installation. The extensions have to lie beside their sources
for that; here they are built there when one is missing or older than what it is made of. Up to date costs about 1 ms.
"""

import fcntl
import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: The declarations that modules share, and the script: a change in one of these may concern every module.
SHARED = ("mta_ext/*.pxd", "setup.py")
#: Lines of the compiler's output that are shown when it fails.
SHOWN = 30


class BuildError(Exception):
    """The extensions could not be built; the text says how it went."""


def built_name(source: Path) -> Path:
    """Where this interpreter looks for the module that ``source`` makes."""
    return source.with_name(source.stem + str(sysconfig.get_config_var("EXT_SUFFIX")))


def stale(root: Path = ROOT) -> list[str]:
    """The modules that are missing or older than their source or what they share with the others."""
    shared = max(path.stat().st_mtime_ns for pattern in SHARED for path in root.glob(pattern))
    found = []
    for source in sorted(root.glob("mta_ext/*.pyx")):
        built = built_name(source)
        if not built.exists() or built.stat().st_mtime_ns < max(shared, source.stat().st_mtime_ns):
            found.append(source.stem)
    return found


def ensure_built(say: Callable[[str], None], root: Path = ROOT) -> None:
    """Builds what is stale, one process at a time. Raises BuildError."""
    if not stale(root):
        return
    descriptor = os.open(root / "mta_ext", os.O_RDONLY)  # the directory is the lock
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        modules = stale(root)
        if modules:
            say(f"building {', '.join(modules)} in place: about 15 seconds for all of them")
            _build(root)
            for built in _built(root):
                os.utime(built)  # also those that a shared change did not concern: they are right
    finally:
        os.close(descriptor)


def _built(root: Path) -> list[Path]:
    """The built modules that are there."""
    return [built for source in root.glob("mta_ext/*.pyx") if (built := built_name(source)).exists()]


def _build(root: Path) -> None:
    jobs = str(os.cpu_count() or 1)
    command = [sys.executable, "setup.py", "build_ext", "--inplace", "-q", "-j", jobs]
    if any(built.stat().st_mtime_ns < (root / "setup.py").stat().st_mtime_ns for built in _built(root)):
        command.append("--force")  # setuptools knows which sources a module has, and not that flags have changed
    done = subprocess.run(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode or len(_built(root)) < len(list(root.glob("mta_ext/*.pyx"))):
        end = "\n".join(done.stdout.splitlines()[-SHOWN:])
        raise BuildError(
            f"the extensions cannot be built in place; is `pip install '.[test]'` done, and a C compiler there?\n{end}"
        )
