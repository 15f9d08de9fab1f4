"""From plain tables to sections and back: checks every value and collects every finding, not only the first.

Owns: the walk over tables, arrays and values along the types of ``sections``, and the wording of findings. msgspec
checks values too, but stops at the first that is wrong and knows nothing of paths an operator wrote.
Never does: read files or the environment, or judge values that are right by themselves but not together.
"""

import json
import os
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import msgspec

from mta.config.units import Address

S = TypeVar("S", bound=msgspec.Struct)
_WRONG = object()


class Findings:
    """What is wrong, one line each. ``origins``: paths that came from elsewhere than the file, and from where."""

    def __init__(self, source: str, base: Path, origins: Mapping[str, str] | None = None) -> None:
        self.source = source
        self.base = base
        self.origins = origins or {}
        self.lines: list[str] = []

    def origin(self, path: str) -> str | None:
        """The variable that set ``path`` or a table around it; None: the file did."""
        return next((o for p, o in self.origins.items() if path == p or path.startswith((f"{p}.", f"{p}["))), None)

    def add(self, path: str, text: str) -> None:
        variable = self.origin(path)
        self.lines.append(f"{variable}: {path}: {text}" if variable else f"{self.source}: {path}: {text}")

    def resolve(self, path: str, text: str) -> str:
        """A relative file name is meant from the file that names it, or from where we are when a variable does."""
        base = Path.cwd() if self.origin(path) else self.base
        # Unlike Path.expanduser it leaves the ~ of a user that is not there as it is.
        return os.path.normpath(base / os.path.expanduser(text))


def shown(value: object) -> str:
    """A value as the operator wrote it, near enough, and not longer than a line."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def read_table(kind: type[S], table: object, path: str, findings: Findings) -> S | None:
    """The section ``kind`` from a table, or None when anything in it is wrong (and said so)."""
    if not isinstance(table, dict):
        findings.add(path, f"{shown(table)} is not a table")
        return None
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    before = len(findings.lines)
    values = {}
    for key, value in table.items():
        where = f"{path}.{key}" if path else key
        if key not in fields:
            near = get_close_matches(key, fields, n=1)
            findings.add(where, f'unknown key; did you mean "{near[0]}"?' if near else "unknown key")
        else:
            values[key] = read_value(fields[key].type, value, where, findings)
    for name, field in fields.items():
        if field.required and name not in table:
            findings.add(f"{path}.{name}" if path else name, "is missing")
    return kind(**values) if len(findings.lines) == before else None


def read_value(kind: Any, value: object, path: str, findings: Findings) -> object:
    """One value of the type ``kind``. What is wrong is noted, and the result is of no use then."""
    origin = get_origin(kind)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return read_table(kind, value, path, findings)
    if origin is tuple:
        return _read_array(get_args(kind)[0], value, path, findings)
    if origin in (Union, UnionType):
        # The only unions are "T or nothing".
        (inner,) = (arm for arm in get_args(kind) if arm is not NoneType)
        return None if value is None else read_value(inner, value, path, findings)
    if origin is Literal:
        allowed = get_args(kind)
        if value not in allowed:
            findings.add(path, f"{shown(value)} is not one of {', '.join(allowed)}")
        return value
    if origin is Annotated:
        return _read_leaf(kind, value, path, findings)
    raise TypeError(f"no rule reads {kind!r}")


def _read_array(kind: Any, value: object, path: str, findings: Findings) -> tuple[object, ...]:
    if not isinstance(value, list):
        is_table = isinstance(kind, type) and issubclass(kind, msgspec.Struct)
        example = f"[[{path}]]" if is_table else f"[{shown(value)}]"
        findings.add(path, f"{shown(value)} is not an array; write {example}")
        return ()
    return tuple(read_value(kind, item, f"{path}[{i}]", findings) for i, item in enumerate(value))


def _read_leaf(kind: Any, value: object, path: str, findings: Findings) -> object:
    meta = next(m for m in kind.__metadata__ if isinstance(m, msgspec.Meta))
    extra = meta.extra or {}
    try:
        if "read" in extra:
            read = extra["read"](value)
            if isinstance(read, Address) and read.path:
                return Address(path=findings.resolve(path, read.path))
            return read
        if "path" in extra:
            if not isinstance(value, str) or not value or "\0" in value:
                raise ValueError(f"is not {meta.description}")
            text = value if value == "-" else findings.resolve(path, value)
            return kind.__origin__(text)
        return msgspec.convert(value, kind)
    except msgspec.ValidationError:
        findings.add(path, f"{shown(value)} is not {meta.description}")
    except ValueError as error:
        findings.add(path, f"{shown(value)} {error}")
    return _WRONG


def as_table(section: msgspec.Struct) -> dict[str, Any]:
    """A section as plain values that :func:`read_table` takes again. Nothing (None) is left out, as TOML has none."""
    values = {name: getattr(section, name) for name in section.__struct_fields__}
    return {name: _plain(value) for name, value in values.items() if value is not None}


def _plain(value: object) -> object:
    if isinstance(value, msgspec.Struct):
        return as_table(value)
    if isinstance(value, Address):
        return str(value)
    if isinstance(value, tuple):
        if len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], int):
            return str(Address(*value))
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return value  # the options of a hook
    return value if isinstance(value, str | int | float | bool) else str(value)
