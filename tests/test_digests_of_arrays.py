"""A batch has the same digests whichever library its arrays are of, and those that earlier versions gave it."""

from __future__ import annotations

import collections
import dataclasses

import jax
import numpy as np
import pytest
import torch

from homolog.extraction.batch_contents import joined, layout_of, map_leaves, part_of
from homolog.extraction.row_digests import digests_of, form_of

X = np.arange(24).reshape(4, 3, 2) / 7 - 1
IDS = np.arange(12).reshape(4, 3) % 5
Point = collections.namedtuple("Point", "x y")


@dataclasses.dataclass
class Sample:
    x: object
    note: str = "a"


BATCHES = {
    "float64": X,
    "float32": X.astype("f4"),
    "float16": X.astype("f2"),
    "int64": IDS,
    "int32": IDS.astype("i4"),
    "uint8": IDS.astype("u1"),
    "bool": IDS > 2,
    "complex64": X.astype("c8"),
    "mapping": {"x": X, "weights": X[:1, 0], "level": np.array(0.5), "name": "a", "kept": None},
    "tuple": (X, IDS),
    "named": Point(X, IDS),
    "items": [IDS[0, :2], IDS[1], IDS[2, :1]],
    "items of mappings": [{"x": X[i], "n": i} for i in range(3)],
    "texts": {"x": X, "text": ["a", "b", "c", "d"]},
    "empty": X[:, :0],
    "labels": {"x": X, "labels": IDS[:, 0]},
    "one axis": IDS[:, 0],
    "dataclass": Sample(X),
    "items of dataclasses": [Sample(X[i]) for i in range(3)],
}
FROZEN = {
    "float64": ([3112554026046145557, 5692904995335123990], "float64 of shape (n, 3, 2)"),
    "float32": ([6219433494888607818, 12239261048688396985], "float32 of shape (n, 3, 2)"),
    "float16": ([10110474231213186400, 12728810184255062272], "float16 of shape (n, 3, 2)"),
    "int64": ([8901564848246840783, 17024224693373858610], "int64 of shape (n, 3)"),
    "int32": ([7894363295723988377, 15218797551814637432], "int32 of shape (n, 3)"),
    "uint8": ([3937448342795221480, 1293576606861181690], "uint8 of shape (n, 3)"),
    "bool": ([5007891043121617824, 18335481904559506277], "bool of shape (n, 3)"),
    "complex64": ([16480164404869407486, 17396836396370529679], "complex64 of shape (n, 3, 2)"),
    "mapping": (
        [16505864391144722698, 822148610533649390],
        "{kept: NoneType, level: float64 of shape (n,), name: str, weights: float64 of shape (n, 2), "
        "x: float64 of shape (n, 3, 2)}",
    ),
    "tuple": (
        [3762666071594488049, 8818142445045239683],
        "(float64 of shape (n, 3, 2), int64 of shape (n, 3))",
    ),
    "named": ([11332424432915389403, 439194614100406562], "Point"),
    "items": ([5470492432969290486, 8459582838043935593], "a list of examples"),
    "items of mappings": ([10204233730382357414, 17879500491585036403], "a list of examples"),
    "texts": ([17267931964437147245, 17966995604122046422], "{text: list, x: float64 of shape (n, 3, 2)}"),
    "empty": ([13020603013274838756, 13020603013274838756], "float64 of shape (n, 0, 2)"),
    "labels": (
        [6026276871742230536, 12390788777066382897],
        "{labels: int64 of shape (n,), x: float64 of shape (n, 3, 2)}",
    ),
    "one axis": ([1786884285633530058, 12901193378112889435], "int64 of shape (n,)"),
    "dataclass": ([2062814283061292718, 14918285758114809960], "{note: str, x: float64 of shape (n, 3, 2)}"),
    "bfloat16": ([1713781352519626437, 1429781709853809699], "bfloat16 of shape (n, 3, 2)"),
    "packed": ([3112554026046145557, 5692904995335123990], "PackedSequence"),
    "nested": ([3112554026046145557, 844567444198008682], "NestedTensor"),
    "sparse": ([1041621211125469266, 17618922468935688853], "float64 of shape (n, 2)"),
    "quantised": ([16948783491924515950, 7063806450198792799], "qint8 of shape (n, 2)"),
    "beside": ([3778617936125940200, 4826275187807454075], "{at: dtype, more: deque, x: float64 of shape (n, 3, 2)}"),
    "turned": ([18092876891697752021, 14915299300399055527], "float64 of shape (n, 4, 2)"),
    "conjugate": ([15645606221955673763, 539106392605303930], "complex128 of shape (n, 3, 2)"),
}
"""Digests of the first and the last example, and the form, as versions that knew tensors of PyTorch only gave them."""
OF_TORCH = {
    "bfloat16": lambda: torch.from_numpy(X).bfloat16(),
    "packed": lambda: torch.nn.utils.rnn.pack_padded_sequence(
        torch.from_numpy(X), torch.tensor([3, 1, 2, 3]), batch_first=True, enforce_sorted=False
    ),
    "nested": lambda: torch.nested.nested_tensor(
        [torch.from_numpy(X[0]), torch.from_numpy(X[1, :2])], layout=torch.jagged
    ),
    "sparse": lambda: torch.from_numpy(np.maximum(X[:, 0], 0)).to_sparse(),
    "quantised": lambda: torch.quantize_per_tensor(torch.from_numpy(X[:, 0]).float(), 0.1, 3, torch.qint8),
    "beside": lambda: {
        "x": torch.from_numpy(X),
        "more": collections.deque([np.arange(3), np.float32(1)]),
        "at": torch.float16,
    },
    "turned": lambda: torch.from_numpy(X).transpose(0, 1),
    "conjugate": lambda: torch.from_numpy(X.astype("c16")).conj(),
}


def of_torch(content):
    return map_leaves(lambda leaf: torch.from_numpy(leaf.copy()) if isinstance(leaf, np.ndarray) else leaf, content)


def of_jax(content):
    return map_leaves(lambda leaf: jax.numpy.asarray(leaf) if isinstance(leaf, np.ndarray) else leaf, content)


def digested(content):
    layout = layout_of(content)
    return layout.size, layout.kind, digests_of(content, layout).tolist(), form_of(content, layout)


@pytest.mark.filterwarnings("ignore")  # prototypes of PyTorch's say that they are
@pytest.mark.parametrize("name", FROZEN)
def test_digests_are_those_of_earlier_versions(name):
    content = of_torch(BATCHES[name]) if name in BATCHES else OF_TORCH[name]()
    _, _, digests, form = digested(content)
    assert ([digests[0], digests[-1]], form) == FROZEN[name]


@pytest.mark.parametrize("of", [of_jax, lambda content: content], ids=["jax", "numpy"])
@pytest.mark.parametrize("name", BATCHES)
def test_digests_do_not_depend_on_the_library(name, of):
    assert digested(of(BATCHES[name])) == digested(of_torch(BATCHES[name]))


ODD = {
    "turned": X.transpose(1, 0, 2),
    "backwards": X[::-1, ::-1],
    "big-endian": X.astype(">f4"),
    "big-endian ids": IDS.astype(">i8"),
    "every other": X[:, ::2],
    "of Fortran": np.asfortranarray(X),
    "matrix": np.arange(6.0).reshape(3, 2).view(np.matrix),
    "no axes": {"x": X, "level": np.array(2, ">i2")},
    "empty and shared": {"x": X, "none": np.zeros((0, 3), ">f8")},
    "unsigned": IDS.astype("u2"),
}


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")  # numpy.matrix
@pytest.mark.parametrize("name", ODD)
def test_digests_do_not_depend_on_how_an_array_lies(name):
    content, plain = ODD[name], map_leaves(_plain, ODD[name])
    content = map_leaves(_read_only, content)
    assert digested(content) == digested(of_torch(plain))


def _read_only(leaf):
    view = leaf[...]
    view.flags.writeable = False
    return view


def _plain(leaf):
    return np.array(leaf, dtype=leaf.dtype.newbyteorder("="), order="C", subok=False)


@pytest.mark.parametrize("beside", [{}, {"y": X}], ids=["alone", "beside another"])
def test_small_floats_count_by_their_bytes(beside):
    x = torch.from_numpy(X).bfloat16()
    halves = jax.numpy.asarray(X).astype(jax.numpy.bfloat16)
    expected = digested({"x": x, "first": x[:1], **of_torch(beside)})
    assert digested({"x": halves, "first": halves[:1], **beside}) == expected
    assert digested({"x": np.asarray(halves), "first": np.asarray(halves)[:1], **beside}) == expected


def test_wide_numbers_count_by_their_digits():
    x = X.astype(np.longdouble)
    again = np.empty_like(x)
    again.view(np.uint8)[:] = 255  # bytes that are no digits
    again[:] = x
    assert digested({"x": again, "s": again[:1]}) == digested({"x": x, "s": x[:1]})
    assert len(set(digested(x)[2])) == 4


@pytest.mark.parametrize("of", [of_torch, of_jax, lambda content: content], ids=["torch", "jax", "numpy"])
def test_part_of_a_batch_is_of_its_library(of):
    content = of({"x": X.astype("f4"), "one": X[:1], "ids": IDS[:, 0]})
    part = part_of(content, layout_of(content), [2, 0, 2])
    assert [type(part[key]) for key in part] == [type(content[key]) for key in content]
    assert [part[key].dtype for key in part] == [content[key].dtype for key in content]
    np.testing.assert_array_equal(np.asarray(part["x"]), X.astype("f4")[[2, 0, 2]])
    np.testing.assert_array_equal(np.asarray(part["ids"]), IDS[[2, 0, 2], 0])
    assert part["one"] is content["one"]


@pytest.mark.parametrize("of", [of_torch, of_jax, lambda content: content], ids=["torch", "jax", "numpy"])
def test_two_batches_of_one_example_are_put_together(of):
    first, second = (of({"x": X[i : i + 1], "texts": [str(i)], "level": np.array(0.5)}) for i in (0, 1))
    both = joined(first, second)
    assert type(both["x"]) is type(first["x"])
    np.testing.assert_array_equal(np.asarray(both["x"]), X[:2])
    assert both["texts"] == ["0", "1"]
    with pytest.raises((ValueError, RuntimeError)):
        joined(first, of({"x": X[:1, :2], "texts": ["2"], "level": np.array(0.5)}))


@pytest.mark.parametrize("of", [of_torch, of_jax, lambda content: content], ids=["torch", "jax", "numpy"])
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ([np.zeros((3, 8, 8)), np.zeros((3, 8, 8))], (2, "items")),
        ([np.zeros(3), np.zeros(4), np.zeros(3)], (3, "items")),
        ([X, IDS], (4, "rows")),
        ({"x": X, "edge_index": np.array([[0, 1, 2], [1, 2, 3]]), "features": X[:, 0]}, (4, "whole")),
        ({"features": X[:1, 0], "edge_index": np.zeros((2, 3), dtype=int)}, (1, "whole")),
        ({"texts": ["a", "b"]}, None),
    ],
    ids=["images", "sequences", "inputs", "graph", "one node", "no tensor"],
)
def test_examples_are_found_in_every_library(content, expected, of):
    layout = layout_of(of(content))
    assert (layout and (layout.size, layout.kind)) == expected


def test_tables_are_no_arrays():
    pandas, polars, sparse = (pytest.importorskip(name) for name in ("pandas", "polars", "scipy.sparse"))
    tables = [pandas.Series([1.0, 2]), polars.Series([1.0, 2]), sparse.eye_array(2)]
    assert [layout_of({"x": table}) for table in tables] == [None] * 3
