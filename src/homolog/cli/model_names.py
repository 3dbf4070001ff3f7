"""What models are called whose activations lie in several files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from homolog import files
from homolog.names import writable


def model_names(paths: Sequence[Path]) -> list[str]:
    """Return a name for each file: its own without ending, or with what tells it from others of that name.

    >>> model_names([Path("m0.npz"), Path("m1.npz")]), model_names([Path("x/m.npz"), Path("y/m.npz")])
    (['m0', 'm1'], ['x/m', 'y/m'])
    >>> model_names([Path("m.npz"), Path("m.zarr")]), model_names([Path("m.npz"), Path("./m.npz")])
    (['m.npz', 'm.zarr'], ['m', 'm (2)'])
    """
    there = [os.path.abspath(path) for path in paths]
    own = {where: files.title(path) for where, path in zip(there, paths, strict=True)}
    names: list[str] = []
    for where in there:
        alike = [other for other in own if own[other] == own[where]]
        name = own[where] if len(alike) == 1 else _told_apart(where, alike)
        again = (text for text in (name, *(f"{name} ({count})" for count in range(2, len(paths) + 2))))
        names.append(next(text for text in again if text not in names))
    return names


def _told_apart(where: str, alike: Sequence[str]) -> str:
    """Return the shortest of the names that a file may have which no other file has."""
    choices = map(_possible_names, (where, *(other for other in alike if other != where)))
    return next(name for name, *others in zip(*choices, strict=False) if name not in others)


def _possible_names(where: str) -> Iterator[str]:
    """Yield its name with its ending, then with more and more of the folders in which it is, without and with ending."""
    folders, title = Path(where).parts[:-1], files.title(where)
    yield writable(Path(where).name)
    for depth in range(1, len(folders) + 1):
        for name in (title, writable(Path(where).name)):
            yield writable("/".join([*folders[-depth:], name]))
