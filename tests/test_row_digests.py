"""Every row carries a digest of all of its input, whatever it is made of; where that cannot be, nobody claims to know."""

from __future__ import annotations

import array
import collections
import dataclasses
import decimal
import enum
import fractions
import os
import pathlib
import re
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from torch import nn

import homolog as hl
from homolog.extraction.batch_contents import layout_of
from homolog.extraction.row_digests import digests_of

VALUES = np.random.default_rng(0).integers(0, 255, (20, 2, 2, 3), dtype=np.uint8)


@dataclasses.dataclass
class Values:
    values: list


class Slotted:
    __slots__ = ("values",)

    def __init__(self, values):
        self.values = values


class Own:
    def __init__(self, values):
        self.inner = Slotted(values)


class Locked:
    def __init__(self, values):
        self.values, self.lock = values, threading.Lock()


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


def image(values):
    return pytest.importorskip("PIL.Image").fromarray(values)


KINDS = {
    "images": (image, np.asarray),
    "paths": (lambda v: pathlib.Path("-".join(map(str, v.ravel()))), lambda p: [int(s) for s in p.name.split("-")]),
    "bytearray": (lambda v: bytearray(v.tobytes()), list),
    "memoryview": (lambda v: memoryview(v.tobytes()), list),
    "deque": (lambda v: collections.deque(v.ravel().tolist()), list),
    "array": (lambda v: array.array("i", v.ravel().tolist()), list),
    "scalars of numpy": (lambda v: tuple(np.float32(one) for one in v.ravel()), list),
    "dataclass": (lambda v: Values(v.ravel().tolist()), lambda h: h.values),
    "slots": (lambda v: Slotted(v.ravel().tolist()), lambda h: h.values),
    "own": (lambda v: Own(v.ravel().tolist()), lambda h: h.inner.values),
    "decimals": (lambda v: tuple(decimal.Decimal(int(one)) for one in v.ravel()), lambda v: [float(d) for d in v]),
    "array of objects": (lambda v: np.array([*v.ravel().tolist(), "end"], dtype=object), lambda v: v[:-1].tolist()),
}


def extracted(kind, values, labels=False, make=None, **options):
    make, read = KINDS[kind] if make is None else make

    def forward(model, batch):
        items = batch[0] if labels else batch
        return model(torch.stack([torch.tensor(np.asarray(read(item), dtype="f4")).flatten() for item in items]))

    parts = [[make(v) for v in values[i : i + 5]] for i in range(0, len(values), 5)]
    data = [(part, torch.arange(len(part))) for part in parts] if labels else parts
    torch.manual_seed(0)
    return hl.extract(nn.Sequential(nn.Linear(12, 3)), data, forward=forward, **options)


@pytest.mark.parametrize("labels", [False, True], ids=["alone", "with labels"])
@pytest.mark.parametrize("kind", KINDS)
def test_examples_of_any_kind_are_told_apart(kind, labels, tmp_path):
    if labels and kind == "array of objects":
        pytest.skip("an array of objects beside labels is one entry per example")
    first = extracted(kind, VALUES, labels, out=tmp_path / "a.zarr")
    assert len(set(first.digests.tolist())) == 20
    np.testing.assert_array_equal(extracted(kind, VALUES, labels).digests, first.digests)
    if not labels:
        with pytest.raises(ValueError, match="the same inputs in another order"):
            hl.compare(first, extracted(kind, VALUES[::-1]))
    extracted(kind, VALUES, labels, out=tmp_path / "a.zarr", resume=True)
    with pytest.raises(ValueError, match="inputs it was begun with, got others from row 0"):
        extracted(kind, 255 - VALUES, labels, out=tmp_path / "a.zarr", resume=True)


def test_what_cannot_be_digested_is_not_known(tmp_path):
    locked = (lambda v: Locked(v.ravel().tolist()), lambda held: held.values)
    with pytest.warns(hl.ExtractionWarning, match=r"cannot be told which example made each row.*pass example_ids="):
        first, turned = (extracted("", some, make=locked) for some in (VALUES, VALUES[::-1]))
    assert first.digests is None
    with pytest.warns(hl.UnknownPairingWarning):
        assert hl.compare(first, turned, measures="cka").attrs["row_identity"] == "unknown"
    with pytest.warns(hl.ExtractionWarning, match="pass example_ids="):
        stored = extracted("", VALUES, make=locked, out=tmp_path / "a.zarr")
    assert stored.digests is None
    with pytest.warns(hl.UnknownPairingWarning):
        hl.compare(stored, turned, measures="cka")
    with pytest.raises(ValueError, match=r"inputs of which this cannot be told, .*pass example_ids="):
        extracted("", VALUES, make=locked, out=tmp_path / "a.zarr", resume=True)
    ids = {"out": tmp_path / "b.zarr", "example_ids": range(20)}
    extracted("", VALUES, make=locked, **ids)
    again = extracted("", VALUES, make=locked, resume=True, **ids)
    np.testing.assert_array_equal(again["0"][:], first["0"])


@pytest.mark.filterwarnings("ignore:it cannot be told:homolog.ExtractionWarning")
def test_batches_of_which_some_cannot_be_digested(tmp_path):
    x = torch.arange(12.0).reshape(4, 3)
    data = [(x, 0), (x + 1, threading.Lock())]

    def forward(model, batch):
        return model(batch[0])

    model = nn.Sequential(nn.Linear(3, 2))
    assert hl.extract(model, data, forward=forward).digests is None
    assert hl.extract(model, data[::-1], forward=forward, out=tmp_path / "a.zarr").digests is None
    with pytest.raises(ValueError, match="got a batch with something that cannot be digested after others"):
        hl.extract(model, data, forward=forward, out=tmp_path / "b.zarr")


OTHERS = [
    (np.int64(0), np.int64(1)),
    (np.float16(0), np.float16(1)),
    (np.float32(0), np.float32(1)),
    (np.bool_(0), np.bool_(1)),
    (np.longdouble(0), np.longdouble(1)),
    (np.datetime64("2020-01-01"), np.datetime64("2020-01-02")),
    (decimal.Decimal("0.1"), decimal.Decimal("0.2")),
    (fractions.Fraction(1, 2), fractions.Fraction(1, 3)),
    (Colour.RED, Colour.BLUE),
    ({1, 2}, {1, 3}),
    (frozenset("ab"), frozenset("ac")),
    (None, decimal.Decimal(0)),
    (None, "None"),
    (0, False),
    (1, "1"),
    (b"1", "1"),
    ({"a": 1}, {"b": 1}),
    ([1, [2]], [[1], 2]),
    ([[]], []),
    (range(3), range(4)),
    (slice(0, 2), slice(0, 3)),
    (np.array([{"a": 1}, 2], dtype=object), np.array([{"a": 2}, 2], dtype=object)),
    (np.array([(1, 2.0)], dtype="i4,f8"), np.array([(1, 3.0)], dtype="i4,f8")),
    (torch.float32, torch.float64),
    (re.compile("a"), re.compile("b")),
]


def digests(content):
    layout = layout_of(content)
    assert layout is not None
    return digests_of(content, layout)


@pytest.mark.parametrize("pair", OTHERS, ids=lambda pair: type(pair[0]).__name__)
@pytest.mark.parametrize(
    "place", [lambda v: v, lambda v: [v, 0], lambda v: {"deep": (v,)}], ids=["flat", "list", "deep"]
)
def test_what_belongs_to_all_examples_counts(pair, place):
    x = torch.zeros(3, 2)
    first, again, other = (digests({"x": x, "t": place(value)}) for value in (pair[0], pair[0], pair[1]))
    assert not set(first) & set(other)
    np.testing.assert_array_equal(first, again)


def test_names_count_where_there_are_several():
    x, y = torch.zeros(3, 2), torch.ones(3, 2)
    kinds = [
        {"x": x, "y": y},
        {"x": x, "z": y},
        {"y": x, "x": y},
        {"x": x, "more": {"y": y}},
        (x, y),
        ((x,), y),
        {"x": x, "y": None},
    ]
    assert len({digests(kind)[0] for kind in kinds}) == len(kinds)
    np.testing.assert_array_equal(digests({"pixels": x}), digests(x))


@pytest.mark.parametrize(
    "value", [object(), lambda x: x, threading.Lock(), (i for i in "ab")], ids=lambda v: type(v).__name__
)
def test_nothing_is_claimed_of_what_says_nothing(value):
    assert digests({"x": torch.zeros(3, 2), "t": value}) is None
    assert digests([Own(value), Own(value)]) is None


def test_the_same_in_every_process():
    """Texts are hashed otherwise in every process, and sets come in that order."""
    code = (
        "import torch, decimal, pathlib; from homolog.extraction.batch_contents import layout_of; "
        "from homolog.extraction.row_digests import digests_of; "
        "x = {'x': torch.zeros(2, 1), 's': {'a', 'b', 'c', ('d', 1)}, 'f': {frozenset('xyz'): 1}, "
        "'p': pathlib.PurePosixPath('a'), 'd': decimal.Decimal(1)}; print(digests_of(x, layout_of(x)).tolist())"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | {"PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(told) == 1
    assert told != {"None\n"}


class Either(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, x=None, y=None):
        return self.layer(x.reshape(len(x), -1)[:, ::2] if y is None else -y.reshape(len(y), -1)[:, ::2])


X = torch.randn(6, 2, 3, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "other",
    [{"y": X}, {"x": X.transpose(1, 2).reshape(6, 2, 3)}, {"x": X.reshape(6, 3, 2)}, {"x": X.reshape(6, 6)}],
    ids=["name", "values", "shape", "axes"],
)
def test_the_form_of_the_inputs_is_that_of_the_beginning(other, tmp_path):
    torch.manual_seed(0)
    model = Either()
    first = hl.extract(model, {"x": X}, out=tmp_path / "a.zarr", batch_size=2)
    again = hl.extract(model, {"x": X}, out=tmp_path / "a.zarr", batch_size=3, resume=True)
    np.testing.assert_array_equal(again["layer"][:], first["layer"][:])
    with pytest.raises(
        ValueError, match=r"continued (as it was begun, with inputs .x: float32 of shape|with the inputs it)"
    ):
        hl.extract(model, other, out=tmp_path / "a.zarr", batch_size=2, resume=True)
