"""States of a stream against formulas written out, and merges of whatever arrived where."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy.stats import t as student
from torch import nn

import homolog as hl
from homolog.states import minibatch, summed

DEBIASED = "cka(estimator=debiased)"


def term(x, y):
    """⟨Ã, B̃⟩ of one batch by the definition of U-centring."""

    def centred(gram):
        n = len(gram)
        gram = gram - np.diag(np.diag(gram))
        sums = gram.sum(axis=0)
        gram = gram - sums[:, None] / (n - 2) - sums[None, :] / (n - 2) + sums.sum() / ((n - 1) * (n - 2))
        return gram - np.diag(np.diag(gram))

    return float(np.sum(centred(x @ x.T) * centred(y @ y.T)))


def terms(x, y, batches):
    """The three terms of CKA of every batch, (3, batches)."""
    return np.array([[term(p[rows], q[rows]) for rows in batches] for p, q in ((x, y), (x, x), (y, y))])


def ratio(sums):
    return sums[0] / np.sqrt(sums[1] * sums[2])


def without_each(found):
    return np.array([ratio(np.delete(found, b, axis=1).sum(axis=1)) for b in range(found.shape[1])])


def freedom(values):
    squares = (values - values.mean()) ** 2
    return np.clip(len(values) * squares.mean() ** 2 / (np.mean(squares**2) - squares.mean() ** 2), 1, len(values) - 1)


def data(rng, n):
    x = rng.normal(size=(n, 3))
    return x, x[:, :2] + rng.normal(size=(n, 2))


def state_of(x, y, batches):
    state = hl.MinibatchHSIC()
    for rows in batches:
        state.update(x[rows], y[rows])
    return state


@pytest.mark.filterwarnings("ignore::homolog.HomologWarning")
@pytest.mark.parametrize("count", [2, 3, 7])
def test_the_interval_over_batches_is_students(rng, count):
    x, y = data(rng, 12 * count)
    batches = np.split(np.arange(12 * count), count)
    found = state_of(x, y, batches).finalise(level=0.8)
    parts = terms(x, y, batches)
    values = without_each(parts)
    error = np.sqrt((count - 1) / count * np.sum((values - values.mean()) ** 2))
    with np.errstate(divide="ignore"):
        reach = student.ppf(0.9, freedom(values) if count > 2 else 1) * error
    value = ratio(parts.sum(axis=1))
    assert found[f"{DEBIASED}_se"].item() == pytest.approx(error)
    assert found[f"{DEBIASED}_low"].item() == pytest.approx(max(value - reach, -1))
    assert found[f"{DEBIASED}_high"].item() == pytest.approx(min(value + reach, 1))


@pytest.mark.parametrize(("passes", "seed"), [(2, 0), (2, 1), (2, 6), (3, 0), (3, 5)])
def test_the_error_over_passes_by_formula(passes, seed):
    """The mean variance within a pass, less what the split into batches adds but for one of the passes."""
    rng = np.random.default_rng(seed)
    x, y = data(rng, 60)
    splits = [np.split(rng.permutation(60), 5) for _ in range(passes)]
    state = hl.MinibatchHSIC()
    for number, batches in enumerate(splits):
        if number:
            state.new_pass()
        for rows in batches:
            state.update(x[rows], y[rows])
    found = [terms(x, y, batches) for batches in splits]
    parts = [without_each(each) for each in found]
    one = np.mean([4 / 5 * np.sum((values - values.mean()) ** 2) for values in parts])
    between = np.var([ratio(each.sum(axis=1)) for each in found], ddof=1)
    result = state.finalise(level=0.8)
    error = result[f"{DEBIASED}_se"].item()
    assert error**2 == pytest.approx(max(one - (1 - 1 / passes) * between, one / passes))
    assert (error**2 > 1.01 * one / passes) == (seed != 6)  # where it would be below that of independent passes
    value = ratio(sum(each.sum(axis=1) for each in found))
    reach = student.ppf(0.9, np.mean([freedom(values) for values in parts])) * error
    assert result[f"{DEBIASED}_low"].item() == pytest.approx(value - reach)


def test_few_rows_merge_either_way_round(rng):
    """Two rows wait for a batch; it may come with another state, on either side of the merge."""
    x, y = data(rng, 102)
    long, short = [np.arange(50), np.arange(50, 100)], [np.arange(100, 102)]
    joined = [np.arange(50), np.arange(50, 102)]
    expected = ratio(terms(x, y, joined).sum(axis=1))
    for first, second in ((long, short), (short, long)):
        state = state_of(x, y, first)
        state.merge(state_of(x, y, second))
        found = state.finalise()
        assert found[DEBIASED].item() == pytest.approx(expected, rel=1e-10)
        assert (int(found.attrs["n_batches"]), int(found.attrs["n_examples"])) == (2, 102)
    # Rows that come later join the last batch, once.
    state = state_of(x[:101], y[:101], [np.arange(100, 101)])
    state.merge(state_of(x, y, long))
    state.update(x[101:], y[101:])
    assert state.finalise()[DEBIASED].item() == pytest.approx(expected, rel=1e-10)


def test_states_of_few_rows_merge_in_any_order(rng):
    sizes = (1, 2, 9, 3, 6)
    x, y = data(rng, sum(sizes))
    parts = np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1])
    for order in itertools.permutations(range(5)):
        state = hl.MinibatchHSIC()
        for place in order:
            state.merge(state_of(x, y, [parts[place]]))
        found = state.finalise()
        assert int(found.attrs["n_examples"]) == sum(sizes), order
        assert np.isfinite(found[DEBIASED].item())


@pytest.mark.parametrize("kind", [hl.Moments, hl.MinibatchHSIC])
def test_processes_with_few_rows_are_reduced(rng, kind, monkeypatch):
    """The first process has two rows of 102, the last none: all then hold the whole, under the titles that were given."""
    x, y = data(rng, 102)
    states = [kind() for _ in range(3)]
    states[0].update(x[100:], y[100:])
    states[1].update(x[:50], y[:50])
    states[1].update(x[50:100], y[50:100])
    states[1].titles = ("resnet", "vit")
    every = {"values": [], "sums": []}
    if kind is hl.Moments:
        states[0].merge(states[1])
        assert states[0].titles == ("resnet", "vit")
        assert states[0].finalise(DEBIASED)[DEBIASED].item() == pytest.approx(float(hl.cka(x, y, estimator="debiased")))
        return
    monkeypatch.setattr(minibatch, "of_all", lambda value, group: states)
    every["values"] = [pytest.approx(ratio(terms(x, y, [np.arange(50), np.arange(50, 102)]).sum(axis=1)))]
    for state in (states[2], states[0]):
        state.all_reduce()
        found = state.finalise()
        assert found[DEBIASED].item() == every["values"][0]
        assert found.attrs["model_a"] == "resnet"


def test_few_rows_of_another_pass_are_refused(rng):
    x, y = data(rng, 40)
    ahead = state_of(x, y, [np.arange(20), np.arange(20, 38)])
    ahead.new_pass()
    for first, second in ((ahead, state_of(x, y, [np.arange(38, 40)])), (state_of(x, y, [np.arange(38, 40)]), ahead)):
        with pytest.raises(ValueError, match="must be in the same pass over the data to join fewer than 4 rows"):
            first.merge(second)
    behind = state_of(x, y, [np.arange(20), np.arange(20, 40)])
    ahead.update(x[:20], y[:20])
    behind.merge(ahead)
    behind.update(x[20:22], y[20:22])  # which joins the last batch of the second pass, not of the first
    assert [(t.rows, t.part) for t in behind.terms] == [(20, 0), (20, 0), (20, 0), (18, 0), (22, 1)]


@pytest.mark.filterwarnings("ignore:no standard errors and no intervals:homolog.UndefinedValueWarning")
@pytest.mark.parametrize("kind", [hl.Moments, hl.MinibatchHSIC])
def test_titles_are_kept_whichever_state_has_them(rng, kind):
    x, y = data(rng, 20)
    for empty, own, other, expected in (
        (True, None, ("r", "v"), ("r", "v")),
        (False, None, ("r", "v"), ("r", "v")),
        (True, ("r", "v"), None, ("r", "v")),
        (False, ("r", "v"), ("s", "w"), ("r", "v")),
    ):
        states = kind(), kind()
        states[1].update(x, y)
        if not empty:
            states[0].update(x, y)
        for state, titles in zip(states, (own, other), strict=True):
            if titles:
                state.titles = titles
        states[0].merge(states[1])
        found = states[0].finalise(DEBIASED)
        assert (found.attrs["model_a"], found.attrs["model_b"]) == expected


@pytest.mark.parametrize("rest", [9.0, 1.0])
def test_a_column_that_is_constant_in_one_state_varies_in_the_whole(rng, rest):
    """It lies at 5 in the first state, and above or below it in the second: what never varied is known of both."""
    x = rng.normal(size=(24, 2))
    x[:, 1] = 5.0
    x[12:, 1] = rest + rng.uniform(size=12)
    first, second = hl.Moments(), hl.Moments()
    first.update(x[:12])
    second.update(x[12:])
    for one, other in ((first, second), (second, first)):
        whole = hl.Moments()
        whole.merge(one)
        whole.merge(other)
        found = whole.finalise(("semi_match", "cka"))
        assert found.semi_match.item() == pytest.approx(1)
        assert found.cka.item() == pytest.approx(1)


@pytest.mark.filterwarnings("ignore:no standard errors and no intervals:homolog.UndefinedValueWarning")
def test_a_last_batch_of_four_stands_alone():
    """Four rows are enough for the debiased term, three are not."""
    torch.manual_seed(0)
    model, rows = nn.Linear(5, 3), torch.randn(14, 5)
    for sizes, batches in (([10, 4], 2), ([11, 3], 1), ([4, 4, 4, 2], 3)):
        found = hl.compare_models(model, nn.Linear(5, 4), list(rows.split(sizes)))
        assert int(found.attrs["n_batches"]) == batches


@pytest.mark.filterwarnings("ignore::homolog.HomologWarning")
def test_moments_of_a_pair_meet_once_for_all_measures(monkeypatch, rng):
    """Of three pairs of two layers: overlaps and correlations; singular values of overlaps, and of those weighted."""
    names = ("cca", "pwcca", "procrustes_distance", "linear_regression", "cka", "hsic", "semi_match", "bipartite_match")
    state = hl.Moments()
    state.update({f"{p}": rng.normal(size=(80, p)) for p in (3, 5)})
    products, plain = [], summed.SummedRows.__matmul__
    monkeypatch.setattr(summed.SummedRows, "__matmul__", lambda x, y: products.append((x, y)) or plain(x, y))
    decomposed, svd = [], np.linalg.svd
    monkeypatch.setattr(np.linalg, "svd", lambda *given, **how: decomposed.append(given) or svd(*given, **how))
    found = state.finalise(measures=names)
    assert (len(products), len(decomposed)) == (6, 6)
    for name in names:
        np.testing.assert_array_equal(found[name], state.finalise(measures=name)[name])
