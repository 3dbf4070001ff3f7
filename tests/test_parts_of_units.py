"""Sums apart for parts of the units of a stream: the intervals of `compare` while units are few, the same however it is cut."""

from __future__ import annotations

import numpy as np
import pytest
import xarray

import homolog as hl
from homolog.inference.resampling import FOLDS
from homolog.states import folds
from homolog.states.folds import EVERY, Units, digests_of

MEASURES = ["cka", "cka(estimator=debiased)"]


def of_units(count, seed=0, first=0):
    """Rows of some units, of unequal sizes, most of whose variance is that of the unit."""
    rng = np.random.default_rng(seed)
    unit = np.repeat(np.arange(count), rng.integers(1, 6, size=count))
    shared = rng.normal(size=(count, 3))[unit]
    x, y = (shared @ rng.normal(size=(3, 4)) + rng.normal(size=(len(unit), 4)) for _ in range(2))
    return x, y, unit + first


def summed(x, y, unit, seed, batches=6, states=2):
    """Sums of the rows in some order, cut into batches that several states share, which are merged."""
    order = np.random.default_rng(seed).permutation(len(unit))
    found = [hl.Moments() for _ in range(states)]
    for number, rows in enumerate(np.array_split(order, batches)):
        found[number % states].update({"x": x[rows]}, {"y": y[rows]}, groups=unit[rows])
    for other in found[1:]:
        found[0].merge(other)
    return found[0]


@pytest.mark.parametrize("count", [5, 12, 37, FOLDS])
@pytest.mark.parametrize("first", [0, 10**6])
def test_each_of_few_units_is_left_out_by_itself_as_by_compare(count, first):
    x, y, unit = of_units(count, first=first)
    found = summed(x, y, unit, seed=1).finalise(MEASURES)
    told = hl.compare({"x": x}, {"y": y}, measures=MEASURES, interval=True, groups=unit)
    for name in MEASURES:
        np.testing.assert_allclose(found[f"{name}_se"], told[f"{name}_se"], rtol=1e-6)
    assert int(found.attrs["n_units"]) == int(told.attrs["n_units"]) == count


@pytest.mark.parametrize("count", [FOLDS + 1, 60, 400])
def test_many_units_are_as_many_parts_as_there_may_be_and_these_a_jackknife(count):
    x, y, unit = of_units(count)
    state = summed(x, y, unit, seed=2)
    parts = state.units.parts(digests_of(unit, len(unit)))
    kept = [parts != part for part in np.unique(parts)]
    assert len(kept) == FOLDS
    without = [hl.cka(x[rows], y[rows], estimator="debiased") for rows in kept]
    found = state.finalise(MEASURES[1])
    np.testing.assert_allclose(
        found["cka(estimator=debiased)_se"].item(), np.sqrt((FOLDS - 1) * np.var(without)), rtol=1e-6
    )
    assert int(found.attrs["n_units"]) == count


@pytest.mark.parametrize("count", [30, 51, 300])
def test_parts_follow_from_the_labels_however_a_stream_is_cut_and_merged(count):
    x, y, unit = of_units(count)
    states = [
        summed(x, y, unit, seed, batches, some) for seed, batches, some in ((0, 1, 1), (1, 9, 1), (2, 9, 4), (3, 8, 8))
    ]
    for state in states[1:]:
        assert state.units.bound == states[0].units.bound
        assert {part: fold.n for part, fold in state.folds.items()} == {
            part: fold.n for part, fold in states[0].folds.items()
        }
        np.testing.assert_allclose(state.finalise()["cka_se"], states[0].finalise()["cka_se"], rtol=1e-9)


def test_merging_leaves_the_other_state_as_it_was():
    x, y, unit = of_units(80)
    first, second = summed(x, y, unit, 0, states=1), hl.Moments()
    second.update({"x": x[:40]}, {"y": y[:40]}, groups=unit[:40])
    before = {part: fold.n for part, fold in second.folds.items()}
    first.merge(second)
    first.update({"x": x}, {"y": y}, groups=unit)
    assert {part: fold.n for part, fold in second.folds.items()} == before
    assert sum(fold.n for fold in first.folds.values()) == first.n == 2 * len(x) + 40


def test_one_label_is_one_unit_whatever_a_batch_holds_it_as():
    for kinds in (
        [np.array([3, 4]), np.array([3.0, 4.0]), np.array([3, 4], dtype=object), [np.int8(3), np.uint64(4)]],
        [np.array(["a", "b"]), np.array(["a", "b"], dtype=object), ["a", "b"], xarray.DataArray(["a", "b"])],
        [np.array([0.25, 1.5]), np.array([0.25, 1.5], dtype=np.float32)],
    ):
        first, *others = (digests_of(labels, 2) for labels in kinds)
        assert len(set(first.tolist())) == 2
        for other in others:
            np.testing.assert_array_equal(first, other)


def test_the_number_of_units_is_told_and_survives_a_file(tmp_path):
    x, y, unit = of_units(12)
    found = summed(x, y, unit, 0).finalise("cka")
    assert f"over {len(x)} rows of 12 independent examples or groups by" in str(hl.summary(found))
    found.to_netcdf(tmp_path / "a.nc")
    assert xarray.load_dataset(tmp_path / "a.nc").identical(found)


def test_rows_that_are_units_by_themselves_are_examples():
    x, y, _ = of_units(30)
    found = summed(x, y, np.arange(len(x)), 0).finalise()
    assert "n_units" not in found.attrs
    assert "cka_null" in found


def test_the_number_of_very_many_units_is_estimated_in_bounded_memory(monkeypatch):
    monkeypatch.setattr(folds, "COUNTED", 1000)
    units = Units()
    digests = digests_of(np.arange(20_000), 20_000)
    for some in np.array_split(digests, 7):
        units = units.joined(some, [])
    assert len(units.smallest) == 1000
    assert abs(units.count / 20_000 - 1) < 0.1  # 1/√1000 is 0.03


def test_too_few_units_are_counted():
    x, y, unit = of_units(4)
    with pytest.raises(ValueError, match="at least 5 independent units, got 4 for"):
        summed(x, y, unit, 0).finalise()


def test_greatest_numbers_lose_their_highest_bit_first():
    units = Units().joined(np.arange(FOLDS + 3, dtype=np.uint64), [])
    # 52, 51 and 50 join 20, 19 and 18.
    assert units.bound == FOLDS
    assert units.parts(np.array([52, 49, EVERY - 1], dtype=np.uint64)).tolist() == [20, 49, 31]
