"""Pictures of results: numbers in the cells, colours, marks, and names beside the axes."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray
from matplotlib.colors import ListedColormap
from matplotlib.image import AxesImage

import homolog as hl
from homolog.plot.cell_artists import CellMarks, CellNumber
from homolog.plot.cells import number

pytestmark = [
    pytest.mark.usefixtures("closed"),
    pytest.mark.filterwarnings("ignore::homolog.HomologWarning"),
]


@pytest.fixture
def closed():
    yield
    plt.close("all")


def result(values, *, kind="similarity", limits="[0.0, 1.0]", chance=None, names="layer {}"):
    """A result of two models with these values; pairs that are by chance have an adjusted p of 1."""
    values = np.asarray(values, dtype=float)
    made = hl.compare(
        *({names.format(i): np.random.default_rng(i).normal(size=(20, 2)) for i in range(k)} for k in values.shape),
        measures="cka",
    )
    made = made.drop_vars([name for name in made.data_vars if name != "cka"])
    made = made.assign(cka=(made.cka.dims, values, {**made.cka.attrs, "kind": kind, "range": limits}))
    if chance is not None:
        tested = np.where(chance, 1.0, 1e-6)
        made = made.assign(cka_p=(made.cka.dims, tested), cka_p_fdr=(made.cka.dims, tested))
        made.attrs["n_permutations"] = 10**7
    return made


def image(ax):
    (found,) = ax.findobj(AxesImage)
    return found


def numbers(ax):
    return [text.get_text() for text in ax.findobj(CellNumber)]


RAMP = np.linspace(0, 1, 144).reshape(12, 12)


def test_numbers_are_written_up_to_twelve_by_twelve():
    assert len(numbers(hl.plot.heatmap(result(RAMP)))) == 144
    assert numbers(hl.plot.heatmap(result(np.ones((13, 2))))) == []
    assert len(numbers(hl.plot.heatmap(result(np.ones((13, 2))), annotate=True))) == 26
    assert numbers(hl.plot.heatmap(result(RAMP), annotate=False)) == []


def test_numbers_are_those_of_their_cells_and_nothing_stands_where_nothing_was_compared():
    ax = hl.plot.heatmap(result([[0.123, np.nan], [1, -0.001]]))
    assert {text.get_position(): text.get_text() for text in ax.findobj(CellNumber)} == {
        (0, 0): "0.12",
        (0, 1): "1.00",
        (1, 1): "0.00",
    }
    assert [number(v) for v in (-0.256, 123.4, np.inf, -np.inf, 0.996)] == ["−0.26", "123", "∞", "−∞", "1.00"]


@pytest.mark.parametrize("cmap", [None, "Greys", "viridis", "coolwarm"])
def test_numbers_stand_out_from_their_cells(cmap):
    ax = hl.plot.heatmap(result(RAMP), cmap=cmap)
    shown = image(ax)
    for text in ax.findobj(CellNumber):
        column, row = text.get_position()
        cell = shown.cmap(shown.norm(RAMP[row, column]))[:3]
        channels = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in cell]
        light = 0.2126 * channels[0] + 0.7152 * channels[1] + 0.0722 * channels[2]
        ends = sorted([light, {"black": 0.0, "white": 1.0}[text.get_color()]])
        assert (ends[1] + 0.05) / (ends[0] + 0.05) >= 4.5  # what readers with weak eyes need


@pytest.mark.parametrize("columns", [1, 4])
def test_numbers_and_marks_fit_into_their_cells_in_small_panels_too(columns):
    figure = plt.figure(figsize=(9, 7), layout="compressed")
    hl.plot.heatmaps(
        {str(i): result(RAMP[:7, :7]) for i in range(columns)}, columns=columns, annotate=True, figure=figure
    )
    figure.canvas.draw()
    for ax in figure.axes:
        texts = ax.findobj(CellNumber)
        if not texts:
            continue
        cell = np.abs(np.diff(ax.transData.transform([(0, 0), (1, 1)]), axis=0)).min()
        assert max(text.get_window_extent().width for text in texts) <= cell
        (rings,) = ax.findobj(CellMarks)
        assert np.sqrt(rings.get_sizes()[0]) * figure.dpi / 72 <= 0.23 * cell


def test_numbers_too_small_to_read_are_left_out_unless_asked_for():
    figure = plt.figure(figsize=(2, 2))
    ax = hl.plot.heatmap(result(RAMP), ax=figure.subplots())
    figure.canvas.draw()
    without = np.asarray(figure.canvas.buffer_rgba()).copy()
    for text in ax.findobj(CellNumber):
        text.remove()
    figure.canvas.draw()
    np.testing.assert_array_equal(without, np.asarray(figure.canvas.buffer_rgba()))


def test_what_is_by_chance_is_crossed_and_no_best_match():
    chance = np.array([[True, True], [False, True]])
    for annotate in (True, False):
        ax = hl.plot.heatmap(result([[0.2, 0.3], [0.8, 0.1]], chance=chance), annotate=annotate)
        crosses, _, rings = ax.findobj(CellMarks)
        np.testing.assert_array_equal(crosses.get_offsets(), np.argwhere(chance)[:, ::-1])
        assert rings.get_offsets().tolist() == [[0, 1]]
    assert "no more alike than by chance" in ax.figure.axes[1].get_ylabel()


# --- Colours


def test_colours_are_those_asked_for():
    own = ListedColormap(["red", "blue"])
    for cmap in ("viridis", own):
        shown = image(hl.plot.heatmap(result([[0.2, 0.9]]), cmap=cmap, vmin=0.1, vmax=0.5))
        assert shown.get_cmap().name == getattr(cmap, "name", cmap)
        assert shown.get_clim() == (0.1, 0.5)
    assert image(hl.plot.heatmap(result([[0.2]]))).get_clim() == (0, 1)
    assert image(hl.plot.heatmap(result([[0.2]]), vmin=0.1)).get_clim() == (0.1, 1)
    assert image(hl.plot.heatmap(result([[0.2]], kind="distance"))).get_cmap().name == "magma_r"


@pytest.mark.parametrize(
    ("low", "high", "tips"), [(0, 1, "neither"), (0.3, 1, "min"), (0, 0.5, "max"), (0.3, 0.5, "both")]
)
def test_the_bar_says_that_there_are_values_beyond_it(low, high, tips):
    ax = hl.plot.heatmap(result([[0.2, 0.9, np.nan]]), vmin=low, vmax=high)
    assert image(ax).colorbar.extend == tips


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cmap": "virdis"}, "unknown colour map 'virdis', did you mean viridis"),
        ({"vmin": 0.5, "vmax": 0.5}, "vmin must be below vmax, got 0.5 and 0.5"),
        ({"vmin": 2}, "vmin must be below vmax, got 2 and 1"),
        ({"vmax": float("nan")}, "vmax must be a finite number, got nan"),
        ({"vmin": "low"}, "vmin must be a finite number, got 'low'"),
    ],
)
def test_options_that_cannot_be_drawn_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        hl.plot.heatmap(result([[0.2]]), **options)
    with pytest.raises(ValueError, match=message):
        hl.plot.heatmaps(result([[0.2]]), **options)


PROBED = xarray.Dataset({"accuracy": ("layer", [0.3, 0.8])}, {"layer": ["a", "b"]}, {"chance": 0.3})


def test_lines_and_bars_take_the_same_options():
    lines = xarray.Dataset({"v": (("w", "l"), RAMP[:3, :2])}, {"w": [1, 2, 4], "l": ["a", "b"]})
    ax = hl.plot.lines(lines, "v", x="w", by="l", cmap="viridis", vmin=-1, vmax=2, annotate=True)
    assert ax.get_ylim() == (-1, 2)
    assert [tuple(line.get_color()) for line in ax.lines] == [plt.colormaps["viridis"](share) for share in (0.0, 0.9)]
    assert [text.get_text() for text in ax.texts] == [number(value) for value in RAMP[:3, :2].T.flat]
    assert hl.plot.probe(PROBED, vmin=0).get_ylim()[0] == 0
    many = {
        seed: {name: np.random.default_rng(i).normal(size=(20, 2)) for i, name in enumerate("ab")} for seed in "123"
    }
    found = hl.layer_identification(hl.compare(many, measures="cka"))
    ax = hl.plot.identification(found, cmap="viridis", vmin=50, annotate=False)
    assert ax.get_xlim()[0] == 50
    assert ax.patches[0].get_facecolor() == plt.colormaps["viridis"](1.0)
    assert "100.0" not in [text.get_text() for text in ax.texts]
    explained = hl.explain_cka(*np.random.default_rng(0).normal(size=(2, 40, 3)))
    parts = hl.plot.explanation(explained, cmap="Greys", vmax=0.5, annotate=True).axes[0]
    assert image(parts).get_clim() == (0, 0.5)
    assert len(numbers(parts)) == 9


# --- Names


def test_long_names_stay_different_and_their_start_is_written_once():
    names = "vision_model.encoder.layers.{}.self_attention.projection"
    ax = hl.plot.heatmap(result(np.eye(4), names=names))
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert labels == [f"…{i}.self_attention.projection" for i in range(4)]
    assert ax.get_ylabel() == "a: vision_model.encoder.layers.…"
    assert ax.get_xlabel() == "b: vision_model.encoder.layers.…"
    assert hl.plot.heatmap(result(np.eye(2))).get_ylabel() == "a"


@pytest.mark.parametrize("names", ["{}" + "x" * 50, "x" * 50 + "{}", "x" * 30 + "{}" + "y" * 30, "$m${}" + "é." * 30])
def test_names_that_differ_anywhere_stay_different(names):
    ax = hl.plot.heatmap(result(np.eye(5), names=names))
    ax.figure.canvas.draw()
    assert len({label.get_text() for label in ax.get_xticklabels()}) == 5
