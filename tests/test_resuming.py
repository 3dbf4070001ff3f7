"""A store is continued by the same computation of the same data, whatever form they come in, or refused."""

from __future__ import annotations

import json
import types

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from small_extractions import files_of, inputs, network, options
from torch import nn

import homolog as hl
from homolog.extraction.batch_output import BatchOutput
from homolog.extraction.batches import prepare_batch
from homolog.extraction.in_memory import InMemory
from homolog.extraction.module_source import ModuleSource, digest_of_model
from homolog.store import layout

FORMS = {
    "tensor": lambda rows: rows,
    "array": lambda rows: rows.numpy(),
    "mapping": lambda rows: {"input": rows},
    "list": lambda rows: list(rows.split(7)),
    "tuple": lambda rows: tuple(rows.split(7)),
    "generator": lambda rows: (batch for batch in rows.split(7)),
    "loader": lambda rows: torch.utils.data.DataLoader(torch.utils.data.TensorDataset(rows), batch_size=7),
    "reader": lambda rows: Again(rows),
}


class Again:
    """Batches that can be read again, of no type that anybody knows."""

    def __init__(self, rows):
        self.rows = rows

    def __iter__(self):
        return iter(self.rows.split(7))


@pytest.fixture
def never(monkeypatch):
    """Data are compared without the model."""

    def stop(*_):
        raise AssertionError("the model ran")

    monkeypatch.setattr(nn.Linear, "forward", stop)


def swapped(rows):
    return torch.cat([rows[:-2], rows[-1:], rows[-2:-1]])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("limit", [None, 20])
def test_a_finished_store_takes_the_same_data_only(form, limit, tmp_path, request):
    put, rows, out = FORMS[form], inputs(20), tmp_path / "a.zarr"
    first = hl.extract(network(), put(rows), out=out, max_examples=limit)
    before = files_of(out)
    request.getfixturevalue("never")
    again = hl.extract(network(), put(rows), out=out, resume=True, max_examples=limit)
    assert_array_equal(again["0"][:], first["0"][:])
    refused = {"inputs it was begun with, got others from row 18": swapped(rows), "got data of 13": rows[:13]}
    if limit is None:
        refused["is complete with 20 examples, got data of (at least )?2[0-9]: pass the same data"] = torch.cat(
            [rows, rows[:4]]
        )
    for message, other in refused.items():
        with pytest.raises(ValueError, match=message):
            hl.extract(network(), put(other), out=out, resume=True, max_examples=limit)
    assert files_of(out) == before


def test_a_limit_that_the_data_did_not_reach_counts_them(tmp_path):
    hl.extract(network(), list(inputs(30)[:20].split(7)), out=tmp_path / "a.zarr", max_examples=50)
    with pytest.raises(ValueError, match="is complete with 20 examples, got data of at least 21"):
        hl.extract(network(), list(inputs(30).split(7)), out=tmp_path / "a.zarr", max_examples=50, resume=True)


def test_an_iterator_that_was_used_up_is_told(tmp_path):
    data = iter(inputs(20).split(7))
    hl.extract(network(), data, out=tmp_path / "a.zarr")
    with pytest.raises(ValueError, match="complete with 20 examples, got data of none, as of an iterator used up"):
        hl.extract(network(), data, out=tmp_path / "a.zarr", resume=True)


@pytest.mark.parametrize("begun", [None, list(range(20))], ids=["without", "with"])
@pytest.mark.parametrize("form", ["tensor", "generator"])
def test_ids_come_or_go_never_silently(begun, form, tmp_path):
    now = list(range(20)) if begun is None else None
    hl.extract(network(), FORMS[form](inputs(20)), example_ids=begun, out=tmp_path / "a.zarr")
    with pytest.raises(
        ValueError, match=r"continued as it was begun, with(out)? example_ids, got (some|none): pass the same"
    ):
        hl.extract(network(), FORMS[form](inputs(20)), example_ids=now, out=tmp_path / "a.zarr", resume=True)


def plain(model, batch):
    return model(batch)


def scaled(by):
    return lambda model, batch: model(batch * by)


def interrupted(out, **asked):
    def broken():
        yield from inputs()[:70].split(10)
        raise RuntimeError("the power went")

    with pytest.raises(RuntimeError, match="the power went"):
        hl.extract(network(), broken(), out=out, **asked)


@pytest.mark.parametrize("batches", range(1, 8))
def test_layers_of_different_chunk_lengths_commit_what_all_hold(batches, tmp_path, monkeypatch):
    """Layers of 9 features have chunks of 8 rows here, the one of 2 features chunks of 32."""
    monkeypatch.setattr(layout, "CHUNK_ROWS", 32)
    monkeypatch.setattr(layout, "CHUNK_BYTES", 9 * 4 * 8)
    out, whole = tmp_path / "a.zarr", tmp_path / "b.zarr"

    def broken():
        yield from inputs()[: 10 * batches].split(10)
        raise RuntimeError("the power went")

    with pytest.raises(RuntimeError, match="the power went"):
        hl.extract(network(), broken(), out=out)
    assert layout.contents_of(out).rows == 10 * batches // 32 * 32
    for path in (out, whole):
        hl.extract(network(), inputs(), batch_size=10, out=path, resume=True)
    assert files_of(out) == files_of(whole)
    assert_array_equal(hl.open(out)["2"][:], hl.extract(network(), inputs(), batch_size=10)["2"])


def shifted(by):
    return lambda output, mask: output + by


def chosen(part):
    return lambda name, module: part in name


CHANGED = {
    "forward": ({"forward": scaled(1.0)}, {"forward": scaled(2.0)}),
    "forward given": ({}, {"forward": plain}),
    "forward left out": ({"forward": plain}, {}),
    "reduce": ({"reduce": shifted(1)}, {"reduce": shifted(2)}),
    "reduce of some": ({"reduce": {"0": shifted(1)}}, {"reduce": {"0": shifted(2)}}),
    "layers": ({"layers": chosen("0")}, {"layers": chosen("1")}),
    "code of the model": ({}, {"model": nn.Sequential(network()[0], nn.Tanh(), network()[2])}),
}


@pytest.mark.parametrize("case", CHANGED)
@pytest.mark.parametrize("complete", [False, True])
def test_another_computation_is_refused(case, complete, tmp_path, monkeypatch):
    monkeypatch.setattr(layout, "CHUNK_ROWS", 16)
    begun, now = CHANGED[case][0], dict(CHANGED[case][1])
    out = tmp_path / "a.zarr"
    if complete:
        hl.extract(network(), inputs(), out=out, **begun)
    else:
        interrupted(out, **begun)
    before, what = files_of(out), case.split()[0]
    with pytest.raises(ValueError, match=rf"continued as it was begun, with {what}.*, got .*: use the same"):
        hl.extract(now.pop("model", network()), inputs(), out=out, resume=True, **now)
    assert files_of(out) == before


def test_the_same_functions_made_again_go_on(tmp_path, monkeypatch):
    monkeypatch.setattr(layout, "CHUNK_ROWS", 16)
    out, whole = tmp_path / "a.zarr", tmp_path / "b.zarr"
    interrupted(out, forward=scaled(3.0), reduce={"0": shifted(1), "*": "flatten"})
    again = {"forward": scaled(3.0), "reduce": {"0": shifted(1), "*": "flatten"}, "batch_size": 10}
    hl.extract(network(), inputs(), out=out, resume=True, **again)
    hl.extract(network(), inputs(), out=whole, **again)
    assert files_of(out) == files_of(whole)


def test_functions_that_cannot_be_told_apart_are_refused(tmp_path):
    others = (value for value in "ab")

    def forward(model, batch):
        return model(batch) if others else None

    interrupted(tmp_path / "a.zarr", forward=forward)
    with pytest.raises(
        ValueError, match=r"with the forward it was begun with, got a function of which this cannot be told.*generator"
    ):
        hl.extract(network(), inputs(), out=tmp_path / "a.zarr", forward=forward, resume=True)


def test_stores_without_a_record_of_functions_go_on_with_a_word(tmp_path, monkeypatch):
    monkeypatch.setattr(layout, "CHUNK_ROWS", 16)
    out = tmp_path / "a.zarr"
    interrupted(out)
    about = json.loads((out / "zarr.json").read_text())
    request = about["attributes"]["request"]
    for newer in ("code of the model", "forward", "values", "mask", "axis"):
        del request[newer]
    request["model"] = f"Sequential of weights {digest_of_model(network())}"
    (out / "zarr.json").write_text(json.dumps(about))
    with pytest.warns(
        hl.ExtractionWarning, match="did not record code of the model, forward, values: it is continued as if"
    ) as told:
        hl.extract(network(), inputs(), batch_size=10, out=out, resume=True)
    assert told[0].filename == __file__
    hl.extract(network(), inputs(), batch_size=10, out=tmp_path / "b.zarr")
    assert files_of(out) == files_of(tmp_path / "b.zarr")


class Counted(np.ndarray):
    read = 0

    @property
    def nbytes(self):
        Counted.read += 1
        return super().nbytes


def test_the_work_for_a_batch_does_not_grow_with_the_batches_before():
    source = ModuleSource(network())
    sink = InMemory(source, options(), None)
    batch = prepare_batch(inputs(2), options(), source)
    Counted.read = 0
    for index in range(50):
        features = {"0": np.ones((2, 3)).view(Counted)}
        sink.add(BatchOutput(features, np.arange(2), None, 2, {}, {}, {}), batch, 2 * index)
    assert Counted.read <= 50


@pytest.mark.parametrize("settings", [dict, types.SimpleNamespace])
def test_settings_of_a_model_are_part_of_its_computation(settings, tmp_path):
    class Configured(nn.Module):
        def __init__(self, slope):
            super().__init__()
            self.line, self.settings = nn.Linear(3, 4), settings(slope=slope)

        def forward(self, x):
            slope = self.settings["slope"] if settings is dict else self.settings.slope
            return slope * self.line(x)

    torch.manual_seed(0)
    first, second = Configured(1.0), Configured(2.0)
    second.load_state_dict(first.state_dict())
    x = torch.randn(6, 3)
    hl.extract(first, x, out=tmp_path / "a.zarr", layers="output")
    with pytest.raises(ValueError, match=r"with Configured\.settings"):
        hl.extract(second, x, out=tmp_path / "a.zarr", layers="output", resume=True)


@pytest.mark.parametrize("begun", [None, [f"example {i}" for i in range(12)]])
@pytest.mark.parametrize("resumed", [None, range(12)])
def test_a_store_without_a_safe_row_may_go_on_with_other_ids(begun, resumed, tmp_path):
    def broken():
        yield inputs()[:6]
        raise KeyboardInterrupt

    model, path = network(), tmp_path / "a.zarr"
    with pytest.raises(KeyboardInterrupt):
        hl.extract(model, broken(), out=path, example_ids=begun)
    data = [inputs()[:6], inputs()[6:12]]
    taken = hl.extract(model, data, out=path, example_ids=resumed, resume=True)
    assert taken.n == 12
    assert (taken.example_ids is None) == (resumed is None)
    for name, layer in hl.extract(model, data).items():
        assert_array_equal(np.asarray(taken[name]), layer)
