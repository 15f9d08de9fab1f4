"""What all comparisons read from their command line alike, and the file with every figure.

Owns: lists of numbers, and the JSON report. Never does: measure.
"""

from pathlib import Path

import msgspec

from bench.figures import Results, Verdict, as_record
from bench.plan import POSTFIX
from mta.errors import UsageError


def numbers(text: str, name: str) -> list[int]:
    """``1,20,200`` as whole numbers above zero. Raises UsageError."""
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() and int(word) > 0 for word in words):
        raise UsageError(f'{name}: "{text}" is no list of whole numbers above zero')
    return [int(word) for word in words]


def write_json(
    file: Path, header: dict[str, str], results: Results, judged: list[Verdict], reference: str = POSTFIX
) -> None:
    """Header, a row for each peer and cell, and the bars."""
    rows = [as_record(cell, peer, results, reference) for cell, runs in results.runs.items() for peer in runs]
    bars = [{"bar": v.bar.text, "peer": v.peer, "needed": v.bar.factor, "ratio": v.ratio, "ok": v.ok} for v in judged]
    report = {"header": header, "rows": rows, "bars": bars}
    file.write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
