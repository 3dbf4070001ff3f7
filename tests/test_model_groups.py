"""Whether groups of models are told apart: PERMANOVA, the spread of groups, and what is said of them."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy
from similar_models import cosines, made, of_groups, of_points

import homolog as hl
from homolog.analysis.arrangements import arrangements, count_arrangements, count_namings
from homolog.reporting.model_similarity_sections import group_table

FROZEN = json.loads((Path(__file__).parent / "reference" / "model_groups.json").read_text(encoding="utf-8"))
RNG = np.random.default_rng(0)
HALF = [0, 0, 0, 0, 1, 1, 1, 1]


def points(labels, shift=0.0, wide=1.0, seed=0, width=6):
    """Points of groups, of which the second is shifted and the first is wider."""
    labels = np.asarray(labels)
    found = np.random.default_rng(seed).normal(size=(len(labels), width))
    found[labels == 0] *= wide
    found[labels == 1] += shift / np.sqrt(width)
    return found


def pseudo_f(distances, labels):
    """Anderson's F, pair by pair."""
    labels, n = list(labels), len(labels)
    pairs = list(itertools.combinations(range(n), 2))
    total = sum(distances[i, j] ** 2 for i, j in pairs) / n
    inside = sum(distances[i, j] ** 2 / labels.count(labels[i]) for i, j in pairs if labels[i] == labels[j])
    a = len(set(labels))
    return (total - inside) / (a - 1) / (inside / (n - a))


@pytest.mark.parametrize("case", FROZEN["permanova"])
def test_pseudo_f_of_an_independent_package(case):
    frozen = FROZEN["permanova"][case]
    distances = np.array(frozen["distances"])
    found = hl.permanova(distances, frozen["groups"])
    assert found.statistic == pytest.approx(frozen["pseudo_f"], rel=1e-10), FROZEN["oracle"]
    assert found.statistic == pytest.approx(pseudo_f(distances, frozen["groups"]), rel=1e-10)
    if "permdisp_f" in frozen:
        assert found.dispersion_statistic == pytest.approx(frozen["permdisp_f"], rel=1e-8), FROZEN["oracle"]


def test_p_counts_every_arrangement_once_where_they_are_few():
    distances = of_points(points(HALF, shift=1))
    found = hl.permanova(distances, HALF)
    every = [
        pseudo_f(distances, [int(i in chosen) for i in range(8)]) for chosen in itertools.combinations(range(8), 4)
    ]
    assert (found.n_arrangements, found.exact) == (70, True)
    assert found.pvalue == pytest.approx(np.mean(np.array(every) >= found.statistic * (1 - 1e-12)))
    assert sorted(found.null) == pytest.approx(sorted(every))
    assert found.null[0] == found.statistic
    assert found.r2 == pytest.approx(1 - 1 / (1 + found.statistic / 6))


def test_similarity_within_and_between_groups_and_their_p():
    values = cosines(points(HALF, shift=2, width=3) + 0.3)
    found = hl.permanova(values, HALF)
    upper = np.triu_indices(8, 1)

    def apart(labels):
        same = np.equal.outer(labels, labels)[upper]
        return values[upper][same].mean() - values[upper][~same].mean()

    every = [apart(np.isin(np.arange(8), chosen)) for chosen in itertools.combinations(range(8), 4)]
    assert found.difference == pytest.approx(found.within - found.between) == pytest.approx(apart(np.array(HALF)))
    assert found.difference_pvalue == pytest.approx(np.mean(np.array(every) >= found.difference - 1e-12))


def test_distances_are_more_alike_where_they_are_smaller():
    distances = of_points(points(HALF, shift=6))
    found = hl.permanova(distances, HALF)
    assert found.kind == "distance"
    assert found.within < found.between
    assert found.difference == pytest.approx(found.between - found.within)
    assert found.difference_pvalue == pytest.approx(2 / 70)


def test_groups_that_are_planted_are_found():
    labels = [0] * 3 + [1] * 9
    assert hl.permanova(of_points(points(labels, shift=5)), labels).pvalue < 0.01
    assert hl.permanova(of_groups("aaaabbbb"), list("aaaabbbb")).pvalue == pytest.approx(2 / 70)


def test_groups_are_a_mapping_a_series_or_in_order():
    names = [f"model {i}" for i in range(8)]
    given = made(cosines(points(HALF)), names)
    labels = dict(zip(names, HALF, strict=True))
    expected = hl.permanova(given, HALF)
    shuffled = dict(reversed(labels.items())) | {"another model": 2}
    for groups in (labels, shuffled, pd.Series(labels), pd.Series(HALF), np.array(HALF), tuple(HALF)):
        assert hl.permanova(given, groups) == expected
    assert expected.sizes == {"0": 4, "1": 4}


@pytest.mark.parametrize(
    ("groups", "sentence"),
    [
        ({"model 0": 1}, "got none for 'model 1', 'model 2'"),
        ([0, 1], "each of the 8 models, got 2"),
        ([None, *HALF[1:]], "got none for 'model 0'"),
        ([float("nan"), *HALF[1:]], "got none for 'model 0'"),
        ([0] * 8, "at least two, got '0' alone"),
        (range(8), "every model in a group of its own"),
    ],
)
def test_what_are_no_groups_is_refused(groups, sentence):
    with pytest.raises(ValueError, match=sentence):
        hl.permanova(made(cosines(points(HALF))), groups)


def test_text_is_no_sequence_of_labels_and_equal_models_cannot_be_tested():
    with pytest.raises(TypeError, match="a mapping of models to labels, got a str"):
        hl.permanova(np.eye(3), "abc")
    with pytest.raises(ValueError, match="all equal"):
        hl.permanova(np.ones((4, 4)), [0, 0, 1, 1])
    with pytest.raises(ValueError, match="positive whole number"):
        hl.permanova(np.eye(4), [0, 0, 1, 1], n_permutations=0)


@pytest.mark.parametrize(("sizes", "smallest"), [((2, 2), 1 / 3), ((3, 3), 0.1), ((1, 2), 1 / 3), ((2, 2, 2), 1 / 15)])
def test_the_smallest_p_that_so_few_models_allow_is_told(sizes, smallest):
    labels = np.repeat(range(len(sizes)), sizes)
    with pytest.warns(
        hl.FewModelsWarning, match="can show no difference of groups: p = .* is the smallest that groups of"
    ):
        found = hl.permanova(of_groups(labels), labels)
    assert found.smallest_pvalue == pytest.approx(smallest)
    assert found.pvalue == pytest.approx(smallest)
    assert f"So nothing can be shown, whatever the models are: p = {smallest:.2g} is the smallest" in str(found)


def test_the_verdict_is_told_in_words_with_what_would_be_enough():
    with pytest.warns(hl.FewModelsWarning, match="groups of 3 and 3 models can reach; groups of 4 and 4 reach 0.029"):
        found = hl.permanova(of_groups("aaabbb"), list("aaabbb"))
    assert "groups of 4 and 4 reach 0.029" in str(found)
    with pytest.warns(hl.FewModelsWarning, match="within these blocks; take more models in each block"):
        hl.permanova(of_points(points([0, 0, 1, 1])), list("aabb"), within=list("xyxy"))
    assert "So the groups differ (at" in str(hl.permanova(of_groups(HALF), HALF))
    assert "So these models do not show that the groups differ" in str(hl.permanova(of_points(points(HALF)), HALF))


@pytest.mark.parametrize("copy", [1.0, 1 - 1e-7])
def test_copies_are_no_models_of_their_own(copy):
    values = of_groups("aaaabbbb", within=0.8)
    values[0, 1] = values[1, 0] = copy
    with pytest.warns(
        hl.FewModelsWarning, match="equal by these values: 0 and 1; copies of one network are not independ"
    ):
        hl.permanova(values, list("aaaabbbb"))
    with pytest.warns(hl.FewModelsWarning, match="0 and 1; copies"):
        hl.permanova(1 - values, list("aaaabbbb"))


@pytest.mark.parametrize("similarity", [True, False])
def test_copies_are_told_wherever_the_test_is_read(similarity, tmp_path):
    values = of_groups("aaaabbbb", within=1 - 5e-6)  # of the same networks in another precision
    with pytest.warns(hl.FewModelsWarning, match="0, 1, 2 and 3; 4, 5, 6 and 7; copies"):
        found = hl.permanova(values if similarity else np.sqrt(2 * (1 - values)), list("aaaabbbb"))
    assert found.copies == (("0", "1", "2", "3"), ("4", "5", "6", "7"))
    assert "Equal by these values: 0, 1, 2 and 3; 4, 5, 6 and 7; copies" in str(found)
    assert str(found).endswith("So these p-values show nothing: test again with one of each set of equal models.")
    assert "groups differ" not in str(found)
    assert hl.plot.permanova(found).get_suptitle().endswith("no valid p: copies")
    page = tmp_path / "page.html"
    hl.report(made(values), page, groups=list("aaaabbbb"))
    assert "So these p-values show nothing" in page.read_text(encoding="utf-8")
    assert group_table(found)["p"].tolist() == ["not valid", "not valid", "", "", "not valid", "not valid", ""]
    assert hl.permanova(of_groups("aaaabbbb"), list("aaaabbbb")).copies == ()


def test_the_share_of_the_spread_stands_beside_that_of_chance():
    labels = np.repeat(range(2), 5)
    found = hl.permanova(of_points(points(labels)), labels, n_permutations=9999)
    assert "where labels in another order hold 11 % on average" in str(found)
    inside = 1 / (1 + found.null * (2 - 1) / (10 - 2))
    assert np.mean(1 - inside) == pytest.approx(1 / 9)
    # Means that are nothing but rounding, and shares that are less than the whole, are not written as something else.
    close = of_groups("aaaabbbb", within=0.999, between=-3e-17)
    told = str(hl.permanova(close, list("aaaabbbb")))
    assert "and 0 between them" in told
    assert "hold 100" not in told


def test_one_permutation_is_one():
    with pytest.warns(hl.FewModelsWarning, match="1 permutation can reach"):
        found = hl.permanova(of_groups(HALF), HALF, n_permutations=1)
    assert "by 1 random arrangement of the labels" in str(found)


def test_few_permutations_are_a_limit_too():
    with pytest.warns(hl.FewModelsWarning, match="9 permutations can reach; take more"):
        found = hl.permanova(of_groups(HALF), HALF, n_permutations=9)
    assert (found.n_arrangements, found.exact, found.smallest_pvalue) == (10, False, 0.1)
    assert "9 random arrangements" in str(found)


def test_labels_change_places_within_blocks_alone():
    blocks, labels = list("xxxyyyxxxyyy"), [0, 0, 1, 0, 0, 1, 0, 1, 1, 0, 1, 1]
    values = of_points(points(labels, shift=3))
    found = hl.permanova(values, labels, within=blocks)
    assert (found.n_arrangements, found.exact) == (400, True)
    assert found.smallest_pvalue == pytest.approx(2 / 400)
    # All that differs is between blocks: nothing is left within them.
    with pytest.raises(ValueError, match="blocks of one group each"):
        hl.permanova(values, labels, within=labels)
    # A large difference of blocks does not make one of labels.
    apart = values + 10 * (np.array(blocks)[:, None] != np.array(blocks))
    assert hl.permanova(apart, labels, within=blocks).pvalue == pytest.approx(found.pvalue, abs=0.2)


def test_equal_models_within_groups_are_infinitely_apart():
    with pytest.warns(hl.FewModelsWarning, match="copies"):
        found = hl.permanova(of_groups("aaaabbbb", within=1.0), list("aaaabbbb"))
    assert found.statistic == float("inf")
    assert (found.r2, found.pvalue) == (1, pytest.approx(2 / 70))


def test_unequal_width_is_told_and_unknown_of_pairs():
    labels = [0] * 6 + [1] * 6
    wide = hl.permanova(of_points(points(labels, wide=5)), labels)
    assert wide.dispersion_pvalue < 0.05
    assert "not equally wide" in str(wide)
    alike = hl.permanova(of_points(points(labels, seed=1)), labels)
    assert alike.dispersion_pvalue > 0.05
    assert "nothing is seen here" in str(alike)
    with pytest.warns(hl.FewModelsWarning):
        few = hl.permanova(of_points(points([0, 0, 1, 1])), [0, 0, 1, 1])
    assert np.isnan(few.dispersion_pvalue)
    assert "too small to show" in str(few)


def test_a_place_apart_is_no_width():
    labels = [0] * 6 + [1] * 6
    far = hl.permanova(of_points(points(labels, shift=40)), labels)
    near = hl.permanova(of_points(points(labels)), labels)
    assert far.dispersion_statistic == pytest.approx(near.dispersion_statistic)
    assert far.dispersion_pvalue == pytest.approx(near.dispersion_pvalue, abs=0.05)


def test_a_test_is_shown_as_sentences_and_as_a_table():
    names = ["<b>", "\x1b[31m"]
    found = hl.permanova(of_groups("aaaabbbb"), [names[label] for label in HALF])
    assert "\x1b" not in str(found)
    page = found._repr_html_()
    assert "<b>" not in page
    assert "pvalue" in page
    assert "null" not in page
    assert str(found).count("\n") == 4


def test_arrangements_are_all_there_are_or_random():
    labels, blocks = np.array([0, 0, 1, 1, 2]), np.array([0, 0, 0, 1, 1])
    every, exact = arrangements(labels, blocks, 99, np.random.default_rng(0))
    assert exact
    assert len(every) == count_arrangements(labels, blocks) == 6
    assert len(np.unique(every, axis=0)) == 6
    np.testing.assert_array_equal(every[0], labels)
    for order in every:
        assert sorted(order[:3]) == [0, 0, 1]
    some, exact = arrangements(labels, blocks, 4, np.random.default_rng(0))
    assert (len(some), exact) == (5, False)
    assert count_namings(np.array([0, 0, 1, 1, 2, 2]), np.zeros(6)) == 6
    assert count_namings(np.array([0, 1, 1, 0]), np.array([0, 0, 0, 1])) == 1


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [(5, 5), (3, 9), (3, 4, 8), (1, 5, 6)])
def test_size_is_what_was_asked_for(sizes):
    labels = np.repeat(range(len(sizes)), sizes)
    tests = [
        hl.permanova(of_points(points(0 * labels + 2, seed=seed)), labels, n_permutations=199, rng=seed)
        for seed in range(500)
    ]
    # 95 % of the draws of 500 tests of size at most 0.05 lie below 35; each arrangement of (5, 5) has a twin.
    low, high = scipy.stats.binom.ppf([0.005, 0.995], 500, 0.05)
    for name in ("pvalue", "difference_pvalue"):
        rejected = sum(getattr(found, name) <= 0.05 for found in tests)
        assert low <= rejected <= high, (name, rejected)
