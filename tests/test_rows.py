"""Rows on disk are indexed as NumPy indexes an array in memory, or not at all."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from homolog.rows import Rows

N, P = 9, 4


class InMemory(Rows):
    """Rows of an array, which are read one stretch after another."""

    where = "the layer"

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.shape, self.dtype = array, array.shape, array.dtype

    def read(self, start: int, stop: int) -> np.ndarray:
        assert 0 <= start < stop <= len(self.array)
        return self.array[start:stop].copy()


ARRAY = np.arange(N * P, dtype=np.float32).reshape(N, P)
MASK = np.arange(N) % 3 == 1
ROW_INDICES = [
    3,
    -1,
    np.int64(2),
    np.array(4),
    slice(None),
    slice(2, 5),
    slice(5, 2),
    slice(None, None, 3),
    slice(None, None, -2),
    slice(-3, 100),
    [3, 5],
    [5, 3, 3, -1],
    [],
    (2 * np.arange(3)).astype(np.uint8),
    range(1, 4),
    [[0, 1], [8, 0]],
    np.array([[2], [4]]),
    MASK,
    MASK.tolist(),
    np.zeros(N, dtype=bool),
    Ellipsis,
]
COLUMN_INDICES = [
    0,
    -2,
    slice(None),
    slice(None, 2),
    slice(None, None, -1),
    [1, 1],
    [2],
    np.array([True, False, True, False]),
    np.array([[0, 3]]),
    [],
    Ellipsis,
]


def _attempt(array, index):
    try:
        return np.asarray(array[index])
    except IndexError:
        return None


@pytest.mark.parametrize("rows", ROW_INDICES, ids=repr)
def test_every_index_means_what_it_means_in_memory(rows):
    layer, seen = InMemory(ARRAY), 0
    for columns in COLUMN_INDICES:
        for index in (rows, (rows,), (rows, columns), (rows, columns, ...), (..., rows, columns), (rows, ..., columns)):
            expected, got = _attempt(ARRAY, index), _attempt(layer, index)
            assert (expected is None) == (got is None), index
            if expected is not None:
                assert got.dtype == expected.dtype
                assert_array_equal(got, expected, err_msg=repr(index), strict=True)
                seen += 1
    assert seen > 20


@pytest.mark.parametrize(
    "index",
    [
        None,
        (None, 0),
        (0, None),
        True,
        np.True_,
        np.array(True),
        (True, 0),
        (0, 1, 2),
        (..., 0, ...),
        1.5,
        [0.5],
        "0",
        9,
        -10,
        [0, 9],
        ARRAY > 3,
        MASK[:-1],
        np.zeros((2, N), dtype=bool),
    ],
    ids=repr,
)
def test_what_makes_new_axes_or_lies_outside_is_refused(index):
    with pytest.raises(IndexError, match=r"^(a representation|a mask|rows must)"):
        InMemory(ARRAY)[index]


def test_no_more_is_read_than_the_rows_asked_for(monkeypatch):
    layer, read = InMemory(ARRAY), []
    monkeypatch.setattr(InMemory, "read", lambda self, a, b: read.extend(range(a, b)) or ARRAY[a:b])
    for index in itertools.product([7, [7], slice(7, 8), np.arange(N) == 7], [slice(None), 0, [1, 2]]):
        read.clear()
        layer[index]
        assert read == [7]
