"""Pictures, sentences and pages of how consistent models are over data sets, and of tests of groups."""

from __future__ import annotations

import json

import matplotlib
import numpy as np
import pytest
import xarray
from matplotlib import pyplot
from similar_models import cosines, made, of_groups

import homolog as hl
from homolog.analysis.consistency_lines import dataset_table, moves, pairs_of_models, written
from homolog.reporting.consistency_sections import sections_of

matplotlib.use("Agg")
RNG = np.random.default_rng(0)
POINTS = RNG.normal(size=(7, 4))
NAMES = [f"model {i}" for i in range(7)]
HOSTILE = "<script>alert(1)</script> $x$ \x1b[31m"


def on(noise):
    return made(cosines(POINTS + noise * RNG.normal(size=POINTS.shape)), NAMES)


TWO = hl.consistency({"photographs": on(0.1), "drawings": on(0.2)})
MANY = hl.consistency({"photographs": on(0.1), "drawings": on(0.1), "sketches": on(0.2), "digits": on(20)})


@pytest.fixture(autouse=True)
def closed():
    yield
    pyplot.close("all")


def points_of(ax):
    return np.column_stack(ax.lines[0].get_data())


def test_pairs_of_models_are_points_of_both_data_sets():
    ax = hl.plot.consistency(TWO)
    upper = np.triu_indices(7, 1)
    assert ax.get_xlabel() == "similarity on photographs"
    assert np.corrcoef(points_of(ax).T)[0, 1] == pytest.approx(TWO.correlation.values[0, 1])
    assert len(points_of(ax)) == len(upper[0])
    turned = hl.plot.consistency(TWO, datasets=("drawings", "photographs"))
    np.testing.assert_array_equal(points_of(turned), points_of(ax)[:, ::-1])
    assert f"r = {written(TWO.correlation.values[0, 1], TWO.correlation_se.values[0, 1])}, p" in ax.get_title()
    assert "21 pairs of 7 models" in ax.get_title()


def test_the_pairs_that_change_place_most_are_named():
    values = cosines(POINTS)
    other = values.copy()
    other[2, 5] = other[5, 2] = -values[2, 5]  # the only pair that is another on the second data set
    found = hl.consistency({"one": made(values, NAMES), "other": made(other, NAMES)})
    assert "changes place most among all pairs is model 2 and model 5: " in str(hl.summary(found))
    assert pairs_of_models(found).iloc[0, :2].tolist() == ["model 2", "model 5"]
    names = [text.get_text() for text in hl.plot.consistency(found).texts if text.get_text()]
    assert "model 2 / model 5" in names
    assert len(names) == 3
    assert not hl.plot.consistency(found, annotate=False).texts
    assert len([text for text in hl.plot.consistency(found, annotate=True).texts if text.get_text()]) == 21


def test_more_than_two_data_sets_are_a_heatmap_with_what_chance_gives_crossed_out():
    ax = hl.plot.consistency(MANY)
    np.testing.assert_array_equal(ax.images[0].get_array(), MANY.correlation)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["photographs", "drawings", "sketches", "digits"]
    bar = ax.figure.axes[-1]
    assert "no more than by chance" in bar.get_ylabel()
    certain = hl.consistency({"a": on(0.1), "b": on(0.1), "c": on(0.1)})
    assert "chance" not in hl.plot.consistency(certain).figure.axes[-1].get_ylabel()
    assert hl.plot.consistency(MANY, datasets=["digits", "drawings"]).get_ylabel() == "similarity on drawings"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"datasets": "photographs"}, "datasets must be two of 'photographs', 'drawings', got 'photographs'"),
        ({"datasets": ("photographs", "nothing")}, "got 'photographs', 'nothing'"),
        ({"datasets": ("drawings", "drawings")}, "datasets must be two of"),
        ({"vmin": 0}, "vmin= and vmax= are for the heatmap"),
        ({"cmap": "nothing"}, "unknown colour map"),
    ],
)
def test_what_cannot_be_drawn_is_refused(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        hl.plot.consistency(TWO, **options)


def test_other_results_and_parts_of_one_are_refused():
    for function in (hl.plot.consistency, dataset_table, pairs_of_models):
        with pytest.raises(ValueError, match=r"result of homolog\.consistency, got one of homolog\.model_similarity"):
            function(on(0.1))
        with pytest.raises(ValueError, match="same data sets on both sides"):
            function(MANY.isel(dataset_a=[0, 1]))
    with pytest.raises(ValueError, match="same data sets on both sides"):
        hl.summary(TWO.isel(dataset_a=0))
    for takes in (hl.embed, hl.plot.dendrogram):
        with pytest.raises(ValueError, match=r"homolog\.plot\.consistency take that one"):
            takes(TWO)


def test_the_summary_says_how_far_two_data_sets_agree():
    told = hl.summary(TWO).sentences
    value, error = (float(TWO[name].values[0, 1]) for name in ("correlation", "correlation_se"))
    assert told[0].startswith("7 models, in 21 pairs, were compared by cka(estimator=debiased) on 2 data sets")
    assert told[1].startswith(
        f"photographs and drawings agree by {written(value, error)}, more than chance would give (p"
    )
    assert told[-1].endswith("homolog.plot.consistency(result)")


def test_the_summary_of_many_names_the_best_the_worst_and_the_odd_data_set():
    told = str(hl.summary(MANY))
    assert "Most alike are photographs and drawings (" in told
    assert "3 of 6 pairs of data sets agree more than random orders of the models do" in told
    assert "digits agrees least with the others" in told
    assert dataset_table(MANY)["correlation"].is_monotonic_decreasing


def test_nothing_is_claimed_where_nothing_can_be_shown():
    noise = hl.consistency(
        {"one": on(0.1), "noise": made(cosines(np.random.default_rng(8).normal(size=(7, 4))), NAMES)}
    )
    assert "no more than chance would give" in str(hl.summary(noise))
    with pytest.warns(hl.FewModelsWarning):
        three = hl.consistency({name: on(0.1).isel(model_a=[0, 1, 2], model_b=[0, 1, 2]) for name in "ab"})
    assert "all 6 orders of the models are too few to say" in str(hl.summary(three))
    assert "Caution: 6 orders of so few models" in str(hl.summary(three))
    flat = made(np.full((7, 7), 0.5) + 0.5 * np.eye(7), NAMES)
    with pytest.warns(hl.UndefinedValueWarning):
        none = hl.consistency({"flat": flat, "other": on(0.1)})
    assert "No two data sets have a correlation." in str(hl.summary(none))
    assert np.isnan(moves(none)).all()
    assert "no correlation" in hl.plot.consistency(none).get_title()


@pytest.mark.parametrize(("found", "pictures"), [(TWO, 1), (MANY, 2)])
def test_the_page_has_the_pictures_and_both_tables(found, pictures, tmp_path):
    _, sections = sections_of(found)
    assert sum(section.picture is not None for section in sections) == pictures
    assert [len(section.table) for section in sections if section.table is not None] == [
        len(dataset_table(found)),
        found.sizes["pair"],
    ]
    page = hl.report(found, tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.count("data:image/svg+xml") == pictures
    assert "Pairs of data sets" in page
    assert "Next, " not in page[: page.index("Pairs of data sets</h2>")]
    assert "Explorer" in repr(hl.show(found))
    with pytest.raises(ValueError, match=r"pass them to homolog\.consistency"):
        hl.report(found, tmp_path / "page.html", groups=list("aaaabbb"))


def test_names_are_data_and_files_keep_everything(tmp_path):
    names = [HOSTILE, *NAMES[1:]]
    found = hl.consistency({HOSTILE: made(cosines(POINTS), names), "other": made(cosines(POINTS + 1), names)})
    assert "\x1b" not in str(hl.summary(found))
    page = hl.report(found, tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<script>alert(1)" not in page
    hl.plot.consistency(found, annotate=True).figure.savefig(tmp_path / "picture.png")
    TWO.to_netcdf(tmp_path / "found.nc")
    again = xarray.load_dataset(tmp_path / "found.nc")
    xarray.testing.assert_identical(again, TWO)
    assert json.loads(again.attrs["measures"]) == ["correlation"]
    assert str(hl.summary(again)) == str(hl.summary(TWO))


def test_ranks_are_told_as_such():
    found = hl.consistency({"one": on(0.1), "other": on(0.1)}, method="spearman")
    assert "rank correlation = " in hl.plot.consistency(found).get_title()
    assert "rank correlation (Spearman)" in str(hl.summary(found))


# --- Tests of groups


def test_the_picture_of_a_test_of_groups_shows_every_pair_and_what_chance_gives():
    labels = list("aaabbbbbc")
    found = hl.permanova(of_groups(labels), labels)
    pairs, null = hl.plot.permanova(found).axes
    assert [label.get_text() for label in pairs.get_yticklabels()] == ["between groups", "within b", "within a"]
    counts = [len(line.get_xdata()) for line in pairs.lines[::2]]
    assert counts == [23, 10, 3]  # c alone has no pair
    means = [line.get_xdata()[0] for line in pairs.lines[1::2]]
    assert means == pytest.approx([0.3, 0.8, 0.8])
    assert sum(bar.get_height() for bar in null.patches) == np.isfinite(found.null).sum()
    assert (pairs.get_xlabel(), null.get_ylabel()) == ("similarity of two models, line: mean", "all 504 arrangements")


def test_a_statistic_without_an_end_and_names_of_any_kind_are_drawn(tmp_path):
    labels = ["between groups", HOSTILE] * 4
    found = hl.permanova(of_groups(labels, within=1 - 1e-5), labels)
    figure = hl.plot.permanova(found, title="$x$")
    figure.savefig(tmp_path / "groups.png")
    assert figure.get_suptitle() == r"\$x\$"
    with pytest.raises(TypeError, match=r"what homolog\.permanova returned, got a Dataset"):
        hl.plot.permanova(on(0.1))
