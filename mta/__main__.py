"""``python -m mta`` is the command ``mta``."""

from mta.cli import main

main()
