"""What people hold that is no plain array: DataFrames, arrays with labels, lists, sparse and masked matrices.

Each becomes a layer, or several, with the identities of its rows where it has any; all else is left as it is, for
`arrays.check_representation` to refuse. Libraries are told by their names: none is imported that is not imported already.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
from array_api_compat import is_array_api_obj

from homolog.arrays import Array, described, loaded, namespace
from homolog.diagnostics import give, listed
from homolog.frames.frame import Frame, Table, kind_of_entries, stacked, table_of
from homolog.id_columns import VECTOR
from homolog.machine import format_bytes, whole_memory
from homolog.names import quoted, shown
from homolog.pairing import Identities, check_identities
from homolog.rows import Rows
from homolog.sparse import SparseRows, is_sparse, made_dense, sparse_rows


def is_plain(x: Any) -> bool:
    """Say whether an object is an array as it is, or rows that are read."""
    if type(x) is np.ndarray:
        return True
    if isinstance(x, Rows):
        return True
    return bool(is_array_api_obj(x)) and not isinstance(x, np.ma.MaskedArray | np.matrix) and not is_sparse(x)


def taken(x: Any, title: str, name: str) -> Table:
    """Return what was given as layers with identities; a single layer has the name given, errors call it by the title."""
    if is_plain(x):
        return Table({name: x})
    table = _table(x, title, name)
    return Table({name: _array(x, title)}) if table is None else table


def is_table(x: Any) -> bool:
    """Say whether an object is a DataFrame, or an array with labels."""
    return _library(x) is not None


def taken_layer(x: Any, title: str) -> Table:
    """Return what was given as one layer, or raise where it has several."""
    found = taken(x, title, "")
    if len(found.layers) > 1:
        names = [quoted(name) if name else "columns of numbers" for name in found.layers]
        raise ValueError(
            f"{shown(title)} must be one layer, got a table of {listed(names)}: choose one, as in frame[[{names[0]}]], or pass "
            f"the table as a model."
        )
    return found


def taken_pair(x: Any, y: Any, names: tuple[str, str]) -> tuple[Array, Array]:
    """Return two layers of the same examples; where both have identities, these must be equal."""
    if is_plain(x) and is_plain(y):
        return x, y
    first = taken_layer(x, names[0])
    second = first if y is x else taken_layer(y, names[1])
    check_identities(first, second, names)
    give([*first.cautions, *(() if y is x else second.cautions)])
    (one,), (other,) = first.layers.values(), second.layers.values()
    return one, other


def repeated_ids(*layers: Any) -> np.ndarray | None:
    """Return whose the rows are of tables that say at what position of an example each stands; None where none does."""
    tables = [taken_layer(layer, "x") for layer in layers if not is_plain(layer)]
    return next((table.example_ids for table in tables if table.positions is not None), None)


def check_labels(labels: Any, what: str, side: Identities, name: str) -> None:
    """Raise where labels of rows are a column of pandas whose index says that they are those of other rows."""
    if _library(labels) == "pandas" and labels.ndim == 1:
        ids, index = _frame("pandas", labels, what).labels(what)
        check_identities(side, Table({}, ids, None, index), (name, what))


def filled_pair(x: Any, y: Any, names: tuple[str, str], what: str) -> tuple[Array, Array]:
    """Return two layers as arrays, sparse ones with their zeros; `what` is what needs these."""
    sparse = {name: side for name, side in zip(names, (x, y), strict=True) if isinstance(side, SparseRows)}
    needed = sum(2 * rows.nbytes for rows in sparse.values())
    if needed > (most := whole_memory()):
        raise ValueError(
            f"{what} needs sparse matrices with their zeros, about {format_bytes(needed)} for {listed(sparse)}, and this machine "
            f"has {format_bytes(most)}: take fewer features or examples, or linear CKA or HSIC, which do without the zeros."
        )
    give(made_dense(sparse, what))
    first = loaded(x)
    return first, first if y is x else loaded(y)


_TABLES = {
    "pandas": ("DataFrame", "Series"),
    "polars": ("DataFrame", "Series", "LazyFrame"),
    "pyarrow": ("Table", "RecordBatch", "ChunkedArray", "Array"),
    "xarray": ("DataArray",),
}
"""Libraries → classes, by whose names they are told."""


def _library(x: Any) -> str | None:
    """Return which library a DataFrame, a column of one or an array with labels is from."""
    for kind in type(x).__mro__:
        home = kind.__module__.split(".")[0]
        if kind.__name__ in _TABLES.get(home, ()):
            return home
    return None


def _table(x: Any, title: str, name: str) -> Table | None:
    library = _library(x)
    if library is None:
        return None
    if library == "xarray":
        from homolog.frames.labelled import labelled_array

        return labelled_array(x, title, name)
    frame = _frame(library, x, title)
    if hasattr(x, "columns") or hasattr(x, "column_names"):
        return table_of(frame, title, name)
    if frame.kinds[COLUMN] != VECTOR:
        raise TypeError(
            f"{title} must be a table, or a column of vectors, got {described(x)} of {frame.kinds[COLUMN]}: a single feature is "
            f"a table of one column, such as .to_frame() makes of it."
        )
    ids, index = frame.labels(title)
    return Table({name: frame.vectors(COLUMN, title)}, ids, None, index)


COLUMN = "vectors"
"""What a column that was given without its table is called."""


def _frame(library: str, x: Any, title: str) -> Frame:
    """Return what knows the columns of a table, or of a column as a table."""
    if library == "pandas":
        from homolog.frames.pandas_frame import PandasFrame

        return PandasFrame(x if x.ndim == 2 else x.to_frame(COLUMN), title)
    if library == "polars":
        from homolog.frames.polars_frame import PolarsFrame

        if type(x).__name__ == "LazyFrame":
            raise TypeError(f"{title} must be a table of known values, got a LazyFrame: call its .collect() first.")
        return PolarsFrame(x if hasattr(x, "columns") else x.to_frame(COLUMN))
    from homolog.frames.arrow_frame import ArrowFrame

    return ArrowFrame(x if hasattr(x, "column_names") else sys.modules["pyarrow"].table({COLUMN: x}), title)


def _array(x: Any, title: str) -> Any:
    """Return an array or sparse rows of what is neither a table nor a plain array; anything strange as it is."""
    if is_sparse(x):
        return sparse_rows(x, title)
    if isinstance(x, list | tuple):
        return _of_list(x, title)
    if isinstance(x, np.matrix | memoryview) or (hasattr(x, "__array__") and not isinstance(x, Mapping | np.generic)):
        found = np.asanyarray(x)  # variables of netCDF4 give masked arrays
        return _without_mask(found, title) if isinstance(found, np.ma.MaskedArray) else np.asarray(found)
    return x


def _without_mask(x: np.ma.MaskedArray[Any, Any], title: str) -> np.ndarray:
    """Return a masked array of which nothing is masked as an array."""
    mask = np.ma.getmaskarray(x)
    if not mask.any():
        return np.asarray(x.data)
    rows = np.flatnonzero(mask.reshape(len(mask), -1).any(axis=1))
    raise TypeError(
        f"{title} must be an array without gaps, got a masked array with gaps in {len(rows)} of {len(mask)} rows "
        f"({listed(map(str, rows))}): leave these examples out on both sides, or fill the mask."
    )


def _of_list(x: Any, title: str) -> Any:
    """Return a list of vectors of one length as an array; any other list as it is."""
    if kind_of_entries(x) != VECTOR or any(getattr(entry, "ndim", 1) != 1 for entry in x):
        return x
    if is_array_api_obj(x[0]) and not isinstance(x[0], np.ndarray) and len({(type(e), len(e)) for e in x}) == 1:
        return namespace(x[0]).stack(list(x))
    return stacked(x, title)
