"""What a result of `redundancy` says and shows: warnings, few rows, losses, and the words for what was left out."""

from __future__ import annotations

import json
import warnings

import matplotlib.pyplot as plt
import numpy as np
import planted_networks as planted
import pytest

import homolog as hl
from homolog.cli.app import run


@pytest.fixture(scope="module")
def massive():
    """A massive feature hides what blocks do: without it another block is the least."""
    layers = planted.with_feature(planted.stream(n=120), 5, 400.0, first=1)
    for place, (name, x) in enumerate(layers.items()):
        x[:, 5] += 400.0 * min(place, 9) * (-1) ** np.arange(len(x)) * (name != "embed")
    return layers


@pytest.fixture
def closed():
    yield
    plt.close("all")


def quietly(layers, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hl.HomologWarning)
        return hl.redundancy(layers, **options)


# --- What was warned of


@pytest.mark.parametrize(("value", "category"), [(0.0, "NoDirectionWarning"), (2.0, "ConstantLayerWarning")])
def test_a_dead_block_is_told_in_the_summary_as_it_was_warned_of(value, category):
    layers = planted.stream(n=120)
    layers["block.4"] = np.full_like(layers["block.4"], value)
    found = quietly(layers)
    warned = dict(json.loads(found.attrs["warnings"]))
    assert f"Warning: {warned[category]}" in list(hl.summary(found))


def test_a_warning_that_is_a_note_is_told_once():
    layers = planted.stream(n=120) | {"head": np.random.default_rng(0).normal(size=(120, 3))}
    told = [line for line in hl.summary(quietly(layers)) if "their width is not" in line]
    assert len(told) == 1
    assert not any(line.startswith("Warning") for line in hl.summary(hl.redundancy(planted.stream(n=120))))


def test_levels_that_a_warning_sends_to_are_in_the_result():
    layers = planted.with_feature(planted.stream(n=40), 5, 400.0, first=3)
    with pytest.warns(hl.NullLevelWarning, match="_null variables"):
        found = hl.redundancy(layers, measure="cka")
    for suffix, given in (("", layers), ("_without", planted.less_columns(layers, [5]))):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", hl.HomologWarning)
            expected = hl.compare(given, measures="cka")
        np.testing.assert_allclose(found[f"cka{suffix}_null"], expected["cka_null"], rtol=1e-6)
    assert "Warning: independent data of these shapes" in str(hl.summary(found))
    assert not [name for name in hl.redundancy(layers) if "_null" in name]  # 0 everywhere


# --- Few rows


def test_few_rows_are_said_and_what_rank_they_allow():
    rng = np.random.default_rng(0)
    layers = {name: rng.normal(size=(12, 50)) for name in ("embed", "h.0", "h.1")}
    said = str(hl.summary(hl.redundancy(layers)))
    assert "of at most 11 with 12 rows (50 features)" in said
    assert "Caution: with only 12 rows values may be imprecise" in said
    many = {name: rng.normal(size=(200, 50)) for name in layers}
    said = str(hl.summary(hl.redundancy(many)))
    assert "of 50 features." in said
    assert "Caution" not in said
    tokens = hl.Activations(many, example_ids=np.repeat(np.arange(8), 25), positions=np.tile(np.arange(25), 8))
    assert "with only the tokens of 8 examples" in str(hl.summary(hl.redundancy(tokens)))


# --- Loss


def test_the_loss_is_measured_of_the_runs_of_every_form_and_told_by_their_names(massive):
    def loss(removed):
        return 2.0 + 0.5 * len(removed) + sum(0.01 * int(name[-1]) for name in removed)

    found = hl.redundancy(massive, loss=loss)
    blocks = [str(name) for name in found.block.values]
    runs = {suffix: found[f"best_start{suffix}"].values.tolist() for suffix in ("", "_without")}
    assert runs[""] != runs["_without"]
    for suffix, starts in runs.items():
        expected = [loss(blocks[(at := blocks.index(start)) : at + span]) for span, start in enumerate(starts, 1)]
        np.testing.assert_allclose(found[f"best_loss{suffix}"], expected)
    table = hl.table(found)
    np.testing.assert_allclose(table.loss_change_without, found.best_loss_without - 2)
    said = next(line for line in hl.summary(found) if line.startswith("Your loss without the first candidates"))
    assert f"of those chosen without the massive features: {runs['_without'][0]} " in said
    assert said.count(f"{runs[''][0]} 2.5") == 1


def test_a_block_of_small_influence_and_large_loss_is_named():
    layers = planted.stream()
    found = hl.redundancy(layers, loss=lambda removed: 3.0 + 0.01 * len(removed) + 5 * ("block.6" in removed))
    (said,) = [line for line in hl.summary(found) if "misleading" in line]
    assert "block.6 (influence " in said
    assert "loss 8.01)" in said
    assert said.count("(influence ") == 1
    fair = dict(zip(found.block.values.tolist(), found.influence.values.tolist(), strict=True))
    found = hl.redundancy(layers, loss=lambda removed: 3.0 + sum(fair[name] for name in removed))
    assert "misleading" not in str(hl.summary(found))
    for slight in (lambda removed: 3.0, lambda removed: 4.0 * len(removed) + 0.1 * ("block.6" in removed)):
        assert "misleading" not in str(hl.summary(hl.redundancy(layers, loss=slight)))


def test_losses_are_told_with_digits_that_tell_them_apart():
    losses = {(): 5.1001, ("block.6",): 5.1004, ("block.1",): 5.0999}
    found = hl.redundancy(planted.stream(), loss=lambda removed: losses.get(removed, 6.0))
    said = str(hl.summary(found))
    assert "Your loss is 5.1001 for the whole network" in said
    assert "lowest without block.1 (5.0999)" in said


@pytest.mark.usefixtures("closed")
@pytest.mark.parametrize("odd", [None, np.nan, np.inf])
def test_the_picture_draws_the_loss(massive, odd):
    def loss(removed):
        return odd if odd is not None and removed in ((), ("block.2",)) else 1.0 + len(removed)

    found = hl.redundancy(massive, loss=loss)
    figure = hl.plot.redundancy(found)
    (right,) = [ax for ax in figure.axes if ax.get_ylabel() == "your loss"]
    np.testing.assert_array_equal(right.lines[0].get_ydata(), found.loss)
    assert len(right.lines) == 1 + (odd is None)
    figure.canvas.draw()


# --- Words


@pytest.mark.usefixtures("closed")
@pytest.mark.parametrize(("remove", "words"), [("massive", "massive"), ([5], "massive"), ([5, 7], "removed")])
def test_features_are_called_what_they_are(massive, remove, words, tmp_path):
    found = hl.redundancy(massive, remove_features=remove)
    titles = [ax.get_title() for ax in hl.plot.redundancy(found).axes]
    page = hl.report(found, tmp_path / "r.html").read_text(encoding="utf-8")
    other = {"massive": "removed", "removed": "massive"}[words]
    for text in (*titles[1:3], str(hl.summary(found)), page, found.influence_without.attrs["meaning"]):
        assert f"without the {words} features" in text
        assert f"without the {other} features" not in text


@pytest.mark.usefixtures("closed")
def test_no_table_of_the_page_has_more_columns_than_it_shows(tmp_path):
    layers = planted.with_feature(planted.stream(), 5, 3000.0, first=2, rows=slice(0, 9))
    from homolog.reporting.redundancy_sections import sections_of

    found = hl.redundancy(layers, loss=len)
    assert "influence_without_both" in found
    tables = {section.heading: section.table for section in sections_of(found)[1] if section.table is not None}
    assert max(len(table.columns) for heading, table in tables.items() if heading.startswith("Runs")) == 7
    assert "Runs of blocks that change least, without these features and rows" in tables
    every = [column for heading, table in tables.items() if heading.startswith("Runs") for column in table.columns[1:]]
    assert len(every) == len(hl.table(found).columns) - 1


@pytest.mark.usefixtures("closed")
def test_names_of_most_blocks_are_folded_where_one_is_called_otherwise():
    names = ["embed", *(f"transformer.encoder.layers.{i}" for i in range(9)), "final_norm"]
    figure = hl.plot.redundancy(hl.redundancy(dict(zip(names, planted.stream(n=120).values(), strict=True))))
    written = [tick.get_text() for tick in figure.axes[0].get_xticklabels()]
    assert written == [*(f"…{i}" for i in range(9)), "final_norm"]


@pytest.mark.usefixtures("closed")
def test_the_line_of_the_effective_rank_lies_within_its_panel():
    x = np.random.default_rng(0).normal(size=(60, 6))
    figure = hl.plot.redundancy(hl.redundancy({name: x + 0.01 * i for i, name in enumerate("abc")}))
    (ranks,) = [ax for ax in figure.axes if ax.get_ylabel() == "effective rank"]
    assert ranks.get_ylim()[1] > 1.05 * max(ranks.lines[0].get_ydata())


# --- What is refused, and how it is called


@pytest.mark.parametrize("given", [[np.ones((5, 2))] * 3, (np.ones((5, 2)),), np.ones((5, 2)), np.ones((3, 5, 2))])
def test_layers_without_names_are_refused_with_what_to_do(given):
    with pytest.raises(TypeError, match=r"activations must be layers by their names, got an? \w+: give each a name"):
        hl.redundancy(given)


@pytest.mark.parametrize("given", [3, None, [1, 2], {"h": [1, 2]}, {"h": np.ones(3)}, {}])
def test_errors_call_the_argument_by_its_name(given):
    with pytest.raises((TypeError, ValueError), match="activations must"):
        hl.redundancy(given)


def test_the_command_calls_its_file_by_its_name_and_says_what_is_next(tmp_path, capsys):
    np.savez(tmp_path / "one.npz", a=np.ones((1, 4)), b=np.ones((1, 4)))
    assert run(["redundancy", str(tmp_path / "one.npz")]) == 2
    said = capsys.readouterr().err
    assert "one" in said
    assert " of a " not in said
    np.savez(tmp_path / "two.npz", **planted.stream(n=120))
    assert run(["redundancy", str(tmp_path / "two.npz")]) == 0
    printed = capsys.readouterr()
    assert "--report report.html shows all numbers" in printed.err
    assert "homolog.report(" not in printed.err
    rows = [line.split("\t") for line in printed.out.splitlines()]
    assert [row[0] for row in rows if row[0].endswith(("block", "blocks"))][1:] == [
        "1 block",
        *(f"{i} blocks" for i in range(2, 10)),
    ]
    assert run(["redundancy", str(tmp_path / "two.npz"), "--report", str(tmp_path / "r.html")]) == 0
    assert "--report" not in capsys.readouterr().err
