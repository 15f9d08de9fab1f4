"""Imports on their way in: records that have come, piece by piece, until all of them go in at once.

Owns: what is gathered, its bounds, and when it is given up. Never does: write. One event loop's thread.
"""

import os
from collections.abc import Callable
from typing import Any, Final

import msgspec

from mta.directory.changes import Changes
from mta.directory.records import IMPORT_LIMIT, Record, take_in
from mta.directory.verbs import Args, Row, Settings
from mta.errors import DataError, TemporaryError, UsageError

#: Imports that may be on their way at once, and seconds after which one that gets no more is given up.
IMPORTS_LIMIT: Final = 4
IDLE_LIMIT: Final = 120.0


class _Import:
    def __init__(self, keep_ids: bool, now: float) -> None:
        self.keep_ids = keep_ids
        self.heard = now
        self.records: list[Record] = []
        self.applied = 0


class Staging:
    """``import.begin`` gives a token; ``import.records`` adds; ``import.commit`` is a job for the writer;
    ``import.drop`` forgets. All raise MtaError."""

    VERBS: Final = ("import.begin", "import.records", "import.drop", "import.commit")

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._imports: dict[str, _Import] = {}

    def answer(self, verb: str, args: Args, now: float) -> Row:
        """All but the commit. ``now``: monotonic seconds."""
        for token in [token for token, one in self._imports.items() if now - one.heard > IDLE_LIMIT]:
            del self._imports[token]
        if verb == "import.begin":
            if len(self._imports) >= IMPORTS_LIMIT:
                raise TemporaryError(f"{IMPORTS_LIMIT} imports are on their way; try again when one has ended")
            token = os.urandom(12).hex()
            self._imports[token] = _Import(bool(args.get("keep_ids", False)), now)
            return {"token": token}
        if verb == "import.drop":
            return {"dropped": self._imports.pop(str(args.get("token")), None) is not None}
        one = self._of(args)
        one.heard = now
        try:
            one.records += msgspec.convert(args.get("records"), list[Record])
        except msgspec.ValidationError as error:
            raise UsageError(f"{verb}: {error}") from None
        if len(one.records) > IMPORT_LIMIT:
            del self._imports[str(args["token"])]
            raise DataError(f"more than {IMPORT_LIMIT} entries in one import; divide the file")
        return {"staged": len(one.records)}

    def commit(self, args: Args) -> tuple[Callable[[Changes], Row], Callable[[], int]]:
        """The job that puts all of it in, and how many entries it has come to, for whoever waits. Once."""
        one = self._of(args)
        del self._imports[str(args["token"])]

        def progress(count: int) -> None:
            one.applied = count

        def job(changes: Changes) -> dict[str, Any]:
            return take_in(
                changes,
                one.records,
                keep_ids=one.keep_ids,
                template=self._settings.template,
                domain=self._settings.domain,
                progress=progress,
            )

        return job, lambda: one.applied

    def _of(self, args: Args) -> _Import:
        one = self._imports.get(str(args.get("token")))
        if one is None:
            raise DataError("there is no such import: it took too long, or the server was started anew; begin again")
        return one
