"""Tries out the hooks and the token verifier of a configuration before any worker depends on them.

Owns: the process in which that is done: what a policy imports and does stays out of the attendant, and a policy that
was edited is read anew. Never does: keep or call a hook. Blocks for as long as the imports take.
"""

import os
import subprocess
import sys
from typing import Final

from mta.config import Config, to_json
from mta.errors import ConfigError

#: Seconds that all policies may take to be made.
TIMEOUT: Final = 30.0


def check_hooks(config: Config) -> None:
    """Raises ConfigError, a line per finding. Nothing is started when there is neither."""
    if not config.hook and not config.login.token_verifier:
        return
    command = [sys.executable, "-m", "mta.services.hookcheck"]
    try:
        done = subprocess.run(command, input=to_json(config), capture_output=True, timeout=TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        raise ConfigError([f"hook: importing and making the policies takes longer than {TIMEOUT:g} s"]) from None
    if done.returncode:
        lines = done.stderr.decode("utf-8", "replace").splitlines() or [f"ended with {done.returncode}"]
        raise ConfigError(lines if done.returncode == os.EX_CONFIG else [f"hook: {lines[-1]}"])
