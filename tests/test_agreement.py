"""One value, whatever the road: function, compare, compare of stores whose layers stay on disk, and the other way round."""

from __future__ import annotations

import math
import warnings
import zlib

import numpy as np
import pytest
import torch
from representation_pairs import ROOTS

import homolog as hl
from homolog.arrays import to_numpy
from homolog.engine import measure_groups as budget

SPECIAL = (
    "cka(kernel=rbf,median_fraction=0.3)",
    "cka(kernel=rbf,median_fraction=1e9)",
    "hsic(kernel=rbf,median_fraction=20.0)",
    "svcca(threshold=0.7)",
    "mutual_knn(k=3)",
    "jaccard_knn(k=1)",
    "cknna(k=5)",
    "maximum_match(epsilon=0.7)",
    "canonical_ridge(regularization=3.0)",
    "gulp_distance(regularization=0.1)",
)
FORMS = [form for record in hl.measures().values() for form in record.forms()] + [hl.measure(form) for form in SPECIAL]
DTYPES = (
    *("float16", "bfloat16", "float32", "float32", "float64"),
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
)
OFFSETS = (1e3, 1e5, 1e6, 2.0**24)
BATCHES, EACH = 20, 25


def plain(rng, x):
    return x


def offset(rng, x):
    return x + rng.choice(OFFSETS)


def tiny(rng, x):
    return x * 1e-12


def huge(rng, x):
    return x * 1e12


def integers(rng, x):
    return np.round(10 * x)


def ties(rng, x):
    return np.round(x)


def duplicated(rng, x):
    return x[rng.integers(max(2, len(x) // 2), size=len(x))]


def constant_column(rng, x):
    return np.where(np.arange(x.shape[1]) == rng.integers(x.shape[1]), 7.0, x)


def deficient(rng, x):
    return x[:, :2] @ rng.normal(size=(min(2, x.shape[1]), x.shape[1]))


def clusters(rng, x):
    return rng.normal(size=(3, x.shape[1]))[rng.integers(3, size=len(x))] + 1e-4 * x


def zero_rows(rng, x):
    return np.where(np.isin(np.arange(len(x)), rng.integers(len(x), size=2))[:, None], 0.0, x)


def one_hot(rng, x):
    return np.eye(x.shape[1])[rng.integers(x.shape[1], size=len(x))]


KINDS = (
    *(plain, offset, offset, tiny, huge, integers, ties),
    *(duplicated, constant_column, deficient, clusters, zero_rows, one_hot),
)


def cast(x, dtype):
    """Put numbers into a dtype; integers are spread over several values, and 64 bits far from 0."""
    if dtype == "bfloat16":
        return torch.tensor(x).to(torch.bfloat16)
    if dtype.startswith("float"):
        return np.clip(x, *((-6e4, 6e4) if dtype == "float16" else (-np.inf, np.inf))).astype(dtype)
    info = np.iinfo(dtype)
    whole = np.round(x * 10 if np.abs(x).max() < 1e4 else x)
    return np.clip(whole, info.min, min(info.max, 2**31)).astype(dtype)


def drawn(seed):
    """Draw a measure in turn, and two representations of the same examples."""
    form = FORMS[seed % len(FORMS)]
    # By the name of the measure, so that another measure changes no draw.
    rng = np.random.default_rng([20190515, seed // len(FORMS), zlib.crc32(str(form).encode())])
    n = int(rng.integers(max(4, form.minimal_n), 41))
    widths = rng.integers(1, 61, size=2) if rng.random() < 0.6 else rng.integers(1, 8, size=2)
    shared = rng.normal(size=(n, 3))
    sides = [shared @ rng.normal(size=(3, p)) + rng.normal(size=(n, p)) for p in widths]
    kinds = rng.choice(len(KINDS), size=2)
    dtypes = rng.choice(DTYPES, size=2) if rng.random() < 0.5 else [rng.choice(DTYPES)] * 2
    if "bfloat16" in dtypes:  # PyTorch's, on both sides
        dtypes = ["bfloat16"] * 2
    x, y = (cast(KINDS[kind](rng, side), str(dtype)) for kind, side, dtype in zip(kinds, sides, dtypes, strict=True))
    single = bool({"float16", "bfloat16", "float32"} & {*dtypes})
    told = f"{form}, {x.shape} {x.dtype} {KINDS[kinds[0]].__name__}, {y.shape} {y.dtype} {KINDS[kinds[1]].__name__}"
    return form, x, y, 1e-6 if single else 1e-9, told


def heard(work):
    """Return what was computed, and which warnings were given; levels by chance are of comparisons alone."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = work()
    return found, {warning.category.__name__ for warning in caught} - {"NullLevelWarning"}


def refused(work):
    """Say whether there is an error instead of a value."""
    try:
        heard(work)
    except ValueError as error:
        return "positive median distance" in str(error)
    return False


def agree(form, left, right, tolerance):
    """NaN agrees with NaN alone, infinity with itself."""
    if math.isnan(left) or math.isnan(right) or math.isinf(left) or math.isinf(right):
        return left == right or (math.isnan(left) and math.isnan(right))
    power = 2 if form.name in ROOTS else 1
    size = max(1.0, abs(left)) if math.isinf(form.range[1]) else 1.0
    return abs(left**power - right**power) <= tolerance * size**power


def roads(form, x, y, folder, monkeypatch):
    """Yield every road but the function: its name, the value of (x, y), and its warnings."""

    def compared(a, b):
        return heard(lambda: hl.compare(a, b, measures=form, progress=False))

    result, told = compared({"x": x}, {"y": y})
    yield "compare", result[str(form)].item(), told
    result, told = compared({"y": y}, {"x": x})
    yield "swapped", result[str(form) if form.symmetric else f"{form}_reversed"].item(), told
    held = x, y = tuple(side if isinstance(side, np.ndarray) else side.float().numpy() for side in (x, y))
    value, told = heard(lambda: float(form(*(torch.tensor(side) for side in held))))
    yield "torch", value, told
    folder.mkdir()
    for name, layer in (("x", x), ("y", y)):
        hl.save({name: layer}, folder / f"{name}.zarr")
    with monkeypatch.context() as patched:
        if form.family.blockwise and form.prepare_options.get("kernel") != "residual":
            patched.setattr(budget, "_to_load", lambda *_: 1 << 60)
        result, told = compared(folder / "x.zarr", folder / "y.zarr")
    yield "store", result[str(form)].item(), told


@pytest.mark.parametrize("batch", range(BATCHES))
def test_every_road_gives_the_value_of_the_function(batch, tmp_path, monkeypatch):
    wrong = []
    for seed in range(batch * EACH, (batch + 1) * EACH):
        form, x, y, tolerance, about = drawn(seed)
        if refused(lambda form=form, x=x, y=y: form(x, y)):  # mostly equal rows have no median distance
            assert refused(lambda form=form, x=x, y=y: hl.compare({"x": x}, {"y": y}, measures=form, progress=False))
            continue
        value, told = heard(lambda form=form, x=x, y=y: float(form(x, y)))
        for road, other, also in roads(form, x, y, tmp_path / str(seed), monkeypatch):
            if not agree(form, value, other, tolerance):
                wrong.append(f"{about}: {value} by the function, {other} by {road}")
            if told != also:
                wrong.append(f"{about}: {sorted(told)} by the function, {sorted(also)} by {road}")
    assert not wrong, "\n".join(wrong)


def test_the_draws_see_every_measure_dtype_and_kind():
    drawn_ones = [drawn(seed) for seed in range(BATCHES * EACH)]
    assert {form.name for form, *_ in drawn_ones} == set(hl.measures())
    assert {str(side.dtype).removeprefix("torch.") for _, x, y, *_ in drawn_ones for side in (x, y)} == set(DTYPES)
    assert {kind.__name__ for kind in KINDS} <= {word.strip(",") for *_, told in drawn_ones for word in told.split()}
    assert any(max(x.shape[1], y.shape[1]) > len(x) for _, x, y, *_ in drawn_ones)


LARGE = (
    *("cka", "cka(estimator=debiased)", "hsic", "cka(kernel=rbf)", "cka(kernel=rbf,median_fraction=0.01)"),
    *("cka(kernel=rbf,median_fraction=30.0)", "distance_correlation", "rsa", "rsa(comparison=pearson)"),
    *("rsa(dissimilarity=euclidean)", "rsa(dissimilarity=cosine)", "rsm_norm_difference", "mutual_knn"),
)
ON_DISK = tuple(form for form in LARGE if hl.measure(form).family.blockwise)


def _clusters(rng, x):
    return rng.normal(size=(10, x.shape[1]))[rng.integers(10, size=len(x))] + 1e-4 * x


def _far(rng, x):
    """Many features that say nothing: all rows are about equally far apart."""
    return np.hstack([x, 100 * np.eye(len(x))])


@pytest.mark.parametrize(
    "change",
    [plain, lambda rng, x: x + 1e5, lambda rng, x: x + 2.0**24, ties, _clusters, one_hot, _far],
    ids=["plain", "offset", "mantissa", "ties", "clusters", "one_hot", "far"],
)
def test_float32_of_many_examples_is_as_float64(change, rng, tmp_path, monkeypatch):
    """Beyond the number of examples from which float32 is kept, where it tells the distances, and only there."""
    shared = rng.normal(size=(1030, 4))
    x, y = (shared @ rng.normal(size=(4, 12)) + rng.normal(size=(1030, 12)) for _ in range(2))
    x, y = (side.astype("float32") for side in (change(rng, x), y))
    expected = {form: heard(lambda form=form: float(hl.measure(form)(x, y)))[0] for form in LARGE}
    held, _ = heard(lambda: hl.compare({"x": x}, {"y": y}, measures=LARGE, progress=False))
    for name, layer in (("x", x), ("y", y)):
        hl.save({name: layer}, tmp_path / f"{name}.zarr")
    monkeypatch.setattr(budget, "_to_load", lambda *_: 1 << 60)
    stored, _ = heard(lambda: hl.compare(tmp_path / "x.zarr", tmp_path / "y.zarr", measures=ON_DISK, progress=False))
    for form, value in expected.items():
        for result in (held, stored) if form in ON_DISK else (held,):
            assert result[form].item() == pytest.approx(value, abs=1e-6, rel=1e-6), form


@pytest.mark.parametrize("library", [np.asarray, torch.tensor], ids=["numpy", "torch"])
def test_one_order_of_the_features_or_another(library, rng):
    x, y = rng.normal(size=(2, 30, 6)) + 1e6
    x, y = library(x.astype("float32")), library(y.astype("float32"))
    found = hl.compare(x, y, measures="rsa").rsa.item()
    # The value of tensors is rounded to their dtype.
    assert found == pytest.approx(float(hl.rsa(x, y)), abs=1e-12 if isinstance(x, np.ndarray) else 1e-9)
    assert found == pytest.approx(float(hl.rsa(to_numpy(x).astype(float), to_numpy(y).astype(float))), abs=1e-12)
