"""Corners of the numeric core: the end of a mantissa, exact zeros, ties, directions that are none, numbers beyond float64."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist
from scipy.stats import spearmanr

import homolog as hl
from homolog.engine import measure_groups as budget
from homolog.measures.evaluation import prepared

pytestmark = pytest.mark.filterwarnings("ignore::homolog.NullLevelWarning")


@pytest.fixture
def pair(rng):
    x = rng.normal(size=(40, 5))
    return x, x[:, :3] + 0.5 * rng.normal(size=(40, 3))


def compared(x, y, form, **options):
    return hl.compare(x, y, measures=form, progress=False, **options)[str(hl.measure(form))].item()


@pytest.mark.parametrize(("dtype", "end", "n"), [("float64", 2.0**44, 60), ("float32", 2.0**24, 1100)])
@pytest.mark.parametrize("form", ["cka", "cca", "semi_match"])
def test_an_offset_at_the_end_of_the_mantissa(form, dtype, end, n, rng):
    """The mean is rounded to a number that the values cannot be: what it leaves must go too."""
    bits = rng.random(size=(n, 3)) < [0.2, 0.3, 0.1]
    y = (bits @ rng.normal(size=(3, 4)) + rng.normal(size=(n, 4))).astype(dtype)
    expected = float(hl.measure(form)(2.0 * bits, y.astype(float)))
    x = (end + 2.0 * bits).astype(dtype)
    assert set(np.unique(x - x.dtype.type(end))) == {0, 2}
    assert compared(x, y, form) == pytest.approx(expected, abs=1e-6)
    assert float(hl.measure(form)(x, y)) == pytest.approx(expected, abs=1e-6 if dtype == "float32" else 1e-9)


def test_pwcca_of_an_exact_zero_correlation():
    """Columns of a Hadamard matrix: correlations 0.6 and 0, and x has a third direction, orthogonal to y.

    α of (h₁) is 4, and of the best of the two directions that y does not see, of singular values 3 and 2, it is 3.
    """
    h = np.array([[1.0]])
    for _ in range(3):
        h = np.block([[h, h], [h, -h]])
    x = h[:, [1, 2, 3]] * [4.0, 2.0, 3.0]
    y = np.column_stack([0.6 * h[:, 1] + 0.8 * h[:, 4], h[:, 5]])
    expected = 0.6 * 4 / (4 + 3)
    assert float(hl.pwcca(x, y)) == pytest.approx(expected, abs=1e-12)
    assert compared(x, y, "pwcca") == pytest.approx(expected, abs=1e-12)
    assert float(hl.pwcca(torch.tensor(x), torch.tensor(y))) == pytest.approx(expected, abs=1e-12)


def test_a_tie_with_the_first_that_is_left_out_is_told():
    """Of the five rows the first alone has two nearest ones; only one of them is kept."""
    x = np.array([[1, 0], [1, 0.1], [1, -0.1], [0, 1], [-1, 0.5]])
    first = prepared(hl.measure("mutual_knn(k=1)"), x)
    assert first.tied == pytest.approx(0.2)
    assert first.nearest.shape == (5, 1)
    y = np.random.default_rng(0).normal(size=(5, 3))
    with pytest.warns(hl.TiesWarning, match="^x: for more than a twentieth"):
        hl.mutual_knn(x, y, k=1)


def test_float32_of_many_examples_is_held_as_float32(rng):
    wide, few = (rng.normal(size=(n, 500)).astype("float32") for n in (1100, 900))
    held = [hl.plan(x, measures="cka", memory="1GiB").bytes for x in (wide, wide.astype(float), few, few.astype(float))]
    assert held[1] > 1.5 * held[0]  # all but what the pairs share
    assert held[3] == held[2]


@pytest.mark.parametrize("form", ["cka", "rsa", "mutual_knn", "maximum_match", "hsic(kernel=rbf)"])
def test_a_bad_row_of_a_file_that_is_loaded_is_named(form, tmp_path, rng):
    x = rng.normal(size=(50, 4))
    x[32, 2] = np.nan
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    hl.save({"x": x}, tmp_path / "x.zarr")
    for source in ({"x": mapped}, tmp_path / "x.zarr"):
        with pytest.raises(ValueError, match="layer 'x' of a must be finite, got NaN or infinity first in row 32"):
            hl.compare(source, measures=form, progress=False)


LONG = {"signed": (np.int64, 2**53 + 1), "far": (np.int64, -(2**62) - 3), "unsigned": (np.uint64, 2**63 + 2**62 + 1)}


@pytest.mark.parametrize("kind", LONG)
@pytest.mark.parametrize(
    "form", ["cka", "cka(kernel=rbf)", "cca", "semi_match", "rsa(dissimilarity=euclidean)", "uniformity_difference"]
)
def test_long_integers_keep_their_differences(form, kind, pair, rng, tmp_path):
    dtype, offset = LONG[kind]
    small = rng.integers(0, 30, size=(40, 4))
    _, y = pair
    x = np.array([[offset + int(value) for value in row] for row in small], dtype=dtype)
    expected = float(hl.measure(form)(small.astype(float), y))
    hl.save({"x": x}, tmp_path / "x.zarr")
    assert float(hl.measure(form)(x, y)) == pytest.approx(expected, abs=1e-12)
    assert compared(x, y, form) == pytest.approx(expected, abs=1e-12)
    assert compared(tmp_path / "x.zarr", y, form) == pytest.approx(expected, abs=1e-12)
    if dtype == np.int64:
        assert float(hl.measure(form)(torch.tensor(x), torch.tensor(y))) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("form", ["cka", "cca", "semi_match"])
def test_long_integers_keep_their_differences_on_disk(form, pair, rng, tmp_path, monkeypatch):
    monkeypatch.setattr(budget, "_to_load", lambda *_: 1 << 60)
    small = rng.integers(0, 30, size=(40, 4))
    hl.save({"x": small + 2**60}, tmp_path / "x.zarr")
    assert "from disk" in str(hl.plan(tmp_path / "x.zarr", pair[1], measures=form))
    assert compared(tmp_path / "x.zarr", pair[1], form) == pytest.approx(
        float(hl.measure(form)(small, pair[1])), abs=1e-12
    )


@pytest.mark.parametrize("form", ["rsa", "mutual_knn", "magnitude_difference", "maximum_match"])
def test_what_an_offset_changes_is_refused_where_float64_cannot_hold_it(form, pair, rng):
    x = rng.integers(0, 30, size=(40, 4)) + 2**60
    for call in (lambda: hl.measure(form)(x, pair[1]), lambda: hl.compare({"x": x}, pair[1], measures=form)):
        with pytest.raises(ValueError, match=r"must hold integers whose differences float64 can tell .* got column 0"):
            call()
    spread = rng.integers(-(2**62), 2**62, size=(40, 4))
    assert float(hl.measure(form)(spread, pair[1])) == float(hl.measure(form)(spread.astype(float), pair[1]))


def test_integers_may_differ_by_more_than_their_own_range(pair):
    """The difference of the ends of int64 is no int64."""
    places = np.random.default_rng(0).integers(3, size=(40, 2))
    places[0] = 1  # the first row is neither the least nor the largest
    expected = float(hl.cka(places, pair[1]))
    for dtype, low, high in ((np.int64, -(2**63), 2**61), (np.uint64, 2, 2**64 - 1)):
        x = np.array([low, (low + high) // 2, high], dtype=dtype)[places]
        assert float(hl.cka(x, pair[1])) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("estimator", ["biased", "debiased"])
def test_a_wide_rbf_kernel_is_the_linear_one(estimator, pair, tmp_path, monkeypatch):
    """exp(−t) = 1 − t + t²/2: centring leaves −t, which is 2 xᵀy but for what centring removes."""
    x, y = pair
    limit = float(hl.cka(x, y, estimator=estimator))
    for name, side in (("x", x), ("y", y)):
        hl.save({name: side}, tmp_path / f"{name}.zarr")
    for fraction in (1e4, 1e8, 1e12, 1e100, 1e300):
        form = hl.measure("cka", kernel="rbf", median_fraction=fraction, estimator=estimator)
        near = max(1e-7 * (1e4 / fraction) ** 2, 1e-12) if fraction > 1e4 else 1e-7
        assert float(form(x, y)) == pytest.approx(limit, abs=near)
        assert float(form(torch.tensor(x), torch.tensor(y))) == pytest.approx(limit, abs=near)
        assert compared(x, y, form) == pytest.approx(limit, abs=near)
        with monkeypatch.context() as patched:
            patched.setattr(budget, "_to_load", lambda *_: 1 << 60)
            stored = compared(tmp_path / "x.zarr", tmp_path / "y.zarr", form)
        assert stored == pytest.approx(limit, abs=near)


def test_hsic_of_a_wide_kernel_keeps_its_units(pair):
    """For a wide kernel HSIC falls with the fourth power of the fraction: 1/(2σ²) of each side."""
    x, y = pair
    values = [float(hl.hsic(x, y, kernel="rbf", median_fraction=f)) * f**4 for f in (1e3, 1e4, 1e8)]
    assert values[0] == pytest.approx(values[2], rel=1e-5)
    assert values[1] == pytest.approx(values[2], rel=1e-7)
    assert float(hl.hsic(x, y, kernel="rbf", median_fraction=10.0)) == pytest.approx(
        float(hl.hsic(x, y, kernel="rbf", median_fraction=10.0 + 1e-9)), rel=1e-8
    )


def test_a_narrow_rbf_kernel_is_the_identity(pair):
    for fraction in (1e-9, 1e-200):
        assert float(hl.cka(*pair, kernel="rbf", median_fraction=fraction)) == pytest.approx(1, abs=1e-12)


DIRECTIONS = [
    ("rsa(dissimilarity=cosine)", 0.0, "are 0 in all features"),
    ("rsa(dissimilarity=cosine,comparison=pearson)", 0.0, "are 0 in all features"),
    ("rsa", 3.0, "have all features equal"),
    ("mutual_knn(k=3)", 0.0, "are 0 in all features"),
    ("cknna(k=3)", 0.0, "are 0 in all features"),
    ("concentricity_difference", 0.0, "are 0 in all features"),
]


@pytest.mark.filterwarnings("ignore::homolog.TiesWarning")
@pytest.mark.parametrize("library", [np.asarray, torch.tensor], ids=["numpy", "torch"])
@pytest.mark.parametrize(("form", "constant", "what"), DIRECTIONS)
def test_examples_without_direction_are_told(form, constant, what, library, pair, tmp_path):
    x, y = (side.copy() for side in pair)
    x[[3, 7]] = constant
    with pytest.warns(hl.NoDirectionWarning, match=rf"some examples {what}.*: x \(2\); ") as caught:
        hl.measure(form)(library(x), library(y))
    assert sum(warning.category is hl.NoDirectionWarning for warning in caught) == 1
    with pytest.warns(hl.NoDirectionWarning, match=r": a: x \(2\); "):
        result = hl.compare({"x": library(x)}, {"y": library(y)}, measures=form)
    assert "NoDirectionWarning" in result.attrs["warnings"]
    hl.save({"x": x}, tmp_path / "x.zarr")
    with pytest.warns(hl.NoDirectionWarning, match=r": a: x \(2\); "):
        hl.compare(tmp_path / "x.zarr", {"y": y}, measures=form)
    with warnings.catch_warnings():
        warnings.simplefilter("error", hl.NoDirectionWarning)
        hl.measure(form)(library(pair[0]), library(pair[1]))
        hl.rsa(library(x), library(y), dissimilarity="euclidean")


def test_two_zero_rows_are_at_a_right_angle():
    """The dissimilarity 1 that is told of: six pairs, of which one is of two parallel rows."""
    x = np.array([[0.0, 0.0], [0.0, 0.0], [1.0, 0.0], [2.0, 0.0]])
    y = np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0], [1.0, 1.0]])
    with pytest.warns(hl.NoDirectionWarning, match=r"x \(2\)"):
        value = float(hl.rsa(x, y, dissimilarity="cosine", comparison="pearson"))
    d = [1, 1, 1, 1, 1, 0]
    e = [1, 1 - 0.5**0.5, 1 - 0.5**0.5, 1 - 0.5**0.5, 1 - 0.5**0.5, 0]
    assert value == pytest.approx(np.corrcoef(d, e)[0, 1], abs=1e-12)


def tied_at_the_cut():
    return np.eye(12)[np.arange(36) % 12]


def test_svcca_tells_where_it_cuts_through_a_tie(rng, tmp_path, monkeypatch):
    x, y = tied_at_the_cut(), rng.normal(size=(36, 3))
    with pytest.warns(hl.TiesWarning, match=r"^x: threshold=0\.5 keeps some of several principal components"):
        first = float(hl.svcca(x, y, threshold=0.5))
    with pytest.warns(hl.TiesWarning):
        second = float(hl.svcca(x[:, ::-1], y, threshold=0.5))
    assert abs(first - second) > 1e-3  # which is why it is told
    with pytest.warns(hl.TiesWarning, match="^a: x: threshold"):
        hl.compare({"x": x}, {"y": y}, measures="svcca(threshold=0.5)")
    monkeypatch.setattr(budget, "_to_load", lambda *_: 1 << 60)
    for name, side in (("x", x), ("y", y)):
        hl.save({name: side}, tmp_path / f"{name}.zarr")
    with pytest.warns(hl.TiesWarning, match="^a: x: threshold"):
        hl.compare(tmp_path / "x.zarr", tmp_path / "y.zarr", measures="svcca(threshold=0.5)")
    with warnings.catch_warnings():
        warnings.simplefilter("error", hl.TiesWarning)
        hl.svcca(x, y, threshold=1.0)  # keeps all of them
        hl.svcca(y, y @ rng.normal(size=(3, 3)), threshold=0.9)
        hl.cca(x, y)


def test_near_rows_keep_their_order(rng):
    """Distances a million times smaller than others, of which products of rows would leave nothing but rounding."""
    far = np.repeat(rng.integers(-(2**38), 2**38, size=(4, 3)) * 2.0**-30, 8, axis=0)
    x = far + rng.permutation(32)[:, None] * [2.0**-13, 0, 0]  # 32 rows of 40 bits: centring rounds nothing, squares do
    y = rng.normal(size=(32, 4))
    expected = spearmanr(pdist(x), pdist(y)).statistic
    for library in (np.asarray, torch.tensor):
        given = library(x), library(y)
        assert float(hl.rsa(*given, dissimilarity="euclidean")) == pytest.approx(expected, abs=1e-12)
        assert compared(*given, "rsa(dissimilarity=euclidean)") == pytest.approx(expected, abs=1e-12)


NEAR = [
    *(f"angular_shape_distance(alpha={alpha})" for alpha in (1.0, 0.5, 0.0)),
    "procrustes_distance",
    "gulp_distance",
    "permutation_procrustes_distance",
    "soft_matching_distance",
]


@pytest.mark.parametrize("form", NEAR)
@pytest.mark.parametrize("library", [np.asarray, torch.tensor], ids=["numpy", "torch"])
def test_a_distance_of_the_same_is_exactly_0_both_ways(form, library, rng):
    """A root, or an arc cosine, of what rounding leaves is 1e-8, and another one with the arguments swapped."""
    balanced = np.eye(5)[rng.permutation(np.arange(60) % 5)]
    uneven = np.eye(4)[rng.integers(0, 4, size=60)]
    for x in (balanced, uneven, rng.normal(size=(60, 7)), rng.normal(size=(60, 1)) + 100):
        moved = x[:, rng.permutation(x.shape[1])] * 3
        for a, b in ((x, x.copy()), (x, moved), (moved, x)):
            assert float(hl.measure(form)(library(a), library(b))) == 0
            assert compared(a, b, form) == 0


@pytest.mark.parametrize("form", ["angular_shape_distance", "procrustes_distance"])
def test_small_angles_are_what_they_are(form, rng):
    """Between two single features the angle is known; below 1e-7 it is given as 0."""
    first, second = np.linalg.qr(rng.normal(size=(50, 2)) - rng.normal(size=(50, 2)).mean(axis=0))[0].T
    first = first - first.mean()
    first /= np.linalg.norm(first)
    second = second - second.mean()
    second -= first * (first @ second)
    second /= np.linalg.norm(second)
    for angle in (0.1, 1e-3, 1e-5, 1e-6, 3e-7, 1e-9, 0):
        turned = np.cos(angle) * first + np.sin(angle) * second
        found = float(hl.measure(form)(first[:, None], turned[:, None]))
        expected = angle if form == "angular_shape_distance" else 2 * np.sin(angle / 2)
        assert found == pytest.approx(expected if angle > 1e-7 else 0, abs=1e-15 / max(angle, 1e-7))
        assert (found == 0) == (angle < 1e-7)


EQUAL = {"equally far apart": np.eye(12), "all but one are equal": np.eye(12)[:, :1]}


@pytest.mark.parametrize("case", EQUAL)
def test_why_nothing_is_left_is_true_of_equidistant_rows_too(case, rng):
    with pytest.warns(
        hl.UndefinedValueWarning, match="as where all examples are equally far .* or all but one are equal"
    ):
        assert np.isnan(compared(EQUAL[case], rng.normal(size=(12, 2)), "cka(estimator=debiased)"))


@pytest.mark.parametrize(
    ("lowest", "gap"), [(1.05e-4, 2e-8), (1.05e-4, 1e-6), (3e-4, 3e-8), (1e-3, 3e-8), (1e-2, 3e-8), (1e-3, 1e-3)]
)
def test_canonical_directions_of_near_and_small_correlations(lowest, gap):
    """Eigenvectors of products would mix directions whose squares are near."""
    rng, r, n = np.random.default_rng(0), 32, 120
    q = rng.normal(size=(n, 2 * r))
    q = np.linalg.qr(q - q.mean(axis=0))[0]
    a, b = q[:, :r], q[:, r:]
    for leading in (1, 16):
        c = np.r_[np.linspace(0.9, 0.99, leading), lowest + gap * np.arange(r - leading)]
        rotation = np.linalg.qr(rng.normal(size=(r, r)))[0]
        x, y = a @ rotation * np.geomspace(1, 0.1, r), a * c + b * np.sqrt(1 - c**2)
        u, s, vt = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
        left, correlations, _ = np.linalg.svd(u.T @ np.linalg.svd(y - y.mean(axis=0), full_matrices=False)[0])
        weights = np.abs((left.T * s) @ vt).sum(axis=1)
        assert float(hl.pwcca(x, y)) == pytest.approx(weights @ correlations / weights.sum(), rel=1e-9)
