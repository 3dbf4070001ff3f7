"""What cannot be data is told in one sentence, whose remedy is of the library that the data are of, and works."""

from __future__ import annotations

import numpy as np
import pandas
import polars
import pytest
import scipy.sparse
import torch

from homolog.extraction import extract
from homolog.extraction.input_checks import check_data, odd_kind, what_is_none
from homolog.extraction.objections import Objection, hint_for
from homolog.extraction.tensors import array_of, is_tensor, like, numbers_of

X = np.arange(12.0).reshape(4, 3)
REFUSED = {
    "frame of pandas": (
        pandas.DataFrame(X),
        r"got a DataFrame: take its numbers, \.to_numpy\(\)",
        lambda d: d.to_numpy(),
    ),
    "frame of polars": (
        polars.DataFrame(X),
        r"got a DataFrame: take its numbers, \.to_numpy\(\)",
        lambda d: d.to_numpy(),
    ),
    "column of vectors": (
        pandas.Series(list(X)),
        r"got a Series: stack its vectors, one row each, numpy.stack\(column.to_numpy\(\)\)",
        lambda d: np.stack(d.to_numpy()),
    ),
    "frame under a key": (
        {"x": pandas.DataFrame(X)},
        r"got a DataFrame: .*\.to_numpy\(\)",
        lambda d: {"x": d["x"].to_numpy()},
    ),
    "sparse": (scipy.sparse.csr_array(X), r"got a csr_array: .* \.toarray\(\)", lambda d: d.toarray()),
    "vectors as objects": (
        np.array([*X, None], dtype=object)[:4],
        r"data must hold numbers, got an array of objects: .* numpy\.stack\(data\)",
        np.stack,
    ),
    "texts": (
        np.array(["a", "b"]),
        r"got an array of <U1: pass batches that are lists .* data\.tolist\(\)",
        lambda d: [d.tolist()],
    ),
    "columns": (
        np.array([(1, 2.0)], dtype="i4,f8"),
        r"got an array of named columns: put them side by side, numpy\.stack",
        lambda d: np.stack([d[name] for name in d.dtype.names], axis=1),
    ),
    "gaps": (
        np.ma.array(X, mask=X % 6 == 0),
        r"masked array with gaps in rows 0, 2, .* \.filled\(0\.0\)",
        lambda d: d.filled(0.0),
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_data_is_told_and_the_remedy_works(kind):
    data, told, remedy = REFUSED[kind]
    with pytest.raises(TypeError, match=told) as caught:
        check_data(data)
    assert "torch" not in str(caught.value)
    assert str(caught.value).count(". ") == 0
    check_data(remedy(data))


def test_a_batch_without_a_tensor_says_what_could_be_one():
    assert what_is_none({"x": pandas.DataFrame(X)}) == "a DataFrame: take its numbers, .to_numpy()"
    assert what_is_none([np.array(["a"], dtype=object)]).startswith("an array of objects")
    assert what_is_none({"x": "text"}) == ""


def test_remedies_are_of_the_library_of_the_batch():
    assert odd_kind({"x": X}) is None
    assert odd_kind({"x": X * 1j}) == (
        "complex numbers",
        "numpy.abs(batch), or the real and the imaginary parts beside each other",
    )
    assert "torch.view_as_real" in odd_kind([torch.from_numpy(X) * 1j])[1]
    mixes = Objection("its rows change", None, True)
    assert "swapaxes" in hint_for(mixes, (4, 3, 2), X[:, :, None])
    assert "data.transpose(0, 1)" in hint_for(mixes, (4, 3, 2), torch.from_numpy(X[:, :, None]))
    assert hint_for(mixes, (3, 4, 2), X[:, :, None]) == ""


class OnDevice:
    """An array that leaves its device only when it is asked to, as CuPy's do."""

    def __init__(self, values):
        self.values = values
        self.shape, self.dtype, self.ndim = values.shape, values.dtype, values.ndim

    def __array__(self, *_, **__):
        raise TypeError("Implicit conversion to a NumPy array is not allowed.")

    def __dlpack__(self, **options):
        assert options.pop("dl_device", None) in (None, (1, 0))
        return self.values.__dlpack__()

    def __dlpack_device__(self):
        return (1, 0)


def test_arrays_on_devices_are_read():
    array = OnDevice(X)
    assert is_tensor(array)
    np.testing.assert_array_equal(array_of(array), X)
    np.testing.assert_array_equal(like(X.astype("f4"), numbers_of(array)), X.astype("f4"))


LABELS = np.arange(4)
WITH_LABELS = {
    "tuple": (torch.tensor(X), torch.tensor(LABELS)),
    "list": [torch.tensor(X), torch.tensor(LABELS)],
    "arrays": (X, LABELS),
    "words": (X, list("abcd")),
    "column": (X, pandas.Series(LABELS)),
    "images and one-hot": [X.reshape(4, 1, 3, 1), np.eye(4)],
    "vectors and one-hot": (X, np.eye(4)),
    "ids too": (X, LABELS, np.array(list("abcd"))),
}


@pytest.mark.parametrize("kind", WITH_LABELS)
def test_examples_with_their_labels_are_told_from_batches(kind):
    with pytest.raises(
        TypeError, match=r"of 4 rows each, which looks like \(images, labels\): pass the images, data\[0\]"
    ):
        extract(torch.nn.Linear(3, 2).double(), WITH_LABELS[kind])


def test_batches_are_not_taken_for_examples_with_labels():
    words = torch.zeros(4, 3, dtype=torch.int64), torch.zeros(4, 5, dtype=torch.int64)
    for data in ([X, X], (X, X), words, list(words), [X, np.eye(4)], [(X, LABELS), (X, LABELS)], [X, LABELS[:3]]):
        check_data(data)
