"""Names as people are shown them: they come from files and models, and may hold anything."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

import numpy as np

SHORT_NAMES = {
    "debiased_cka": "cka(estimator=debiased)",
    "unbiased_cka": "cka(estimator=debiased)",
    "cka_debiased": "cka(estimator=debiased)",
    "cka_unbiased": "cka(estimator=debiased)",
    "linear_cka": "cka(kernel=linear)",
    "cka_linear": "cka(kernel=linear)",
    "rbf_cka": "cka(kernel=rbf)",
    "cka_rbf": "cka(kernel=rbf)",
    "debiased_hsic": "hsic(estimator=debiased)",
    "unbiased_hsic": "hsic(estimator=debiased)",
    "procrustes": "procrustes_distance",
    "dcor": "distance_correlation",
    "mknn": "mutual_knn",
    "linreg": "linear_regression",
    "hard_correlation_match": "bipartite_match",
}
"""What people type → the measure it stands for, in its text form."""
LONGEST = 200
"""Characters of a name that a sentence repeats."""


def printable(text: str, *, lines: bool = False) -> str:
    r"""Write characters that no terminal should get, which could colour, erase or reorder what it shows, as Python writes them.

    These are control characters, marks of direction, and separators of lines, which `lines` keeps.

    >>> print(printable("conv\x1b[31m\u202e2"))
    conv\x1b[31m\u202e2
    """
    if text.isprintable():
        return text
    kept = "\n\t" if lines else ""
    return "".join(
        char if char.isprintable() or char in kept else char.encode("unicode_escape").decode() for char in text
    )


def writable(text: str) -> str:
    r"""Write what UTF-8 cannot hold, as in names of files of another encoding, as Python writes it.

    >>> print(writable("a\udcff.npz"))
    a\udcff.npz
    """
    return text.encode("utf-8", "backslashreplace").decode()


def shortened(text: str, most: int = LONGEST) -> str:
    """Leave out the middle of a long name.

    >>> shortened("a" * 50 + "b" * 50, most=11)
    'aaaaa…bbbbb'
    """
    if len(text) <= most:
        return text
    half = (most - 1) // 2
    return f"{text[:half]}…{text[-half:]}"


def shown(name: object) -> str:
    """Return a name for a sentence: printable, and not longer than anybody reads."""
    return shortened(printable(str(name)))


def quoted(name: object) -> str:
    """Return a name for a sentence, as Python writes it.

    >>> print(quoted("block.1"), quoted(3))
    'block.1' 3
    """
    return repr(shortened(name)) if isinstance(name, str) else shortened(repr(name))


def first_line(error: Exception) -> str:
    """Return what an error of a library says first, as part of a sentence.

    >>> first_line(ValueError("no such file.\\nTraceback")), first_line(KeyError())
    ('no such file', 'KeyError')
    """
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def layer_of(name: object, model: str) -> str:
    """Return what sentences call a layer of a model."""
    return f"layer {quoted(name)} of {shown(model)}"


def check_text(ids: np.ndarray, name: str) -> None:
    """Raise where text holds what no file can: halves of pairs of UTF-16, or bytes beyond ASCII, whose encoding is unknown."""
    if ids.dtype.kind not in "SU" or not ids.size or not ids.dtype.itemsize:
        return
    native = np.ascontiguousarray(ids, dtype=ids.dtype.newbyteorder("="))
    width, low, high = (4, 0xD800, 0xE000) if ids.dtype.kind == "U" else (1, 0x80, 0x100)
    codes = native.view(f"u{width}").reshape(len(ids), -1)
    odd = ((codes >= low) & (codes < high)).any(axis=1)
    if odd.any():
        row = int(np.argmax(odd))
        raise ValueError(
            f"{name} must be text that UTF-8 can hold, got {quoted(ids[row].item())} in row {row}: decode bytes first, and "
            f"replace what could not be decoded."
        )


def plain_name(name: str) -> str:
    """Return a name as short names are looked up: in lower case, with underscores.

    >>> plain_name(" Debiased-CKA ")
    'debiased_cka'
    """
    return name.strip().lower().replace("-", "_").replace(" ", "_")


def unknown(what: str, name: str, known: Iterable[str], remedy: str) -> str:
    """Word the error for a name nobody knows, with the nearest ones.

    >>> unknown("measure", "ckaa", ["cka", "cca"], "homolog.measures() lists them")
    "unknown measure 'ckaa', did you mean cka? homolog.measures() lists them."
    """
    names = {other.lower(): other for other in known}
    near = [names[other] for other in difflib.get_close_matches(name.lower(), list(names), n=3, cutoff=0.6)]
    ask = f", did you mean {' or '.join(near)}? {remedy}." if near else f": {remedy}."
    return f"unknown {what} {quoted(name)}{ask}"


def folded_prefix(names: Iterable[str]) -> str:
    """Return how all names begin, up to a separator; "" where that would leave nothing of one, or saves no room.

    >>> folded_prefix(["encoder.layer.0", "encoder.layer.1"])
    'encoder.layer.'
    """
    several = list(dict.fromkeys(names))
    if len(several) < 2:
        return ""
    shared = _common_start(several)
    end = max(shared.rfind(mark) for mark in "._/: ") + 1
    return shared[:end] if end > 3 and all(len(name) > end for name in several) else ""


def labels(names: Iterable[str], most: int = 28) -> list[str]:
    """Return short names for a picture, of which no two are equal unless the names are.

    Where names are long, what all begin with is folded, then the middle is left out. Names that would look alike show where
    they differ; a number says which is which where even that does not.

    >>> labels(["encoder.layer.0", "encoder.layer.1"], most=12)
    ['…0', '…1']
    >>> labels([19 * "a" + "X" + 19 * "b", 19 * "a" + "Y" + 19 * "b"], most=11)
    ['…aaaaXbbbb…', '…aaaaYbbbb…']
    """
    every = list(names)
    several = list(dict.fromkeys(every))
    prefix = folded_prefix(several) if max(map(len, several), default=0) > most else ""
    folded = {name: f"…{name[len(prefix) :]}" if prefix else name for name in several}
    short = {name: shortened(text, most) for name, text in folded.items()}
    for alike in _alike(short):
        short |= _apart({name: folded[name] for name in alike}, most)
    for alike in _alike(short):
        short |= {name: f"{short[name]} #{several.index(name) + 1}" for name in alike}
    if _alike(short):
        short = {name: f"{short[name]} #{number}" for number, name in enumerate(several, 1)}
    return [short[name] for name in every]


def _common_start(texts: list[str]) -> str:
    """Return the letters with which all texts begin."""
    first, last = min(texts), max(texts)
    same = (k for k, (one, other) in enumerate(zip(first, last, strict=False)) if one != other)
    return first[: next(same, len(first))]


def _alike(short: dict[str, str]) -> list[list[str]]:
    """Return groups of names whose short forms are equal."""
    groups: dict[str, list[str]] = {}
    for name, text in short.items():
        groups.setdefault(text, []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def _apart(texts: dict[str, str], most: int) -> dict[str, str]:
    """Shorten texts to where they differ, with as much around it as there is room for."""
    start = len(_common_start(list(texts.values())))
    shared = len(_common_start([text[start:][::-1] for text in texts.values()]))
    found = {}
    for name, text in texts.items():
        end = len(text) - shared
        around = max(0, (most - 2 - (end - start)) // 2)
        left, right = max(0, start - around), min(len(text), end + around)
        part = shortened(text[left:right], max(most - 2, 3))
        found[name] = "…" * (left > 0) + part.removeprefix("…" * (left > 0)) + "…" * (right < len(text))
    return found
