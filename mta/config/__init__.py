"""The configuration: one TOML file, the environment over it, complete and checked before anything starts.

``load`` gives a frozen ``Config`` with every default filled in; ``to_json``/``from_json`` carry it to the worker
processes. Owns no state; a reload is a second ``load``.
"""

from mta.config.load import check_passwords, find_file, from_json, load, parse, to_json, warnings
from mta.config.sections import Config, Listener, Route
from mta.config.units import Address

__all__ = [
    "Address",
    "Config",
    "Listener",
    "Route",
    "check_passwords",
    "find_file",
    "from_json",
    "load",
    "parse",
    "to_json",
    "warnings",
]
