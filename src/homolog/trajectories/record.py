"""The rows of a trajectory that are finished: a line of JSON each, after one that says what was asked for."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from homolog.extraction.computation_record import VALUES, first_difference, incomparable_in
from homolog.names import quoted, shown
from homolog.store.disk import check_file, check_path, locked_alone, room_for

ENDING = ".jsonl"
_FORM = "homolog trajectory rows"
_HEADER, _ROW = f'{{"form": "{_FORM}", "request": {{'.encode(), b'{"checkpoint": "'
"""How the first line begins, and how all others do."""


class Record:
    """A file of rows that is begun, or gone on with; without a path nothing is kept."""

    def __init__(self, path: Path | None, *, resume: bool) -> None:
        self._path = path
        self.rows: dict[str, dict[str, Any]] = {}
        """Label of a checkpoint → its row."""
        self._begun: dict[str, str] | None = None
        self._file: IO[bytes] | None = None
        """Open as long as rows are added, for the lock on it."""
        if path is None:
            if resume:
                raise ValueError(
                    "resume=True goes on with a file of rows, got no out: name it, out='trajectory.jsonl'."
                )
            return
        check_path(path)
        if path.suffix != ENDING:
            raise ValueError(f"out must end in {ENDING}, got {path.name!r}: it gets one line for each checkpoint.")
        if not path.parent.is_dir():
            raise FileNotFoundError(f"there is no folder {str(path.parent)!r}: make it first.")
        if path.exists() and not resume:
            raise FileExistsError(
                f"{str(path)!r} is there already: pass resume=True to go on with it, or another name."
            )
        self._resume = resume
        if path.exists():
            check_file(path)
            self._read(path)

    def _read(self, path: Path) -> int:
        """Read whole lines, and return where these end; after them is what was being written when the process ended."""
        whole, mark, rest = path.read_bytes().rpartition(b"\n")
        try:
            lines = [json.loads(line) for line in whole.split(b"\n") if line]
            if lines and (lines[0]["form"] != _FORM or not isinstance(lines[0]["request"], dict)):
                raise ValueError("another form")
            beginning = _ROW if lines else _HEADER
            if rest[: len(beginning)] != beginning[: len(rest)]:  # of somebody else
                raise ValueError("another line")
            self._begun = lines[0]["request"] if lines else None
            self.rows = {row["checkpoint"]: row for row in lines[1:]}
        except (ValueError, KeyError, TypeError, RecursionError):
            raise ValueError(
                f"{str(path)!r} must hold the rows of a trajectory, as compare_checkpoints writes them, got something else: "
                f"choose another name."
            ) from None
        return len(whole) + len(mark)

    def begin(self, request: Mapping[str, str]) -> None:
        """Write what is asked for, or refuse to go on where it was something else."""
        if self._path is None:
            return
        self._open(self._path)
        end = self._read(self._path)  # again: now that it is ours, nobody else adds to it
        if self._begun is not None:
            self._check(request)
        if end < self._path.stat().st_size:
            os.truncate(self._path, end)
        if self._begun is None:
            self._write({"form": _FORM, "request": dict(request)})

    def close(self) -> None:
        """Let go of the file, which another process may then go on with."""
        if self._file is not None:
            self._file.close()

    def _open(self, path: Path) -> None:
        """Take the file for this process alone: two that write one file would spoil each other's rows."""
        try:
            self._file = path.open("ab" if self._resume else "xb")
        except FileExistsError:
            raise FileExistsError(
                f"{str(path)!r} was made by another process in the meantime: choose another name."
            ) from None
        if not locked_alone(self._file):
            raise BlockingIOError(
                f"{str(path)!r} is being written by another process: wait for it, or choose another name."
            )

    def _check(self, request: Mapping[str, str]) -> None:
        """Refuse to go on with what was begun otherwise."""
        assert self._begun is not None
        for what in sorted({*self._begun, *request} - {VALUES}):
            if self._begun.get(what) != request.get(what):
                self._refuse(what, self._begun.get(what, "none"), request.get(what, "none"))
        other = first_difference(self._begun, request)
        if other is not None:
            self._refuse(*other)
        given, others = incomparable_in(request)
        for what, text in (given | others).items():
            raise ValueError(
                f"{str(self._path)!r} must be continued with what it was begun with, which cannot be told of "
                f"{what.split(':')[0]} ({text}): use functions whose defaults, closure and globals are numbers, text, arrays "
                f"or other functions."
            )

    def row(self, label: str, digests: Mapping[str, str]) -> dict[str, Any] | None:
        """Return a finished row, or None; refuse where it is of other checkpoints than those of now."""
        found = self.rows.get(label)
        if found is not None and found["digests"] != digests:
            raise ValueError(
                f"{str(self._path)!r} must be continued with the checkpoints it was begun with, got other weights of "
                f"{shown(label)} or of the one before it: choose another name."
            )
        return found

    def add(self, row: dict[str, Any]) -> None:
        """Keep a row that is finished."""
        self.rows[row["checkpoint"]] = row
        if self._path is not None:
            self._write(row)

    def _write(self, line: Mapping[str, Any]) -> None:
        assert self._path is not None
        with room_for(self._path, "make room and go on with resume=True"), self._path.open("ab") as file:
            file.write(json.dumps(line, ensure_ascii=True).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def _refuse(self, what: str, begun: str, now: str) -> None:
        raise ValueError(
            f"{str(self._path)!r} must be continued with the {shown(what)} it was begun with ({quoted(begun)}), got "
            f"{quoted(now)}: pass the same, or choose another name."
        )
