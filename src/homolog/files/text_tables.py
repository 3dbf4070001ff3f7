"""Tables in text: fields between commas (.csv) or tabs (.tsv), read with Python's own reader, which knows the lines."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from homolog.files.contents import Contents, Entry, Refusal, warn
from homolog.id_columns import looks_like_ids
from homolog.names import quoted, writable

_TOGETHER = 1024
"""Lines that are made numbers of at a time; the first of them say which columns hold numbers."""
_VECTOR = re.compile(r"\s*(array\(|tensor\()?\[\s*(np\.\w+\()?[-+]?[\d.]")
_VECTORS = "must hold numbers, got vectors written as text: write one column for each number, or the table as Parquet"
_DECIMAL_COMMA = re.compile(r"\s*[+-]?\d+,\d+\s*")
_GAPS = ("", "na", "n/a", "null", "none", "?", "-")
"""What stands for a number that is missing, and is no name."""
_MARKS = {";": "semicolons", "\t": "tabs", " ": "spaces"}
_LARGEST = 2.0**53
"""Up to which float64 tells all integers."""


class _Line(NamedTuple):
    number: int
    fields: list[str]


def read_text(path: Path) -> Contents:
    """Read columns of numbers, which are features, and columns of text, of which one may say who the rows are."""
    lines = _lines(path)
    names, skipped = _names(lines, path)
    rows = _rows(path, skipped)
    first = list(islice(rows, _TOGETHER))
    if not first:
        raise Refusal("there must be rows of numbers, got names and no rows: look at what was written.")
    kinds = [_kind(first, place, name) for place, name in enumerate(names)]
    written = [place for place, kind in enumerate(kinds) if kind in ("text", "ids")]
    texts: dict[str, list[str]] = {names[place]: [] for place in written}
    count = 0
    for line in chain(first, rows):
        _check_length(line, names)
        count += 1
        for place in written:
            texts[names[place]].append(line.fields[place])
    numeric = [place for place, kind in enumerate(kinds) if kind == "numbers"]
    numbers = _quickly(path, skipped, numeric, count)
    if numbers is None:
        numbers = _carefully(path, skipped, numeric, names)
    columns = {names[place]: numbers[:, column] for column, place in enumerate(numeric)}
    return Contents(
        {name: _entry(name, kind, columns, texts) for name, kind in zip(names, kinds, strict=True)},
        gathered=writable(path.stem),
    )


def _entry(name: str, kind: str, columns: dict[str, np.ndarray], texts: dict[str, list[str]]) -> Entry:
    if kind == "numbers":
        return Entry("numbers", lambda: columns[name])
    if kind == _VECTORS:
        return Entry("refused", what=kind)
    if kind in ("text", "ids"):
        return Entry("text", lambda: _ids(texts[name]), "" if kind == "text" else kind)
    return Entry("other", what=kind)


def _lines(path: Path) -> Iterator[_Line]:
    """Yield the lines that are not empty, each with its number: where fields hold several lines, that of the last."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=_delimiter(path), strict=True)
        try:
            for fields in reader:
                if fields and (len(fields) > 1 or fields[0].strip()):
                    yield _Line(reader.line_num, fields)
        except csv.Error as error:
            raise Refusal(f"line {reader.line_num} must be a row of a table, got: {error}.") from None
        except UnicodeDecodeError:
            raise Refusal("the text must be in UTF-8, got another encoding: write it with encoding='utf-8'.") from None


def _delimiter(path: Path) -> str:
    return "\t" if path.suffix.lower() == ".tsv" else ","


def _rows(path: Path, skipped: int) -> Iterator[_Line]:
    """Yield the lines after that of the names."""
    return (line for line in _lines(path) if line.number > skipped)


def _names(lines: Iterator[_Line], path: Path) -> tuple[list[str], int]:
    """Return the names of the columns, and the number of the line that holds them; 0 where none does."""
    start = list(islice(lines, 2))
    if not start:
        raise Refusal("there must be a table, got an empty file: write it again.")
    first, second = start[0], start[-1]
    _check_delimiter(first, path)
    if not _is_header(first.fields, second.fields, path):
        names = [str(place) for place in range(len(first.fields))]
        # A text before the numbers of a row is who the row is.
        return ["", *names[1:]] if _is_text(first.fields[0]) else names, 0
    names = [field.strip() for field in first.fields]
    names[0] = names[0].removeprefix("#").strip()
    if len(second.fields) == len(names) + 1:
        # As R writes the names of rows; but a comma that ends every line holds nothing.
        names = [*names, ""] if not second.fields[-1].strip() else ["", *names]
    names = [name if name or not place else f"column {place}" for place, name in enumerate(names)]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise Refusal(f"columns must have different names, got {quoted(twice)} twice: rename one.")
    return names, first.number


_FEWEST_IN_ORDER = 5
"""Numbers with fractions that stand in order in a row by chance at most once in several hundred times."""


def _is_header(first: list[str], second: list[str], path: Path) -> bool:
    """Say whether the first line holds names and no numbers, or the numbers of the columns from 0, as pandas writes them."""
    numeric = [field.strip() for field in first if _is_number(field)]
    if not numeric:
        return True
    others = zip(first, second, strict=False)
    if any(_is_text(field) and (_is_number(below) or looks_like_ids(field)) for field, below in others):
        return True
    if not first[0].strip() and _is_text(second[0]):
        return True  # the name of an index without one; in a row there would be nothing
    if first != second and numeric != [str(place) for place in range(len(numeric))] and _are_names(first, second):
        warn(
            f"the first line of {str(path)!r} ({', '.join(first[:3])} …) is taken for the names of its columns, and is no row: "
            f"give the columns names that are no numbers, or the file a line of names."
        )
        return True
    if numeric != [str(place) for place in range(len(numeric))] or first == second:
        return False
    if not first[0].strip():
        return True  # the name of an index without one
    if len(numeric) < 2:
        return False
    if not all(re.fullmatch(r"\s*[+-]?\d+\s*", field) for field in second if _is_number(field)):
        return True
    counted = len(numeric) > 2  # 0, 1 may as well be a row
    what = "the numbers of its columns, and is no row" if counted else "a row, and not for the numbers of its columns"
    warn(f"the first line of {str(path)!r} ({', '.join(first[:3])} …) is taken for {what}: give the columns names.")
    return counted


def _are_names(first: list[str], second: list[str]) -> bool:
    """Say whether numbers of the first line are those of columns, such as neurons or years: other ones, in order, or whole."""
    apart = 0 if _is_number(first[0]) else 1  # a text before them names the index, or is who the row is
    numbers = [float(field) for field in first[apart:] if _is_number(field)]
    below = [float(field) for field in second[apart:] if _is_number(field)]
    if len(numbers) < len(first) - apart or len(set(numbers)) < len(numbers) or not below:
        return False
    whole = all(number.is_integer() for number in numbers)
    if (
        whole
        and any(re.search(r"[.eE]", field) for field in second[apart:])
        and not any("." in f for f in first[apart:])
    ):
        return True
    return len(numbers) > (2 if whole else _FEWEST_IN_ORDER) and numbers == sorted(numbers) and below != sorted(below)


def _check_delimiter(line: _Line, path: Path) -> None:
    """Raise where the fields of a table are separated by something else."""
    alone = line.fields[0] if len(line.fields) == 1 else ""
    between = next((mark for mark in ";\t" if mark in alone), "")
    if any(re.match(r"\s*\d+;[+-]?\d", field) for field in line.fields):
        between = ";"  # decimal commas took the numbers apart
    elif not between and len(alone.split()) > 1 and all(map(_is_number, alone.split())):
        between = " "
    if between:
        raise Refusal(
            f"fields must be separated by {'tabs' if path.suffix.lower() == '.tsv' else 'commas'}, got {_MARKS[between]} in line "
            f"{line.number}: write the table so, with points in numbers; tabs belong in .tsv."
        )


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _is_text(field: str) -> bool:
    return not _is_number(field) and field.strip().lower() not in _GAPS


def _kind(lines: list[_Line], place: int, name: str) -> str:
    """Say what the first lines show of a column: numbers, ids, text, or what is left out."""
    fields = [(line, line.fields[place]) for line in lines if place < len(line.fields)]
    if (place == 0 and not name) or looks_like_ids(name):
        return "ids"
    if any(_is_number(field) for _, field in fields):
        return "numbers"
    odd = next((line for line, field in fields if _DECIMAL_COMMA.fullmatch(field)), None)
    if odd is not None:
        raise Refusal(
            f"line {odd.number}, column {quoted(name)}, must hold a number with a decimal point, got "
            f"{quoted(odd.fields[place])}: write the table with points."
        )
    if all(_VECTOR.match(field) for _, field in fields):
        return _VECTORS
    found = {field.strip().lower() for _, field in fields}
    return "nothing" if found == {""} else "booleans" if found <= {"true", "false"} else "text"


def _check_length(line: _Line, names: list[str]) -> None:
    if len(line.fields) != len(names):
        raise Refusal(
            f"line {line.number} must hold {len(names)} fields, as the lines before, got {len(line.fields)}: complete it, or "
            f"leave it out."
        )


def _quickly(path: Path, skipped: int, numeric: list[int], count: int) -> np.ndarray | None:
    """Read the columns of numbers with NumPy's reader; None where that finds something odd, of which it cannot say the line."""
    try:
        found = np.loadtxt(
            path,
            delimiter=_delimiter(path),
            skiprows=skipped,
            usecols=numeric,
            comments=None,
            quotechar='"',
            encoding="utf-8-sig",
            ndmin=2,
        )
    except ValueError:
        return None
    exact = found.shape == (count, len(numeric)) and np.isfinite(found).all() and not np.any(np.abs(found) >= _LARGEST)
    return found if exact else None


def _carefully(path: Path, skipped: int, numeric: list[int], names: list[str]) -> np.ndarray:
    """Read the columns of numbers line by line, and say where one is none."""
    rows = _rows(path, skipped)
    blocks = []
    while block := list(islice(rows, _TOGETHER)):
        blocks.append(_numbers(block, numeric, names))
    return np.concatenate(blocks)


def _numbers(block: list[_Line], numeric: list[int], names: list[str]) -> np.ndarray:
    try:
        found = np.array([[float(line.fields[place]) for place in numeric] for line in block]).reshape(-1, len(numeric))
    except ValueError:
        line, place = next((ln, at) for ln in block for at in numeric if not _is_number(ln.fields[at]))
        raise _odd(line, names, place, "a number") from None
    if not np.isfinite(found).all():
        row, column = (int(where[0]) for where in np.nonzero(~np.isfinite(found)))
        raise _odd(block[row], names, numeric[column], "a finite number")
    for row, column in np.argwhere(np.abs(found) >= _LARGEST):
        text = block[row].fields[numeric[column]].strip()
        if text.lstrip("+-").isdigit() and int(text) != int(found[row, column]):
            raise _odd(block[row], names, numeric[column], "a number that float64 can hold, so as integers up to 2**53")
    return found


def _odd(line: _Line, names: list[str], place: int, must: str) -> Refusal:
    text = line.fields[place]
    remedy = "write it with a decimal point" if _DECIMAL_COMMA.fullmatch(text) else "leave the row or the column out"
    got = quoted(text) if text.strip() else "nothing"
    return Refusal(f"line {line.number}, column {quoted(names[place])}, must hold {must}, got {got}: {remedy}.")


def _ids(texts: list[str]) -> list[str] | list[int]:
    """Return ids as integers, if all are written as integers are: 007 is a text."""
    texts = [text.strip() for text in texts]
    if all(re.fullmatch(r"0|-?[1-9]\d{0,17}", text) for text in texts):
        return [int(text) for text in texts]
    return texts
