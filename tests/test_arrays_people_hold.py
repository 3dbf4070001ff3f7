"""What people hold that is no plain array: each form gives the number of the plain array, and says what is wrong with it."""

from __future__ import annotations

import subprocess
import sys
import warnings

import jax
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse
import torch
import xarray
from numpy.testing import assert_allclose

import homolog as hl

N, RNG = 80, np.random.default_rng(0)
X, Y = RNG.normal(size=(N, 3)), RNG.normal(size=(N, 4))
IDS = [f"item {i}" for i in range(N)]
DEBIASED = "cka(estimator=debiased)"
OTHER = np.roll(np.arange(N), 1)


class HasNumbers:
    """As arrays of TensorFlow and h5py are: NumPy makes an array of it."""

    def __init__(self, numbers):
        self.numbers = numbers

    def __array__(self, dtype=None, copy=None):
        return self.numbers


def matrix(x):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        return np.matrix(x)


def read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


FORMS = {
    "list": lambda x: x.tolist(),
    "tuples": lambda x: tuple(map(tuple, x.tolist())),
    "list of arrays": list,
    "pandas": lambda x: pd.DataFrame(x, index=IDS),
    "pandas, numbered rows": pd.DataFrame,
    "pandas, nullable": lambda x: pd.DataFrame(x).convert_dtypes(),
    "pandas, of pyarrow": lambda x: pd.DataFrame(x).convert_dtypes(dtype_backend="pyarrow"),
    "pandas, sparse": lambda x: pd.DataFrame(x).astype(pd.SparseDtype(float, 0.0)),
    "pandas, objects": lambda x: pd.DataFrame(x).astype(object),
    "pandas, id column": lambda x: pd.DataFrame(x).assign(ID=IDS),
    "pandas, vectors": lambda x: pd.DataFrame({"vectors": list(x)}, index=IDS),
    "pandas, lists": lambda x: pd.DataFrame({"vectors": x.tolist(), "example_id": IDS}),
    "pandas, column of vectors": lambda x: pd.Series(list(x), index=IDS),
    "polars": lambda x: pl.DataFrame({f"f{i}": x[:, i] for i in range(x.shape[1])} | {"id": IDS}),
    "polars, arrays": lambda x: pl.DataFrame({"vectors": x, "id": IDS}),
    "polars, lists": lambda x: pl.DataFrame({"vectors": x.tolist(), "id": IDS}),
    "polars, column of vectors": lambda x: pl.Series(x.tolist()),
    "pyarrow": lambda x: pa.table({f"f{i}": x[:, i] for i in range(x.shape[1])} | {"id": IDS}),
    "pyarrow, lists": lambda x: pa.table({"vectors": x.tolist(), "id": IDS}),
    "pyarrow, part of lists": lambda x: pa.table({"vectors": [[1.0], *x.tolist()]}).slice(1),
    "pyarrow, part of arrays": lambda x: pa.table(
        {"vectors": pa.FixedSizeListArray.from_arrays(np.vstack([x, x]).ravel(), x.shape[1])}
    ).slice(N),
    "pyarrow, column of vectors": lambda x: pa.chunked_array([x[:7].tolist(), x[7:].tolist()]),
    "xarray": lambda x: xarray.DataArray(x, dims=("item", "unit"), coords={"item": IDS}),
    "xarray, without coordinates": xarray.DataArray,
    "SciPy, by rows": scipy.sparse.csr_array,
    "SciPy, by columns": scipy.sparse.csc_matrix,
    "nothing masked": np.ma.masked_array,
    "matrix": matrix,
    "memoryview": memoryview,
    "numbers": HasNumbers,
    "read-only": read_only,
    "other byte order": lambda x: x.astype(x.dtype.newbyteorder()),
    "other memory order": np.asfortranarray,
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_value_of_the_plain_array(form):
    first, second = FORMS[form](X), FORMS[form](Y)
    expected = float(hl.cka(X, Y, estimator="debiased"))
    assert_allclose(hl.cka(first, second, estimator="debiased"), expected, rtol=1e-12)
    result = hl.compare(first, second, measures="cka(estimator=debiased)")
    assert_allclose(result["cka(estimator=debiased)"].item(), expected, rtol=1e-12)
    layered = hl.compare({"layer": first, "plain": Y}, measures="cka(estimator=debiased)")
    assert_allclose(layered["cka(estimator=debiased)"].sel(layer_a="layer", layer_b="plain"), expected, rtol=1e-12)
    assert_allclose(np.asarray(hl.Activations({"layer": first})["layer"]), X, rtol=1e-12)
    assert_allclose(hl.permutation_test(first, second, n_permutations=9).statistic, hl.cka(X, Y), rtol=1e-12)


def test_what_hands_out_a_masked_array_is_as_good_as_one():
    """As variables of netCDF4 do, whose data hold a large number where something is missing."""
    masked = np.ma.masked_greater(X, 1.5)
    with pytest.raises(TypeError, match="without gaps, got a masked array with gaps in"):
        hl.compare(HasNumbers(masked), Y)
    assert_allclose(hl.cka(HasNumbers(np.ma.masked_array(X)), Y), hl.cka(X, Y))


@pytest.mark.parametrize("library", ["torch", "jax"])
def test_lists_of_vectors_stay_in_their_library(library):
    make = torch.asarray if library == "torch" else jax.numpy.asarray
    value = hl.cka([make(row) for row in X], make(Y))
    assert type(value) is type(make(0.0)) or library == "jax"
    assert_allclose(float(value), float(hl.cka(X, Y)), rtol=1e-5)
    with pytest.raises(ValueError, match="got 2 numbers in row 1"):
        hl.cka([make(X[0]), make(X[1, :2])], make(Y[:2]))


def test_jax_in_half_precision_and_inside_jit():
    x, y = (jax.numpy.asarray(side, dtype="bfloat16") for side in (X, Y))
    expected = float(hl.cka(np.asarray(x, dtype=float), np.asarray(y, dtype=float)))
    assert_allclose(float(hl.cka(x, y)), expected, rtol=1e-5)
    assert_allclose(hl.compare({"x": x, "y": y}, measures="cka").cka[0, 1], expected, rtol=1e-5)
    assert_allclose(float(jax.jit(hl.cka)(x, y)), expected, rtol=1e-5)


SHUFFLED = {
    "pandas": lambda x, ids: pd.DataFrame(x, index=ids),
    "pandas, id column": lambda x, ids: pd.DataFrame(x).assign(id=ids),
    "pandas, integers": lambda x, ids: pd.DataFrame(x, index=[int(name[5:]) + 7 for name in ids]),
    "pandas, dates": lambda x, ids: pd.DataFrame(x, index=pd.to_datetime([int(name[5:]) for name in ids], unit="D")),
    "column of vectors": lambda x, ids: pd.Series(list(x), index=ids),
    "polars": lambda x, ids: pl.DataFrame({"vectors": x, "id": ids}),
    "pyarrow": lambda x, ids: pa.table({"vectors": x.tolist(), "example_ids": ids}),
    "xarray": lambda x, ids: xarray.DataArray(x, dims=("item", "unit"), coords={"item": ids}),
    "xarray, levels": lambda x, ids: xarray.DataArray(
        x, dims=("item", "unit"), coords={"stimulus_id": ("item", ids), "session": ("item", [0, 1] * (N // 2))}
    ).set_index(item=["stimulus_id", "session"]),
    "xarray, other coordinate": lambda x, ids: xarray.DataArray(
        x, dims=("item", "unit"), coords={"example_id": ("item", ids)}
    ),
}
PAIRED = {
    "cka": hl.cka,
    "compare": hl.compare,
    "compare layers": lambda x, y: hl.compare({"x": x}, {"y": y}),
    "compare models": lambda x, y: hl.compare({"one": {"x": x}, "two": {"y": y}}),
    "models of tables": lambda x, y: hl.compare({"one": {"x": x}, "two": y}),
    "layers of one model": lambda x, y: hl.Activations({"x": x, "y": y}),
    "permutation_test": hl.permutation_test,
    "explain_cka": hl.explain_cka,
    "shared_subspace": hl.shared_subspace,
}


@pytest.mark.parametrize("door", PAIRED)
@pytest.mark.parametrize("form", SHUFFLED)
def test_the_same_ids_in_another_order_are_refused_with_the_remedy(form, door):
    ids = [IDS[i] for i in OTHER]
    first, second = SHUFFLED[form](X, IDS), SHUFFLED[form](Y, ids)
    if (door, form) == ("models of tables", "column of vectors"):
        pytest.skip("a column without its table has no name in a mapping of models")
    with pytest.raises(ValueError, match=r"got example ids that differ first in row 0 .*homolog\.common_rows.* keeps"):
        PAIRED[door](first, second)
    PAIRED[door](first, SHUFFLED[form](Y, IDS))


def test_common_rows_then_compares_tables():
    first, second = pd.DataFrame(X, index=IDS), pl.DataFrame({"vectors": Y[OTHER], "id": [IDS[i] for i in OTHER]})
    a, b = hl.common_rows(first, second)
    result = hl.compare(a, b, measures="cka")
    assert result.attrs["row_identity"] == "example ids"
    assert_allclose(result.cka.item(), hl.cka(X, Y))


def test_an_index_that_says_nothing_is_not_compared_with_one_that_does():
    """pandas numbers rows that have no index: shuffled or cut, they keep these numbers, and a new table has others."""
    numbered = pd.DataFrame(Y)
    for other in (pd.DataFrame(X).sample(frac=1, random_state=0), pd.DataFrame(np.vstack([X, X])).iloc[N:]):
        for call in (lambda other=other: hl.cka(other, numbered), lambda other=other: hl.compare(numbered, other)):
            with pytest.raises(ValueError, match=r"only the number of the row: .* \.reset_index\(drop=True\) if"):
                call()
        assert_allclose(hl.cka(other.reset_index(drop=True), numbered), hl.cka(other.to_numpy(), Y))
    named = pd.DataFrame(X, index=IDS)
    assert_allclose(hl.cka(named, numbered), hl.cka(X, Y))  # text says nothing of numbers
    taken = hl.Activations({"x": numbered}).take(slice(None, None, -1))
    assert hl.compare(taken, numbered.sample(frac=1, random_state=0), measures="cka").attrs["row_identity"] == "unknown"


def test_labels_and_groups_of_other_rows_are_refused():
    table, classes = pd.DataFrame(X, index=IDS), pd.Series(np.arange(N) % 2, index=IDS)
    hl.probe(table, classes)
    hl.compare(table, table * 2, measures=DEBIASED, null="permutation", n_permutations=19, groups=classes)
    for call in (
        lambda other: hl.probe({"layer": table}, other),
        lambda other: hl.compare(
            table, table * 2, measures=DEBIASED, null="permutation", n_permutations=19, groups=other
        ),
    ):
        with pytest.raises(
            ValueError, match=r"(labels|groups) must hold the same examples in the same order, got example ids"
        ):
            call(classes.iloc[::-1])
        call(classes.iloc[::-1].to_numpy())


def test_a_table_of_a_single_layer_is_checked_against_another_without_names():
    table = pd.DataFrame(X, index=IDS)
    assert hl.check(table, table + 1e-9, "cka=0.99")


def test_a_result_is_no_layer_and_a_dataset_of_layers_is():
    areas = xarray.Dataset({"V1": (("item", "unit"), X), "IT": (("item", "cell"), Y)}, coords={"item": IDS})
    assert_allclose(hl.compare(areas, measures="cka").cka.sel(layer_a="V1", layer_b="IT"), hl.cka(X, Y))
    assert hl.Activations(areas).example_ids.tolist() == IDS
    with pytest.raises(TypeError, match="got the result of a comparison"):
        hl.compare(hl.compare(X, Y, measures="cka"))


def test_a_table_with_its_labels_is_saved_with_its_ids(tmp_path):
    hl.save(pd.DataFrame(X, index=IDS), tmp_path / "x.npz")
    found = hl.open(tmp_path / "x.npz")
    assert (list(found), found.example_ids.tolist()) == (["features"], IDS)


def test_importing_homolog_imports_none_of_their_libraries():
    code = (
        "import sys, numpy, homolog as hl; x = numpy.eye(9)[:, :4]; hl.cka(x, x); hl.Activations({'x': x.tolist()});"
        "print([name for name in ('pandas', 'polars', 'pyarrow', 'xarray', 'torch', 'jax') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
