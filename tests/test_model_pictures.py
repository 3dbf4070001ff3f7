"""Pictures of models: maps, trees and matrices, and what the summary and the page of their similarities say."""

from __future__ import annotations

import json
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import xarray
from matplotlib.image import AxesImage
from similar_models import CKA, cosines, made, of_groups, of_points

import homolog as hl
from homolog.analysis.model_similarity_lines import model_similarity_lines, pair_table, silhouette
from homolog.reporting.model_similarity_sections import sections_of

pytestmark = pytest.mark.usefixtures("closed")
HOSTILE = ["<b>$x_1$</b>", "a" * 60 + "-1", "a" * 60 + "-2", "\x1b[31mred", "tab\tand\nline", "back\\slash_{x}"]
RNG = np.random.default_rng(0)


@pytest.fixture
def closed():
    yield
    plt.close("all")


def similar(count, seed=0):
    rng = np.random.default_rng(seed)
    kinds = np.arange(count) % 3
    return made(cosines(rng.normal(size=(3, 8))[kinds] + 0.4 * rng.normal(size=(count, 8)))), kinds.tolist()


def told(ax):
    return [text.get_text() for text in ax.texts if text.get_text()]


def drawn(ax):
    """The names of an axis, upwards."""
    return [label.get_text() for label in ax.get_yticklabels()]


# --- Maps


def test_every_group_has_a_colour_and_a_marker_of_its_own():
    given, _ = similar(24)
    ax = hl.plot.embedding(given, groups=list(range(24)))
    looks = {(line.get_marker(), str(line.get_color())) for line in ax.lines}
    assert len(looks) == 24
    assert [text.get_text() for text in ax.get_legend().get_texts()] == list(map(str, range(24)))


def test_points_stand_where_the_map_has_them_and_carry_their_names():
    given, kinds = similar(6)
    found = hl.embed(given)
    ax = hl.plot.embedding(found, groups=kinds)
    points = np.concatenate([line.get_xydata() for line in ax.lines])
    expected = np.concatenate([found.position.values[np.array(kinds) == kind] for kind in (0, 1, 2)])
    np.testing.assert_allclose(points, expected)
    named = {text.get_text(): text.xy for text in ax.texts if text.get_text()}
    for name, place in zip(found.model.values, found.position.values, strict=True):
        np.testing.assert_allclose(named[str(name)], place)


def test_the_title_says_the_stress_and_whether_it_misleads():
    given, _ = similar(6)
    stress = hl.embed(given).attrs["stress"]
    assert hl.plot.embedding(given).get_title() == f"{CKA}\nclassical map, stress {stress:.2f}"
    assert hl.plot.embedding(of_groups(range(8))).get_title().endswith("(misleads)")
    ordered = hl.embed(given, 3, method="nonmetric")
    assert "non-metric map in 3 dimensions" in hl.plot.embedding(ordered).get_title()
    assert hl.plot.embedding(given, title="mine").get_title() == f"mine\nclassical map, stress {stress:.2f}"
    assert hl.plot.embedding(given, title="").get_title() == ""


def test_names_do_not_cover_each_other_more_than_they_must():
    given, kinds = similar(12)
    ax = hl.plot.embedding(given, groups=kinds)
    ax.figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in ax.texts if text.get_text()]
    areas = [
        max(0, min(a.x1, b.x1) - max(a.x0, b.x0)) * max(0, min(a.y1, b.y1) - max(a.y0, b.y0))
        for i, a in enumerate(boxes)
        for b in boxes[:i]
    ]
    assert sum(areas) < 0.05 * sum(box.width * box.height for box in boxes)


@pytest.mark.parametrize("count", [3, 8, 20])
def test_names_stay_within_the_frame(count, caplog):
    rng = np.random.default_rng(count)
    points = rng.normal(size=(count, 2)) * [3, 1]
    given = made(of_points(points), [f"network {k:05}" for k in range(count)], kind="distance", range="[0.0, null]")
    ax = hl.plot.embedding(given)
    ax.figure.draw_without_rendering()
    frame = ax.get_window_extent()
    boxes = [text.get_window_extent() for text in ax.texts if text.get_text()]
    assert min(box.x0 for box in boxes) >= frame.x0 - 1
    assert max(box.x1 for box in boxes) <= frame.x1 + 1
    assert min(box.y0 for box in boxes) >= frame.y0 - 1
    assert max(box.y1 for box in boxes) <= frame.y1 + 1
    assert not caplog.records  # matplotlib complains of limits that do not fit equal scales


def test_many_models_are_named_only_if_asked_and_one_component_is_a_line():
    given, _ = similar(41)
    assert told(hl.plot.embedding(given)) == []
    assert len(told(hl.plot.embedding(given, annotate=True))) == 41
    small, _ = similar(5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hl.DistortedMapWarning)
        ax = hl.plot.embedding(hl.embed(small, 1), annotate=False)
    assert told(ax) == []
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), 0)
    assert "map in 1 dimension, stress" in ax.get_title()


@pytest.mark.parametrize(("count", "written"), [(1, "1 dimension"), (2, "2 dimensions")])
def test_a_map_that_misleads_is_told_with_its_dimensions(count, written):
    with pytest.warns(hl.DistortedMapWarning, match=f"misleads: {written} cannot show"):
        hl.embed(of_groups(range(12)), count)


def test_a_start_that_all_names_share_is_written_once():
    names = [f"vit_base_patch16_{i}" for i in range(4)]
    ax = hl.plot.embedding(made(of_groups("aabb"), names))
    assert told(ax) == ["…0", "…1", "…2", "…3"]
    assert ax.get_xlabel().endswith("… stands for vit_base_patch16_")


def test_hostile_names_are_text():
    given = made(cosines(RNG.normal(size=(6, 4))), HOSTILE)
    groups = dict(zip(HOSTILE, ["$g$", "$g$", "<i>", "<i>", "\x07", "\x07"], strict=True))
    ax = hl.plot.embedding(given, groups=groups)
    tree = hl.plot.dendrogram(given, groups=groups)
    matrix = hl.plot.model_heatmap(given)
    for figure in (ax.figure, tree.figure, matrix):
        figure.draw_without_rendering()
    written = [*told(ax), *drawn(tree), *drawn(matrix.axes[0])]
    assert len(set(told(ax))) == len(set(drawn(tree))) == 6
    assert all(text.isprintable() for text in written)
    assert any(r"<b>\$x_1\$</b>" in text for text in written)


# --- Trees and matrices


def test_the_tree_has_the_leaves_in_order_and_the_merges_at_their_distances():
    given, kinds = similar(9)
    found = hl.cluster(given)
    ax = hl.plot.dendrogram(found, groups=kinds)
    assert drawn(ax) == [str(name) for name in found.leaf_order.values]
    heights = sorted(line.get_xdata().max() for line in ax.lines if len(line.get_xdata()) == 4)
    np.testing.assert_allclose(heights, np.sort(found.linkage.sel(part="height")))
    marks = {line.get_label(): line.get_ydata().tolist() for line in ax.lines if line.get_linestyle() == "None"}
    at = {str(kind): [drawn(ax).index(f"model {i}") for i in range(9) if kinds[i] == kind] for kind in range(3)}
    assert {kind: sorted(places) for kind, places in marks.items()} == {kind: sorted(at[kind]) for kind in at}
    assert "average linkage" in ax.get_xlabel()
    assert hl.plot.dendrogram(given).get_xlabel() == ax.get_xlabel()


def test_the_heatmap_stands_in_the_order_of_the_tree_above_it():
    given, _ = similar(9)
    figure = hl.plot.model_heatmap(given)
    ax = figure.axes[0]
    order = [int(name.split()[1]) for name in drawn(ax)]
    assert [name for name in drawn(ax)] == [str(name) for name in hl.cluster(given).leaf_order.values]
    assert [label.get_text() for label in ax.get_xticklabels()] == drawn(ax)
    (image,) = ax.findobj(AxesImage)
    np.testing.assert_allclose(image.get_array(), given[CKA].values[np.ix_(order, order)])
    assert image.get_clim() == (min(0, given[CKA].values.min()), 1)
    assert image.get_cmap().name == "magma"
    distances = hl.plot.model_heatmap(of_points(RNG.normal(size=(4, 2)))).axes[0].findobj(AxesImage)[0]
    assert distances.get_cmap().name == "magma_r"
    assert distances.get_clim()[0] == 0


@pytest.mark.parametrize("values", [np.ones((2, 2)), np.eye(2), of_groups("aab"), np.ones((5, 5))])
def test_two_models_and_equal_ones_are_drawn(values):
    for picture in (hl.plot.embedding, hl.plot.dendrogram, hl.plot.model_heatmap):
        found = picture(values)
        getattr(found, "figure", found).draw_without_rendering()


def test_asymmetry_is_said_by_pictures_too():
    values = of_groups("aabb")
    values[0, 1] += 0.1
    for picture in (hl.plot.embedding, hl.plot.dendrogram, hl.plot.model_heatmap):
        with pytest.warns(hl.AsymmetryWarning):
            picture(values)


# --- In words


def sentences(given):
    return "\n".join(hl.summary(given))


def test_the_summary_says_what_was_compared_and_which_pairs_are_most_and_least_alike():
    values = of_groups("aaabb", 0.7, 0.3)
    values[0, 1] = values[1, 0] = 0.95
    values[2, 4] = values[4, 2] = 0.1
    text = sentences(made(values, se=0.02))
    assert "5 models were compared over 500 examples by cka(estimator=debiased)" in text
    assert "10 pairs, one number for each by best_match" in text
    assert "Most alike are model 0 and model 1 (0.95 ± 0.02), least alike model 2 and model 4 (0.10 ± 0.02)" in text
    assert "Nothing in this result tests" in text
    assert "The two are model 0 and model 1 (0.70)." in sentences(made(of_groups("aa", 0.7)))
    assert "equally alike (0.30)" in sentences(made(of_groups("abcd")))


def test_of_distances_the_smallest_is_the_most_alike():
    values = of_points(np.array([[0.0], [1.0], [5.0]]))
    text = sentences(made(values, kind="distance", range="[0.0, null]"))
    assert "Most alike are model 0 and model 1 (1.00), least alike model 0 and model 2 (5.00)" in text
    assert pair_table(made(values, kind="distance", range="[0.0, null]"))[CKA].tolist() == [1, 4, 5]


def test_chance_is_told_where_it_was_asked_and_nothing_else_is_read_into_it():
    values = of_groups("aaaabbbb", 0.9, 0.1)
    p = np.where(values > 0.5, 0.001, 0.6)
    text = sentences(made(values, p=p, p_fdr=p, calibrated=np.where(values > 0.5, 0.8, 0)))
    assert "12 of 28 pairs are more alike than chance allows" in text
    assert "the calibrated score is 0 for 16 of them and at most 0.80" in text
    assert "They fall into 2 clusters" in text
    few = made(values, p=np.where(values > 0.5, 0.01, 0.6), p_fdr=np.where(values > 0.5, 0.02, 0.6))
    few.attrs["n_permutations"] = np.int32(99)
    assert "0 of 28 pairs are more alike" in sentences(few)
    assert "and 99 permutations are too few to decide it for 12." in sentences(few)
    nothing = sentences(made(values, p=0.4, p_fdr=0.6, calibrated=0))
    assert "0 of 28 pairs are more alike" in nothing
    assert "clusters (mean" not in nothing


def test_the_odd_one_is_named_where_it_stands_out_alone():
    names = ["a", "b", "c", "<odd>\x1b"]
    values = of_groups("aaab", 0.8, 0.5)
    assert r"<odd>\x1b is the odd one: its similarities to the others are 0.50, theirs 0.80." in sentences(
        made(values, names)
    )
    assert "odd one" not in sentences(made(of_groups("aab", 0.8, 0.1)))  # of three, any one may be
    assert "odd one" not in sentences(made(of_groups("aaab", 0.8, 0.78)))
    near = values.copy()
    near[3, 0] = near[0, 3] = 0.79
    assert "odd one" not in sentences(made(near))
    assert "odd one" not in sentences(made(of_groups("aaabbb", 0.8, 0.1)))
    apart = made(of_points(np.array([[0.0], [1], [2], [9]])), kind="distance", range="[0.0, null]")
    assert "model 3 is the odd one: its distances to the others are 7.00 to 9.00, theirs 1.00 to 2.00." in sentences(
        apart
    )


def test_clusters_are_named_where_they_are_clear():
    assert "2 clusters (mean silhouette 0.89): model 0, model 2, model 4; model 1, model 3, model 5." in sentences(
        made(of_groups("ababab", 0.9, 0.1))
    )
    assert "clusters (mean" not in sentences(made(cosines(np.random.default_rng(1).normal(size=(12, 30)))))


def test_silhouettes_are_those_of_scikit_learn():
    from sklearn.metrics import silhouette_score

    distances = of_points(RNG.normal(size=(12, 2)))
    groups = np.array([0, 1, 2, 2, 1, 0, 0, 1, 1, 0, 3, 1])
    assert silhouette(distances, groups) == pytest.approx(silhouette_score(distances, groups, metric="precomputed"))


def test_values_that_cannot_become_distances_are_still_told():
    given = made(3 * of_groups("aabb"), measure="hsic", range="[0.0, null]")
    assert "There is no map of these models: a similarity needs an upper end of 1" in sentences(given)
    assert "plot.embedding" not in sentences(given)  # which refuses it
    _, sections = sections_of(given)
    assert [section.heading for section in sections] == ["Pairs of models"]
    missing = made(np.where(of_groups("aabc") < 0.5, np.nan, of_groups("aabc")))
    assert "1 pair, one number" in sentences(missing)
    assert "got none for" in sentences(missing)


def test_the_summary_repeats_what_was_warned_of():
    values = of_groups("aabb")
    values[0, 1] += 0.1
    given = made(values)
    given.attrs["warnings"] = json.dumps([["LeftOutWarning", "a layer was left out."]])
    text = sentences(given)
    assert "Caution: a layer was left out." in text
    assert "Caution: the similarities are not symmetric" in text


def test_another_kind_of_result_is_refused():
    result = hl.compare(
        {name: {"layer": RNG.normal(size=(30, 3))} for name in "ab"}, measures="cka(estimator=debiased)"
    )
    for function in (model_similarity_lines, pair_table):
        with pytest.raises(ValueError, match=r"result of homolog.model_similarity, got one of homolog.compare"):
            function(result)


# --- The page


def test_the_page_has_a_section_for_each_picture_and_the_groups(tmp_path):
    given, kinds = similar(12)
    _, sections = sections_of(given, kinds)
    assert [section.heading for section in sections] == ["Models by models", "Map", "Tree", "Groups", "Pairs of models"]
    assert all(section.picture is not None for section in sections[:4])
    assert len(sections[4].table) == 66
    assert float(sections[3].table["p"].iloc[0]) == pytest.approx(hl.permanova(given, kinds).pvalue)
    assert sections[3].table["p"].iloc[2] == ""  # a mean has no p
    page = hl.report(given, tmp_path / "models.html", groups=kinds).read_text(encoding="utf-8")
    assert "pseudo-F" in page
    assert page.count("data:image/svg+xml") == 4
    assert "Next, to see which models are near each other" in str(hl.summary(given))
    assert "Next, " not in page[: page.index("Models by models</h2>")]


def test_the_page_says_what_is_wrong_with_groups_and_maps(tmp_path):
    hostile = made(of_groups(range(6)), ["<script>alert(1)</script>", *HOSTILE[:5]])
    page = hl.report(hostile, tmp_path / "models.html", groups=range(6)).read_text(encoding="utf-8")
    assert "The groups were not tested: groups must hold at least two models somewhere" in page
    with pytest.raises(ValueError, match="groups must have a label for every model"):
        hl.report(hostile, tmp_path / "models.html", groups={"another": 1})
    assert "The map misleads" in page
    assert "<script>alert" not in page


def test_the_table_of_pairs_has_what_is_known_of_each():
    given = made(of_groups("aab"), se=0.1, p=0.02, p_fdr=0.03, calibrated=0.4)
    table = pair_table(given)
    assert isinstance(table, pd.DataFrame)
    assert list(table.columns) == [
        "model",
        "other model",
        CKA,
        *(f"{CKA} {kind}" for kind in ("calibrated", "p", "p_fdr", "se")),
    ]
    assert table.iloc[0].tolist() == ["model 0", "model 1", 0.8, 0.4, 0.02, 0.03, 0.1]
    assert json.loads(given.attrs["measures"]) == [CKA]
    assert isinstance(given, xarray.Dataset)
