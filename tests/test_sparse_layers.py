"""Sparse matrices: the values of dense ones, without their zeros where that is possible, and their size told where not."""

from __future__ import annotations

import tracemalloc
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from numpy.testing import assert_allclose, assert_array_equal

import homolog as hl
from homolog.sparse import SparseRows

RNG = np.random.default_rng(0)
N = 90


def sparse(p, share=0.02, seed=0):
    """A sparse matrix with rows of different sizes."""
    return sp.random_array((N, p), density=share, rng=np.random.default_rng(seed), format="csr")


FAR = 1e8 + RNG.normal(size=(N, 1))
"""A column far above what it varies by, which centring after the product would lose."""
LAYERS = {
    "wide": sparse(4000),
    "narrow": sparse(40, 0.08, seed=1),
    "with full columns": sp.hstack([sparse(600), sp.csr_array(FAR), sp.csr_array(np.full((N, 1), 7.0))], format="csr"),
    "half full": sp.hstack(
        [sparse(600), sp.csr_array(RNG.normal(size=(N, 3)) * (RNG.random((N, 3)) < 0.6))], format="csr"
    ),
    "integers": (sparse(500, seed=3) * 9).astype(int),
    "float32": sparse(500, seed=4).astype("float32"),
    "huge": sparse(500, seed=5) * 1e200,
    "dense": RNG.normal(size=(N, 7)),
}
FULL = {name: x if name == "dense" else x.toarray() for name, x in LAYERS.items()}
FORMATS = {
    "csr": sp.csr_array,
    "csc": sp.csc_matrix,
    "coo": sp.coo_matrix,
    "lil": sp.lil_array,
    "twice": lambda x: sp.coo_array(
        (np.tile(x.data / 2, 2), tuple(np.tile(at, 2) for at in x.tocoo().coords)), x.shape
    ),
}
ALIKE = ("cka", "cka(estimator=debiased)", "hsic", "hsic(estimator=debiased)")


def tensor(x, layout=torch.sparse_coo):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # compressed layouts are said to be new
        return torch.asarray(x.toarray()).to_sparse(layout=layout)


@pytest.mark.filterwarnings("ignore::homolog.HomologWarning")
@pytest.mark.parametrize("measure", ALIKE)
def test_pairs_have_the_values_of_dense_matrices(measure):
    record = hl.measure(measure)
    for first, x in LAYERS.items():
        for second, y in LAYERS.items():
            if measure.startswith("hsic") and "huge" in (first, second):
                continue
            # The far column has 8 of 16 digits.
            assert_allclose(
                record(x, y), record(FULL[first], FULL[second]), rtol=1e-7, atol=1e-12, err_msg=f"{first}, {second}"
            )


@pytest.mark.filterwarnings("ignore::homolog.HomologWarning")
@pytest.mark.parametrize("options", [{}, {"interval": True}, {"null": "permutation", "n_permutations": 9}])
def test_comparisons_have_the_values_of_dense_matrices(options):
    some = [name for name in LAYERS if name != "huge"] if not options else ["wide", "narrow", "dense"]
    measures = (*ALIKE, "cka(kernel=rbf)", "rsa", "procrustes_distance") if not options else ("cka", "rsa")
    found = hl.compare({name: LAYERS[name] for name in some}, measures=measures, **options)
    expected = hl.compare({name: FULL[name] for name in some}, measures=measures, **options)
    assert set(found.data_vars) == set(expected.data_vars)
    for name, values in expected.data_vars.items():
        assert_allclose(found[name], values, rtol=1e-6, atol=1e-10, err_msg=name)


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_of_scipy(kind):
    given = FORMATS[kind](LAYERS["wide"])
    assert_allclose(
        hl.cka(given, FULL["dense"], estimator="debiased"), hl.cka(FULL["wide"], FULL["dense"], estimator="debiased")
    )
    assert_allclose(np.asarray(hl.Activations({"l": given})["l"]), FULL["wide"])


@pytest.mark.parametrize("layout", [torch.sparse_coo, torch.sparse_csr, torch.sparse_csc])
def test_tensors_stay_tensors(layout):
    x, y = tensor(LAYERS["wide"], layout), torch.asarray(FULL["dense"])
    expected = float(hl.cka(FULL["wide"], FULL["dense"], estimator="debiased"))
    for pair in ((x, y), (y, x)):
        value = hl.cka(*pair, estimator="debiased")
        assert isinstance(value, torch.Tensor)
        assert_allclose(float(value), expected, rtol=1e-9)
    with pytest.warns(hl.DenseWarning):
        found = hl.compare({"x": x, "y": y}, measures=("cka(estimator=debiased)", "procrustes_distance"))
    assert_allclose(found["cka(estimator=debiased)"][0, 1], expected, rtol=1e-9)
    with pytest.raises(TypeError, match="same array library"):
        hl.cka(x, FULL["dense"])


def test_gradients_flow_through_sparse_tensors():
    dense = torch.asarray(FULL["narrow"]).requires_grad_()
    y = torch.asarray(FULL["dense"])
    hl.cka(dense.to_sparse(), y).backward()
    (expected,) = torch.autograd.grad(hl.cka(dense, y), dense)
    # PyTorch gives what is 0 in a sparse tensor no gradient.
    assert_allclose(dense.grad, np.where(FULL["narrow"] != 0, expected, 0), atol=1e-12)
    own = y.clone().requires_grad_()
    with pytest.warns(hl.DenseWarning, match="made dense for the gradient of cka"):
        hl.cka(tensor(LAYERS["wide"]), own).backward()
    assert own.grad is not None


def test_a_layer_keeps_its_zeros_out_of_memory():
    layers = hl.Activations({"l": LAYERS["wide"]}, example_ids=[f"item {i}" for i in range(N)])
    assert isinstance(layers["l"], SparseRows)
    assert repr(layers["l"]) == f"<layer 'l': 90 × 4000 float64, {LAYERS['wide'].nnz} numbers that are not 0>"
    some = layers.take([5, 3])
    assert isinstance(some["l"], SparseRows)
    assert_array_equal(np.asarray(some["l"]), FULL["wide"][[5, 3]])
    common, _ = hl.common_rows(layers, some)
    assert isinstance(common["l"], SparseRows)
    assert_array_equal(layers["l"][10:12, :3], FULL["wide"][10:12, :3])


def test_they_are_saved_as_they_would_be_dense(tmp_path):
    for name in ("x.npz", "x.zarr"):
        hl.save({"l": LAYERS["wide"]}, tmp_path / name)
        assert_array_equal(np.asarray(hl.open(tmp_path / name)["l"]), FULL["wide"])


@pytest.mark.parametrize("kind", ["csr", "csc", "coo", "bsr"])
def test_files_of_scipy_are_read_as_sparse_as_they_are(kind, tmp_path):
    matrix = sparse(600)
    for written in (matrix.asformat(kind), sp.coo_matrix(matrix).asformat(kind)):
        sp.save_npz(tmp_path / "tfidf.npz", written)
        opened = hl.open(tmp_path / "tfidf.npz")
        assert list(opened) == list(hl.open(tmp_path / "tfidf.npz", "tfidf")) == ["tfidf"]
        assert isinstance(opened["tfidf"], SparseRows)
        assert_array_equal(opened["tfidf"][:], matrix.toarray())


def test_parts_of_a_sparse_file_must_fit(tmp_path):
    numbers = np.ones(3)
    for parts in ({"indices": [9, 2, 3], "indptr": [0, 2, 3]}, {"indices": [0, 1, 3], "indptr": [0, 9, 3]}):
        np.savez(tmp_path / "a.npz", format=b"csr", shape=[2, 5], data=numbers, **parts)
        with pytest.raises(ValueError, match=r"a\.npz' must be a readable \.npz file of plain arrays, got: "):
            hl.open(tmp_path / "a.npz")


def test_mostly_other_numbers_than_zeros_are_made_dense_at_once():
    assert isinstance(hl.Activations({"l": sp.csr_array(FULL["dense"])})["l"], np.ndarray)


def test_memory_is_that_of_the_numbers_alone():
    few, rng = LAYERS["wide"].tocoo(), np.random.default_rng(1)
    places = np.sort(rng.choice(2_000_000, 4000, replace=False))
    wide = sp.csr_array((few.data, (few.coords[0], places[few.coords[1]])), shape=(N, 2_000_000))  # 1.3 GiB dense
    layers = {"wide": wide, "dense": FULL["dense"]}
    assert hl.plan(layers, measures="cka").bytes < 4 << 20
    hl.compare(layers, measures="cka(estimator=debiased)")  # what it imports is not counted
    tracemalloc.start()
    hl.compare(layers, measures="cka(estimator=debiased)")
    assert tracemalloc.get_traced_memory()[1] < 16 << 20  # less than a single row with its zeros
    tracemalloc.stop()
    with pytest.raises(ValueError, match=r"cca of these layers need a memory of .* GiB, got 100\.0 MiB"):
        hl.plan(layers, measures="cca", memory="100 MiB").bytes  # noqa: B018


def test_the_size_of_what_is_made_dense_is_told():
    wide = sp.random_array((N, 2000), density=0.01, rng=np.random.default_rng(1), format="csr")
    message = r"sparse matrices are made dense for procrustes_distance: wide \(1\.4 MiB\); values of linear CKA"
    with pytest.warns(hl.DenseWarning, match=message):
        hl.compare({"wide": wide, "dense": FULL["dense"]}, measures=("procrustes_distance", "cka(estimator=debiased)"))
    with pytest.warns(hl.DenseWarning, match=r"made dense for procrustes_distance: x \(1\.4 MiB\)"):
        hl.procrustes_distance(wide, FULL["dense"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        hl.procrustes_distance(LAYERS["narrow"], FULL["dense"])  # small: nothing is told


def test_what_no_machine_holds_is_refused_with_its_size():
    endless = sp.csr_array(([1.0, 2.0], ([0, 1], [0, 10**9])), shape=(N, 2 * 10**9))
    assert_allclose(hl.cka(endless, endless), 1.0)
    with pytest.raises(
        ValueError, match=r"procrustes_distance needs sparse matrices with their zeros, about .* GiB for x, y"
    ):
        hl.procrustes_distance(endless, endless * 2)


REFUSED = {
    "gaps": (
        lambda: np.where(np.arange(N)[:, None] == 4, np.nan, FULL["narrow"]),
        ValueError,
        "NaN or infinity first in row 4",
    ),
    "truth values": (lambda: FULL["narrow"] > 0, TypeError, "must hold real numbers, got a sparse matrix of bool"),
    "complex": (lambda: FULL["narrow"] * 1j, TypeError, "must hold real numbers, got a sparse matrix of complex128"),
    "large integers": (lambda: (FULL["narrow"] > 0) * (2**60), ValueError, "integers that float64 holds"),
    "one row": (lambda: FULL["narrow"][:1] * 0, ValueError, "at least 2 examples"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_layer_is_refused(case):
    make, kind, words = REFUSED[case]
    with pytest.raises(kind, match=words):
        hl.Activations({"l": sp.csr_array(make())})
    with pytest.raises(ValueError, match="two axes"):
        hl.cka(sp.coo_array(np.eye(3)[0]), FULL["dense"])


def test_unequal_rows_and_constant_layers_are_told_as_of_dense_ones():
    with pytest.raises(ValueError, match=r"y must have as many rows as x \(90\), got 40"):
        hl.cka(LAYERS["wide"], LAYERS["wide"][:40])
    with pytest.warns(hl.ConstantLayerWarning, match="x is constant"):
        assert np.isnan(hl.cka(sp.csr_array((N, 5)), FULL["dense"]))
    with pytest.raises(TypeError, match="with an executor all layers must be on disk"), ThreadPoolExecutor(1) as pool:
        hl.compare({"l": LAYERS["wide"]}, executor=pool)


def test_the_matrix_given_is_left_as_it_is():
    given = sp.csr_array((np.array([1.0, 2.0, 3.0]), (np.array([0, 0, 1]), np.array([3, 1, 2]))), shape=(N, 50))
    given.data.flags.writeable = False
    before = given.copy()
    hl.cka(given, FULL["dense"])
    assert_array_equal(given.indices, before.indices)
