"""``python -m mta.services.hookcheck``: makes the hooks of the configuration on stdin, and loads its token
verifier; 78 and a line for each that cannot be made.

Owns: nothing that lasts. Never does: call a method of a policy.
"""

import os
import sys

from mta.config import from_json
from mta.errors import ConfigError
from mta.services.hooking import load_hooks
from mta.services.tokens import load_verifier


def main() -> int:
    try:
        config = from_json(sys.stdin.buffer.read())
        load_hooks(config)
        load_verifier(config.login.token_verifier)
    except ConfigError as error:
        print("\n".join(error.findings), file=sys.stderr)
        return os.EX_CONFIG
    return 0


if __name__ == "__main__":
    sys.exit(main())
