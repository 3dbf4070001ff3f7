"""What is read from results, by hand: ranks, paths that tie, means over models, levels from permutations."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest

import homolog as hl
from homolog.analysis.common_subspace import shared_rank
from homolog.analysis.corresponding_layers import monotone_path


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hl.HomologWarning)
        yield


def test_ranks_stand_beside_their_own_layers(rng):
    x, y = rng.normal(size=(2, 40, 5))
    a = {"two": x[:, :2], "five": np.hstack([x, x[:, :3] @ np.ones((3, 2))])}
    b = {"one": np.outer(y[:, 0], [1.0, 2.0, 3.0]), "four": y[:, :4], "none": np.ones((40, 2))}
    result = hl.compare(a, b, measures=("cca", "cka"))
    assert result.rank_a.values.tolist() == [2, 5]
    assert result.rank_b.values.tolist() == [1, 4, 0]
    assert result.features_a.values.tolist() == [2, 7]
    assert result.features_b.values.tolist() == [3, 4, 2]
    some = hl.compare(a, b, measures="cca", pairs=[("five", "four")])
    assert some.rank_a.values.tolist() == [-1, 5]
    assert some.rank_b.values.tolist() == [-1, 4, -1]


@pytest.mark.parametrize(
    ("matrix", "path"),
    [
        ([[1, 1], [0, 5]], [0, 1]),
        ([[1, 1, 1], [1, 1, 1]], [0, 0]),
        ([[0, 2, 2], [0, 0, 0], [0, 0, 9]], [1, 1, 2]),
        ([[3, 0, 3], [0, 1, 1]], [0, 1]),
        ([[0, 0, 1]], [2]),
    ],
)
def test_of_paths_that_tie_the_earliest_is_taken(matrix, path):
    assert monotone_path(np.array(matrix, dtype=float)).tolist() == path


@pytest.mark.parametrize(
    ("squares", "chance", "threshold", "rank"),
    [
        ([1, 1], 0.0, 0.5, 1),
        ([1, 1], 0.0, 0.51, 2),
        ([8, 1, 1], 0.0, 0.8, 1),
        ([8, 1, 1], 0.0, 0.9, 2),
        ([8, 1, 1], 0.0, 1.0, 3),
        ([8, 1, 1], 1.0, 1.0, 1),
        ([8, 1, 1], 3.0, 1.0, 0),
        ([4, 0, 0], 0.0, 1.0, 1),
    ],
)
def test_shared_rank_counts_what_makes_up_the_threshold(squares, chance, threshold, rank):
    """A singular value that is as large as by chance is not above it."""
    assert shared_rank(np.sqrt(np.array(squares, dtype=float)), chance, threshold) == rank


def jackknife(values):
    n = len(values)
    return np.sqrt((n - 1) / n * np.sum((values - np.mean(values)) ** 2))


def test_means_over_models_by_hand(rng):
    """Within one set of models every one is left out of all its pairs; between two sets each varies by itself."""
    models = {name: {"layer": rng.normal(size=(30, 3)) + i % 2} for i, name in enumerate("pqrst")}
    result = hl.compare(models, measures="cka")
    value = {(a, b): hl.between(result, a, b).cka.item() for a, b in itertools.permutations(models, 2)}

    def mean(first, second):
        return np.mean([value[a, b] for a in first for b in second if a != b])

    one = hl.mean_over_models(result, models_a=list("pqr"), models_b=list("pqr"))
    assert one.cka.item() == pytest.approx(mean("pqr", "pqr"))
    left = [mean(set("pqr") - {m}, set("pqr") - {m}) for m in "pqr"]
    assert one.cka_se.item() == pytest.approx(jackknife(left))
    two = hl.mean_over_models(result, models_a=list("pqr"), models_b=list("st"))
    assert two.cka.item() == pytest.approx(mean("pqr", "st"))
    errors = [
        jackknife([mean(set("pqr") - {m}, "st") for m in "pqr"]),
        jackknife([mean("pqr", set("st") - {m}) for m in "st"]),
    ]
    assert two.cka_se.item() == pytest.approx(np.hypot(*errors))
    alone = hl.mean_over_models(result, models_a=["p"], models_b=list("st"))
    assert alone.cka_se.item() == pytest.approx(jackknife([mean("p", set("st") - {m}) for m in "st"]))
    for first, second, why in (("pq", "pq", "takes three models, got 2"), ("p", "s", "takes two models on one side")):
        with pytest.warns(
            hl.FewModelsWarning, match=f"standard errors of the mean over models are NaN: .*{why}"
        ) as told:
            pair = hl.mean_over_models(result, models_a=list(first), models_b=list(second))
        assert len(told) == 1
        assert np.isnan(pair.cka_se.item())
        assert pair.cka.item() == pytest.approx(mean(first, second))
    assert (one.attrs["averaged_pairs"], two.attrs["averaged_pairs"]) == (6, 6)


@pytest.mark.parametrize("measure", ["rsa", "cka(estimator=debiased)", "bures_similarity", "soft_correlation_match"])
def test_the_level_of_permutations_leaves_out_the_order_as_it_is(measure, rng):
    x = rng.normal(size=(20, 3))
    y = x + 0.1 * rng.normal(size=(20, 3))
    alone = hl.permutation_test(x, y, measure, n_permutations=9, rng=5)
    found = hl.compare({"x": x}, {"y": y}, measures=measure, null="permutation", n_permutations=9, rng=5)
    assert len(alone.null) == 9
    assert alone.statistic == pytest.approx(float(hl.measure(measure)(x, y)))
    assert found[f"{measure}_null"].item() == pytest.approx(np.mean(alone.null), rel=1e-9)
    assert found[f"{measure}_p"].item() == pytest.approx(alone.pvalue)
    assert alone.pvalue == pytest.approx((1 + np.sum(np.asarray(alone.null) >= alone.statistic)) / 10)


def test_layers_equally_alike_share_one_decision():
    """Of k that are the most alike, the right one counts 1/k; one that is less alike than another counts nothing."""
    x = np.random.default_rng(0).normal(size=(50, 4))
    twins = {"one": x, "two": x.copy(), "three": x**2 + x[:, ::-1]}
    result = hl.compare(twins, dict(twins), measures="procrustes_distance")
    found = hl.layer_identification(result)
    assert found.accuracy.item() == pytest.approx((1 / 2 + 1 / 2 + 1) / 3)
    assert found.chance.item() == pytest.approx(1 / 3)


def test_correspondence_by_hand():
    """The best of each, whether it is the other's best too, one to one, and in order."""
    table = np.array([[0.9, 0.1, 0.2], [0.8, 0.3, 0.1]])
    a, b = ({f"{side}{i}": np.full((4, 1), i) + np.eye(4, 1, -3) for i in range(n)} for side, n in (("a", 2), ("b", 3)))
    for sign in (1, -1):  # the second time as a distance, of which the least is best
        kind = "similarity" if sign == 1 else "distance"
        result = hl.compare(a, b, measures={"mine": lambda x, y, sign=sign: sign * table[int(x[0, 0]), int(y[0, 0])]})
        result.mine.attrs["kind"] = kind
        found = hl.correspondence(result)
        assert found.best_b.values.tolist() == ["b0", "b0"]
        assert found.mutual_a.values.tolist() == [True, False]
        assert found.best_a.values.tolist() == ["a0", "a1", "a0"]
        assert found.mutual_b.values.tolist() == [True, False, False]
        np.testing.assert_array_equal(found.value_b, sign * np.array([0.9, 0.8]))
        np.testing.assert_array_equal(found.value_a, sign * np.array([0.9, 0.3, 0.2]))
        assert found.assigned_b.values.tolist() == ["b0", "b1"]
        assert found.assigned_a.values.tolist() == ["a0", "a1", ""]
        assert found.path_b.values.tolist() == ["b0", "b0"]
        assert found.path_a.values.tolist() == ["a0", "a1", "a1"]


@pytest.mark.parametrize(
    ("named", "known"),
    [
        (["pq", "qr", "pr"], True),
        (["pq", "qr", "pq"], False),  # the same two networks twice, or others of their names
        (["pq", "qr", "qp"], False),
        (["pq", "qr", "rr"], False),
    ],
)
def test_errors_need_networks_that_are_told_apart(named, known, rng):
    task = {f"layer {p}": rng.normal(size=(60, p)) for p in (2, 3, 4)}
    results = []
    for first, second in named:
        sides = [{name: x + 2 * rng.normal(size=x.shape) for name, x in task.items()} for _ in range(2)]
        results.append(hl.compare(*sides, measures=("cka", "cca")).assign_attrs(model_a=first, model_b=second))
    found = hl.layer_identification(results)
    assert np.isfinite(found.accuracy).all()
    assert np.isfinite(found.accuracy_se).all() == known
    assert np.isnan(found.accuracy_se).all() != known
