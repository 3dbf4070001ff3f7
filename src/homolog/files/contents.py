"""What a file holds before it is read: which of it may be layers, who its rows are, and what is left out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np

from homolog.diagnostics import Caution, LeftOutWarning, give
from homolog.id_columns import looks_like_ids
from homolog.names import quoted

IDENTITIES = ("example_ids", "positions", "digests")
"""What files that homolog wrote hold of the rows, beside the layers."""
RESERVED = "homolog:"
"""How the names of what is no layer begin, in files that homolog wrote."""
OBJECTS = "must hold numbers, got pickled Python objects, which are not read because reading them can run code"
_ENDS_OF_WEIGHTS = ("weight", "bias", "kernel", "kernel:0", "running_mean", "running_var", "num_batches_tracked")


class Refusal(ValueError):
    """What a file holds cannot be read: the rest of a sentence that begins with the file."""


class Unknown(LookupError):
    """A file holds nothing of the name that was asked for."""


class Entry(NamedTuple):
    """Something that a file holds under a name."""

    kind: Literal["layer", "numbers", "text", "other", "refused"]
    """What may be a layer (n, p); one number per row; one text per row; what is left out; what is not read, for a reason."""
    read: Callable[[], Any] = lambda: None
    what: str = ""
    """What sentences call it; for what is refused: what must be, what was got, and the remedy."""


@dataclass
class Contents:
    """What a file holds, by name, in its order."""

    entries: dict[str, Entry]
    notes: dict[str, Any] = field(default_factory=dict)
    """What homolog wrote beside the layers."""
    index: tuple[str, ...] = ()
    """Which entries the file itself says are the index of its rows."""
    gathered: str | None = None
    """What the one layer is called whose features are all entries of one number per row; None where these are no features."""
    close: Callable[[], Any] = lambda: None
    """Closes what entries are read from."""


@contextmanager
def kept_open(file: Any) -> Iterator[Any]:
    """Leave a file open for what will be read of it, unless it cannot be told what it holds."""
    try:
        yield file
    except BaseException:
        file.close()
        raise


def members(held: Mapping[str, Entry]) -> Contents:
    """Return entries by name, of which some may be what homolog wrote beside the layers."""
    notes = {name.removeprefix(RESERVED): entry.read() for name, entry in held.items() if name.startswith(RESERVED)}
    return Contents({name: entry for name, entry in held.items() if not name.startswith(RESERVED)}, notes)


def entry_of(name: str, shape: tuple[int, ...], dtype: np.dtype, read: Callable[[], Any]) -> Entry:
    """Say what an array may be by its name, shape and type, in a format where arrays have any number of axes."""
    if dtype.hasobject:
        return Entry("refused", what=OBJECTS)
    if len(shape) == 0:
        return Entry("other", read, "one number" if dtype.kind in "iufb" else "one text")
    if len(shape) == 2 and 1 in shape and dtype.kind in "iuSUT" and looks_like_ids(last_part(name)):
        return entry_of(name, (max(shape),), dtype, lambda: np.asarray(read()).reshape(-1))
    if dtype.kind == "b":
        return Entry("other", read, "booleans")
    if dtype.kind in "SUT":
        return Entry("text", read) if len(shape) == 1 else Entry("other", read, "text")
    return Entry("numbers" if len(shape) == 1 and dtype.kind in "iuf" else "layer", read)


def of_shape(shape: tuple[int, ...], read: Callable[[], Any]) -> Entry:
    """Say what an array may be in a format where every array has two axes: vectors and single numbers have them, too."""
    if 0 in shape:
        return Entry("other", what="nothing")
    if len(shape) > 2 or min(shape, default=1) > 1:
        return Entry("layer", read)
    return (
        Entry("numbers", lambda: np.asarray(read()).reshape(-1))
        if max(shape, default=1) > 1
        else Entry("other", what="one number")
    )


def stacked(rows: Sequence[Any], name: str) -> np.ndarray:
    """Return vectors, one for each row, as an array (n, p)."""
    vectors = [np.asarray(row).reshape(-1) for row in rows]
    odd = next((row for row, vector in enumerate(vectors) if vector.shape != vectors[0].shape), None)
    if odd is not None:
        raise Refusal(
            f"{quoted(name)} must hold vectors of one length, got {len(vectors[0])} numbers in row 0 and {len(vectors[odd])} in "
            f"row {odd}: average or cut them to one length first."
        )
    return np.stack(vectors)


def warn(sentence: str) -> None:
    """Say that something is left out."""
    give([Caution(LeftOutWarning, sentence)])


def last_part(name: str) -> str:
    """Return the last part of a name with slashes or else dots."""
    return name.rpartition("/")[2] if "/" in name else name.rpartition(".")[2]


def look_like_weights(names: Iterable[str]) -> bool:
    """Say whether names are those of a model's weights."""
    return any(last_part(name).lower() in _ENDS_OF_WEIGHTS for name in names)


WEIGHTS = "it looks like the weights of a model: load them into the model and take its layers with homolog.extract"
