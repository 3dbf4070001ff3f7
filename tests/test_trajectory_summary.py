"""What is said and drawn of a trajectory: when layers settle, in which order, and what cannot be told."""

from __future__ import annotations

import json

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
import xarray
from small_checkpoints import build, examples, moments

import homolog as hl
from homolog.analysis.trajectory_summary import rank_order
from homolog.trajectories.settling import settled_places


def made(values, *, steps=None, kind="similarity", high=1.0, against="last"):
    """Make a trajectory of (steps, layers) values against the last checkpoint."""
    values = np.asarray(values, dtype=float)
    count, layers = values.shape
    about = {"kind": kind, "range": json.dumps([0.0, high]), "symmetric": np.int32(1), "formula": "", "reference": ""}
    return xarray.Dataset(
        {"cka": (("against", "step", "layer"), values[None], about)},
        {
            "against": [against],
            "step": np.arange(count) * 10 if steps is None else steps,
            "layer": [f"block{i}" for i in range(layers)],
            "checkpoint": ("step", [f"at {k}" for k in range(count)]),
            "same_as": ("step", [""] * count),
            "same_by": ("step", [""] * count),
        },
        {
            "title": "homolog trajectory",
            "measures": '["cka"]',
            "model": "Net",
            "n_examples": np.int32(50),
            "warnings": "[]",
        },
    )


def settling_at(places, count=8, start=0.2):
    """Return values of layers that go up evenly and are within 1 % of their final value from a place on."""
    columns = [np.minimum(1, start + (1 - start) * np.arange(count) / place) for place in places]
    return np.stack(columns, axis=1)


@pytest.mark.parametrize(
    ("column", "kind", "high", "place"),
    [
        ([0.2, 0.99, 0.995, 1.0], "similarity", 1.0, 1),
        ([0.2, 0.995, 0.98, 1.0], "similarity", 1.0, 3),  # it was near and went away again
        ([1.0, 1.0, 1.0, 1.0], "similarity", 1.0, 0),
        ([0.2, np.nan, 0.995, 1.0], "similarity", 1.0, 2),
        ([0.2, 0.5, 0.9, np.nan], "similarity", 1.0, -1),
        ([5.0, 19.9, 20.1, 20.0], "similarity", None, 1),  # as HSIC, whose end is no 1
        ([0.5, 0.02, 0.005, 0.0], "distance", 1.0, 2),
        ([0.008, 0.004, 0.002, 0.0], "distance", 2.0, 3),  # of a range that the values never fill
        ([9.0, 4.0, 2.0, 1.0], "similarity", None, 3),  # as HSIC of activations that shrink
        ([0.3, 0.2, 0.1, 0.0], "similarity", None, 3),  # a distance of the caller's, taken for a similarity
        ([0.3, 2.0, 4.0, np.inf], "similarity", None, -1),
        ([0.2, 0.995, np.nan, 1.0], "similarity", 1.0, 1),
        ([50.0, 0.6, 0.4, 0.0], "distance", None, 2),
    ],
)
def test_settled_is_within_a_hundredth_from_there_on(column, kind, high, place):
    assert settled_places(np.array(column)[:, None], kind, high).tolist() == [place]


def test_the_order_of_settling_is_told_and_none_of_the_way():
    first = str(hl.summary(made(settling_at([2, 3, 4, 5, 6, 7]))))
    assert "Lower layers settle first (rank correlation of depth and step 1.00, p = 0.0028)" in first  # 2 of 720 orders
    later = str(hl.summary(made(settling_at([7, 6, 5, 4, 3, 2]))))
    assert "Higher layers settle first (rank correlation of depth and step -1.00" in later
    # All go the same share of their way at each step, and the lower ones have less of it.
    way = np.array([*(1 - 0.5 ** np.arange(11)), 1.0])[:, None]
    start = np.array([0.9, 0.8, 0.6, 0.4, 0.2, 0.05])
    nearer = str(hl.summary(made(start + (1 - start) * way)))
    assert "Lower layers settle first" in nearer
    assert "(values at step 0: 0.05 to 0.90)" in nearer
    for said in (first, later, nearer):
        assert "have covered" not in said
        assert "To settle early is not to learn fast" in said
        assert "train with another seed" in said


@pytest.mark.parametrize(
    ("values", "pvalue"),
    [([1, 2, 3, 4, 5], 2 / 120), ([2, 1, 3, 4, 5], 10 / 120), ([3.0, np.nan, 2, 1], 2 / 6), ([1, 1, 2, 2], 8 / 24)],
)
def test_pvalues_of_the_order_are_exact_for_few_layers(values, pvalue):
    from scipy.stats import spearmanr

    values = np.array(values, dtype=float)
    known = values[~np.isnan(values)]
    found = rank_order(values)
    np.testing.assert_allclose(found, (spearmanr(np.arange(len(known)), known).statistic, pvalue), rtol=1e-12)


def test_pvalues_of_the_order_of_many_layers_are_of_random_orders():
    values = np.random.default_rng(3).normal(size=14)
    from scipy.stats import spearmanr

    assert abs(rank_order(values).pvalue - spearmanr(np.arange(14), values).pvalue) < 0.02
    assert rank_order(np.arange(20.0)).pvalue == 1 / 10_000


def test_a_part_of_a_trajectory_keeps_its_end_and_its_order_of_layers():
    x, noise = np.random.default_rng(0).normal(size=(2, 6, 60, 4))
    moments = {
        step: {f"l{i}": x[i] + noise[i] * max(0, 1 - step / (20 + 15 * i)) for i in range(6)}
        for step in range(0, 110, 10)
    }
    whole = hl.compare_checkpoints(None, moments, None, measures=["cka", "cka(estimator=debiased)"])
    said = hl.summary(whole).sentences[2:-1]
    assert "Lower layers settle first" in said[1]
    for part in (whole.isel(step=slice(0, 5)), whole.isel(step=slice(None, None, -1)), whole.isel(step=[0, 0, 10])):
        assert hl.summary(part).sentences[2:-1] == said
    turned = whole.isel(layer=slice(None, None, -1))
    assert hl.summary(turned).sentences[3] == said[1]
    second = json.loads(whole.attrs["measures"])[1]
    backwards = hl.summary(whole.isel(step=slice(None, None, -1)), second).sentences[2:-1]
    assert backwards == hl.summary(whole, second).sentences[2:-1]
    assert "lacks the last checkpoint, which this measure needs" in str(
        hl.summary(whole.isel(step=slice(0, 5)), second)
    )
    for dimension in ("step", "layer"):
        with pytest.raises(ValueError, match=f"must keep at least one {dimension}"):
            hl.summary(whole.isel({dimension: []}))


def test_missing_values_are_passed_over_and_said():
    values = settling_at([2, 3, 4, 5, 6, 6])
    values[4] = np.nan
    said = str(hl.summary(made(values)))
    assert "Missing values of checkpoint at 4 were passed over." in said
    assert "Layer block0 is within 1 % of its final value from step 20 on;" in said


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (settling_at([7] * 6), "cannot be told: all settle at the same checkpoint"),
        (settling_at([2, 4, 6]), "cannot be told of 3 layers: at least 5 are needed"),
        (settling_at([2, 7, 3, 6, 2, 5]), "It cannot be told whether lower or higher layers settle first"),
        (settling_at([7] * 6), "No layer is within 1 % of its final value before the last checkpoint, step 70"),
        (np.ones((4, 6)), "All layers are within 1 % of their final value from the first checkpoint on"),
        (np.full((4, 6), np.nan), "It is not known when layers settle"),
    ],
)
def test_what_cannot_be_told_is_said_plainly(values, sentence):
    assert sentence in str(hl.summary(made(values)))


@pytest.mark.parametrize(
    ("places", "count", "sentence"),
    [
        (
            [2, 2, 2, 2, 2, 3, 3, 7],
            8,
            "Layers block0 to block4 are within 1 % of their final value from step 20 on; layers block5 and block6 from step 30 "
            "on; layer block7 only at the last checkpoint, step 70.",
        ),
        (
            [1, 1, 2, 3, 4, 4, 4, 5, 6],
            8,
            "Layers are within 1 % of their final value from different steps on: block0 and block1 from step 10, block2 from "
            "step 20, block3 from step 30, block4 to block6 from step 40, block7 from step 50, block8 from step 60.",
        ),
        (
            [30 - place for place in range(30)],
            31,
            "Of the 30 layers, 8 are within 1 % of their final value from step 80 on, 15 from step 150 on, 23 from step 230 on, "
            "30 from step 300 on. First of all layer block29, from step 10 on; last of all layer block0. The page of a report "
            "lists every layer.",
        ),
        ([3], 8, "Layer block0 is within 1 % of its final value from step 30 on."),
    ],
)
def test_when_layers_settle_is_said_without_leaving_steps_out(places, count, sentence):
    """By step where these are few, layer by layer where they are not; of very many layers how many, and where all are listed."""
    said = hl.summary(made(settling_at(places, count=count))).sentences
    assert said[2] == sentence
    assert all(len(each) < 450 for each in said)


def test_layers_of_which_nothing_is_known_and_large_steps_are_written_out():
    values = settling_at([2, 3, 4], start=0.5)
    values[-1, 1] = np.nan
    said = hl.summary(made(values, steps=1234567 * np.arange(8))).sentences
    assert "(step 0 to step 8641969)" in said[0]
    assert "block2 from step 4938268 on" in said[2]
    assert said[3] == "When layer block1 settled is not known: values are missing."
    closer = hl.summary(made(1 - settling_at([2, 3, 3]), kind="distance")).sentences
    assert "the smaller its value" in closer[1]
    assert closer[2].startswith(
        "Layer block0 is nearer to its final form than 1 % of the largest distance from step 20 on"
    )


def test_checkpoints_that_are_the_same_network_are_named():
    """By weights, by outputs where weights differ that nothing reads, and not where a step was small but real."""
    states = moments(3)
    copy = {name: value.clone() for name, value in states[1].items()}
    # What Tanh makes of units is undone by the next layer: other weights, the same outputs from there on.
    small = {name: value + 1e-4 * value.std() for name, value in states[1].items()}
    given = {10: states[0], 20: states[1], 30: copy, 40: small, 50: states[2]}
    result = hl.compare_checkpoints(build, given, examples())
    assert result["same_as"].values.tolist() == ["", "", "20", "", ""]
    assert result["same_by"].values.tolist() == ["", "", "weights", "", ""]
    assert "Checkpoints 20 and 30 are the same network: their weights are equal." in str(hl.summary(result))
    x = np.random.default_rng(0).normal(size=(50, 3))
    moved = {1: {"a": x}, 2: {"a": x[::-1].copy()}, 3: {"a": x * (1 + 1e-15)}}
    result = hl.compare_checkpoints(None, moved, None)
    assert result["same_by"].values.tolist() == ["", "", "outputs"]
    assert "Checkpoints 1 and 3 may be the same network: all layers that were compared are equal" in str(
        hl.summary(result)
    )


@pytest.mark.parametrize("narrow", ["bfloat16", "float16"])
@pytest.mark.parametrize("place", [1, 3])
def test_a_copy_in_another_precision_is_named_as_such(narrow, place, tmp_path):
    """Also one whose norms, say, were left as they are; a network that was trained a little further is none."""
    states = moments(5)
    rounded = {name: value.to(getattr(torch, narrow)) for name, value in states[place].items()}
    rounded["4.bias"] = states[place]["4.bias"]
    further = {name: value + 1e-3 * value.std() for name, value in states[2].items()}
    given = dict(enumerate(states)) | {10: rounded, 11: further, 12: states[4]}
    result = hl.compare_checkpoints(build, given, examples(), out=tmp_path / "rows.jsonl")
    assert result["same_as"].values.tolist() == [*[""] * 5, str(place), "", "4"]
    assert result["same_by"].values.tolist() == [*[""] * 5, f"weights rounded to {narrow}", "", "weights"]
    told = f"Checkpoints {place} and 10 are one network in two precisions: their weights are equal to rounding to {narrow}."
    assert told in hl.summary(result).sentences
    assert hl.compare_checkpoints(build, given, examples(), out=tmp_path / "rows.jsonl", resume=True).identical(result)


def test_tables_and_parts_of_a_trajectory(tmp_path):
    result = hl.compare_checkpoints(build, dict(enumerate(moments(4))), examples())
    table = hl.table(result)
    assert list(table.columns) == ["against", "step", "checkpoint", "layer", "value"]
    assert len(table) == (4 + 3 + 4) * 5
    assert "null" in hl.table(result, "cka").columns
    part = result.sel(layer=["0", "4"]).isel(step=slice(1, None))
    assert "3 checkpoints" in str(hl.summary(part))
    with pytest.raises(ValueError, match=r"select with lists, result.sel\(layer=\[name\]\)"):
        hl.summary(result.sel(layer="0"))
    with pytest.raises(ValueError, match=r"one of homolog\.compare_checkpoints"):
        hl.plot.heatmap(result)
    comparison = hl.compare(np.random.default_rng(0).normal(size=(20, 3)), np.ones((20, 2)) * np.arange(20)[:, None])
    with pytest.raises(
        ValueError, match=r"this needs a result of homolog\.compare_checkpoints, got one of homolog\.compare"
    ):
        hl.plot.trajectory(comparison)
    page = hl.report(result, tmp_path / "page.html").read_text(encoding="utf-8")
    for heading in (
        "Against the last checkpoint",
        "Against the previous checkpoint",
        "When layers settle",
        "All values",
    ):
        assert heading in page


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


def test_the_picture_has_a_line_per_layer_by_depth_over_logarithms_of_steps():
    ax = hl.plot.trajectory(made(settling_at([2, 3, 4, 5]), steps=[0, 1, 10, 100, 1000, 2000, 4000, 8000]))
    lines = ax.get_lines()
    assert [line.get_label() for line in lines] == ["block0", "block1", "block2", "block3"]
    assert len({tuple(np.round(line.get_color(), 3)) for line in lines}) == 4
    assert ax.get_xscale() == "symlog"  # step 0 has its place
    assert ax.get_legend().get_title().get_text() == "layer"
    assert hl.plot.trajectory(made(settling_at([2], count=3), steps=[1, 10, 100])).get_xscale() == "log"
    assert hl.plot.trajectory(made(settling_at([2], count=3), steps=[0, 1, 2])).get_xscale() == "linear"
    assert hl.plot.trajectory(made(settling_at([2], count=3), steps=[-1, 10, 100])).get_xscale() == "linear"
    before = made(settling_at([2], count=3), against="previous")
    assert "previous" in hl.plot.trajectory(before).get_ylabel()  # what the summary recommends
    with pytest.raises(KeyError, match="against must be one of last, which this result has, got 'first'"):
        hl.plot.trajectory(made(settling_at([2])), against="first")


def test_many_layers_have_a_bar_of_colours_and_names_are_no_mathematics():
    result = made(settling_at(range(1, 41), count=41))
    ax = hl.plot.trajectory(result)
    assert ax.get_legend() is None
    (bar,) = [other for other in ax.figure.axes if other is not ax]
    assert [text.get_text() for text in bar.get_yticklabels()] == ["block0", "block19", "block39"]
    odd = made(settling_at([2, 3])).assign_coords(layer=["$x", "a\x1b[31m"])
    ax = hl.plot.trajectory(odd)
    assert [line.get_label() for line in ax.get_lines()] == [r"\$x", "a [31m"]
    ax.figure.canvas.draw()
