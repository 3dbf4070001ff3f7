"""Tokens that outweigh all others: noted while layers are extracted, named by a diagnosis and a summary."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import xarray
from torch import nn

import homolog as hl
from homolog.position_norms import PositionNorms, norms_of_ranked, runs_of, sinks_of

LONGEST, WIDTH, N = 12, 8, 40
SINK = "attention sink"


class Stack(nn.Module):
    """Five blocks; between the second and the fourth, the first real token is a hundred times as long as it was."""

    def __init__(self, times=100.0):
        super().__init__()
        self.times = times
        self.words = nn.Embedding(50, WIDTH)
        self.h = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(5))

    def forward(self, input_ids, attention_mask=None):
        keep = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        first = ((keep.cumsum(1) == 1) & (keep == 1))[:, :, None]
        x = self.words(input_ids)
        for number, block in enumerate(self.h):
            grown = torch.where(first, x * self.times, x) if number == 1 else x
            x = block(torch.where(first, grown / self.times, grown) if number == 4 else grown)
        return x


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Stack()


def batch(side="right"):
    random = torch.Generator().manual_seed(1)
    ids = torch.randint(1, 50, (N, LONGEST), generator=random)
    lengths = torch.randint(6, LONGEST + 1, (N, 1), generator=random)
    places = torch.arange(LONGEST)[None]
    keep = places < lengths if side == "right" else places >= LONGEST - lengths
    return {"input_ids": ids * keep, "attention_mask": keep.long()}


def extracted(model, data=None, **asked):
    given = {"layers": "h.*", "reduce": "mean", "batch_size": N} | asked
    return hl.extract(model, batch() if data is None else data, **given)


def sinks(activations):
    return sinks_of({name: made.norms for name, made in activations.modules.items()})


def findings(*sides):
    return [one for one in hl.diagnose(*sides) if one.kind == SINK]


@pytest.mark.parametrize("side", ["left", "right"])
def test_shares_and_ratios_are_those_of_the_real_tokens(model, side):
    data = batch(side)
    taken = extracted(model, data, layers="h.1")
    with torch.no_grad():
        x = model.words(data["input_ids"])
        first = ((data["attention_mask"].cumsum(1) == 1) & (data["attention_mask"] == 1))[:, :, None]
        norms = model.h[1](torch.where(first, 100 * model.h[0](x), model.h[0](x))).norm(dim=2).numpy()
    keep = data["attention_mask"].numpy() == 1
    rows = [row[some] for row, some in zip(norms, keep, strict=True)]
    said = PositionNorms.read(taken.modules["h.1"].norms)
    total = sum((row**2).sum() for row in rows)
    np.testing.assert_allclose(said.shares, [sum(row[k] ** 2 for row in rows) / total for k in range(4)], rtol=1e-3)
    rest = np.median(np.concatenate([row[4:] for row in rows]))
    np.testing.assert_allclose(said.ratios, [np.median([row[k] for row in rows]) / rest for k in range(4)], rtol=1e-3)
    assert said.examples == N
    np.testing.assert_allclose(said.length, keep.sum() / N, rtol=1e-3)


def test_a_planted_sink_is_named_with_its_layers_as_a_range_and_no_other(model):
    taken = extracted(model)
    assert list(sinks(taken)) == ["h.1", "h.2", "h.3"]
    (found,) = findings(taken)
    assert found.where == "h.1 to h.3"
    assert found.message.startswith("position 0 holds 99 % of the squared norm")
    assert found.remedy == "extract with skip_first=1, or, of a causal language model, reduce='last'"
    line = [line for line in hl.summary(hl.compare(taken)) if line.startswith("Attention sink")]
    assert line == [
        "Attention sink: position 0 holds 99 % of the squared norm of h.1 to h.3 of Stack: values over tokens, or means of "
        "tokens, say how alike these are, not the rest; extract with skip_first=1, or, of a causal language model, "
        "reduce='last'."
    ]


@pytest.mark.parametrize("asked", [{"reduce": "last"}, {"skip_first": 1}, {"reduce": "first"}])
def test_what_the_rows_do_not_hold_is_no_sink_of_theirs(model, asked):
    taken = extracted(model, **asked)
    assert taken.modules["h.2"].norms  # which are known all the same
    assert not sinks(taken)
    assert not any("ttention sink" in line for line in hl.summary(hl.compare(taken)))


@pytest.mark.parametrize("reduce", ["positions", "mean", "flatten"])
def test_every_reduction_that_counts_the_token_is_told_of_it(model, reduce):
    data = {"input_ids": batch()["input_ids"].clamp(min=1)}
    assert list(sinks(extracted(model, data, reduce=reduce))) == ["h.1", "h.2", "h.3"]


@pytest.mark.parametrize("length", [1, 2, 3, 12])
def test_equal_tokens_are_no_sink_however_few_they_are(length):
    model = Stack(times=1.0)
    ids = torch.randint(1, 50, (N, length), generator=torch.Generator().manual_seed(0))
    assert not sinks(extracted(model, {"input_ids": ids}))


def test_a_class_token_that_is_an_outlier_is_named_likewise():
    def vision(images):
        tokens = images.reshape(len(images), 9, 4)
        return {"block": np.concatenate([40 + tokens[:, :1], tokens], axis=1)}

    taken = hl.extract(vision, np.random.default_rng(0).normal(size=(30, 36)), reduce="mean")
    assert sinks(taken)["block"].positions == (0,)


def test_batches_count_as_their_examples_do_and_in_a_store_too(model, tmp_path):
    whole, parts = extracted(model), extracted(model, batch_size=16)
    into = extracted(model, batch_size=16, out=tmp_path / "a.zarr")
    assert into.modules == parts.modules
    first, second = (PositionNorms.read(one.modules["h.2"].norms) for one in (whole, parts))
    np.testing.assert_allclose(first.shares, second.shares, rtol=0.02, atol=1e-3)
    assert second.examples == N


def test_a_store_that_was_continued_knows_of_all_its_rows(model, tmp_path):
    asked = dict(out=tmp_path / "a.zarr", batch_size=10)
    extracted(model, max_examples=20, **asked)
    again = extracted(model, resume=True, **asked)
    assert PositionNorms.read(again.modules["h.2"].norms).examples == N
    assert list(sinks(again)) == ["h.1", "h.2", "h.3"]


@pytest.mark.parametrize("ending", [".npz", ".zarr", ".safetensors", ".nc", ".parquet"])
def test_files_keep_what_is_known_and_so_do_parts_and_new_names(model, tmp_path, ending):
    taken = extracted(model)
    hl.save(taken, tmp_path / f"a{ending}")
    again = hl.open(tmp_path / f"a{ending}")
    assert again.modules == taken.modules
    part = again.select("h.2", "h.4").rename({"h.2": "second"}).take(slice(0, 20)).described(model="x")
    assert list(sinks(part)) == ["second"]


def test_rows_that_say_their_example_and_position_are_looked_at_themselves(model):
    taken = extracted(model, reduce="positions")
    rows = hl.Activations(dict(taken), example_ids=taken.example_ids, positions=taken.positions)
    (found,) = findings(rows)
    assert found.where == "h.1 to h.3"
    noted, counted = (
        PositionNorms.read(taken.modules["h.2"].norms),
        norms_of_ranked(np.linalg.norm(rows["h.2"], axis=1), 1 + rows.positions, N),
    )
    np.testing.assert_allclose(noted.shares, counted.shares, rtol=1e-3, atol=1e-6)
    left = extracted(model, batch("left"), reduce="positions")
    left = hl.Activations(dict(left), example_ids=left.example_ids, positions=left.positions)
    assert len(findings(left)) == 1
    without = extracted(model, reduce="positions", skip_first=1)
    assert not findings(hl.Activations(dict(without), example_ids=without.example_ids, positions=without.positions))


def test_results_list_the_layers_and_survive_a_file(model, tmp_path):
    sunk, other = extracted(model), extracted(Stack(times=1.0))
    both = hl.compare({"sunk": sunk, "other": other})
    said = json.loads(both.attrs["attention_sinks"])
    assert [(title, layer) for title, layer, *_ in said] == [("sunk", "h.1"), ("sunk", "h.2"), ("sunk", "h.3")]
    both.to_netcdf(tmp_path / "a.nc")
    assert xarray.load_dataset(tmp_path / "a.nc").identical(both)
    line = next(line for line in hl.summary(both) if line.startswith("Attention sink"))
    assert "of h.1 to h.3 of sunk:" in line
    assert "attention_sinks" not in hl.compare(other).attrs
    part = hl.compare(sunk, other, names=("s", "o")).isel(layer_a=[0, 3])
    assert "of h.3 of s:" in next(line for line in hl.summary(part) if line.startswith("Attention sink"))


def test_two_models_in_one_pass_say_it_too(model):
    asked = dict(layers="h.*", reduce="mean", exact=True, measures="cka(estimator=debiased)")
    result = hl.compare_models(model, Stack(times=1.0), batch(), **asked)
    assert {layer for _, layer, *_ in json.loads(result.attrs["attention_sinks"])} == {"h.1", "h.2", "h.3"}


def test_padding_that_is_not_a_number_is_not_looked_at():
    def run(batch):
        values = np.where(batch[:, :, None] > 0, np.ones(3), np.nan)
        return {"x": hl.Layer(values * batch[:, :, None], batch > 0)}

    ids = np.random.default_rng(0).integers(1, 9, size=(30, 6))
    ids[::2, 4:] = 0
    said = PositionNorms.read(hl.extract(run, ids, reduce="mean").modules["x"].norms)
    assert np.isfinite(said.shares).all()
    assert said.length == 5


def test_runs_are_of_neighbours():
    assert runs_of(list("abcdef"), dict.fromkeys("abdf")) == [["a", "b"], ["d"], ["f"]]
