"""Wrong use: one sentence with what was expected, what came, and what to do."""

from __future__ import annotations

import re

import jax
import numpy as np
import pandas
import pytest
import scipy.sparse
import torch
import xarray
from conftest import command_line
from numpy.lib.recfunctions import structured_to_unstructured

import homolog as hl
from homolog.cli.loading import imported_object

X = np.random.default_rng(0).normal(size=(20, 3))
MASKED = np.ma.masked_array(X, np.isin(np.arange(60).reshape(20, 3), [10, 27, 28, 29]))
Y = np.random.default_rng(1).normal(size=(20, 4))
BAD_ROW = X.copy()
BAD_ROW[5, 1] = np.nan
RESULT = hl.compare({"l": X}, {"m": Y}, measures="procrustes_distance")
CONVOLUTION = torch.nn.Sequential(torch.nn.Conv1d(3, 4, 2))
SEQUENCES = torch.zeros(5, 3, 9)

ONE_PAIR = {
    "explain_cka": hl.explain_cka,
    "shared_subspace": hl.shared_subspace,
    "permutation_test": hl.permutation_test,
    "null_level": hl.null_level,
    "confidence_interval": hl.confidence_interval,
    "paired_test": lambda x, y: hl.paired_test(x, Y, y),
}
"""What is asked of one pair of representations."""


VECTORS = pandas.DataFrame({"vectors": list(X)})
CAPTURED = {"Dense_0": {"__call__": (jax.numpy.asarray(X),)}, "Dense_1": (jax.numpy.asarray(Y),)}

LONG = "x" * 10_000


@pytest.mark.parametrize(
    "call",
    [
        lambda: hl.measure(LONG),
        lambda: hl.measure(f"cka(kernel={LONG})"),
        lambda: hl.measure(f"cka({LONG}=1)"),
        lambda: hl.measure(f"cka({LONG})"),
        lambda: hl.compare(X, Y, pairs=LONG),
        lambda: hl.compare({LONG: X}, {"m": Y}, pairs=[(LONG, LONG)]),
        lambda: hl.compare({LONG: {LONG: X}, "m": {LONG: BAD_ROW}}),
        lambda: hl.compare(X, Y, measures={f"{LONG}/": "cka"}),
        lambda: hl.correspondence(RESULT, LONG),
        lambda: hl.open(LONG),
        lambda: hl.save({f"homolog:{LONG}": X}, "a.npz"),
        lambda: imported_object(f"numpy:{LONG}"),
    ],
)
def test_long_names_are_not_repeated_whole(call):
    with pytest.raises((ValueError, KeyError, TypeError, OSError)) as caught:
        call()
    assert len(str(caught.value)) < 1000


IN_BATCHES = {
    "sparse matrix": (scipy.sparse.csr_matrix(X), ".toarray()", lambda x: x.toarray()),
    "sparse array": (scipy.sparse.coo_array(X), ".toarray()", lambda x: x.toarray()),
    "column of vectors": (VECTORS["vectors"], "numpy.stack(column.to_numpy())", lambda x: np.stack(x.to_numpy())),
    "table": (pandas.DataFrame(X), ".to_numpy()", lambda x: x.to_numpy()),
    "labelled": (xarray.DataArray(X), ".values", lambda x: x.values),
    "masked": (np.ma.masked_array(X), "fill the mask", lambda x: x.filled(0)),
}
"""What `compare` takes, but no loop over batches, where nothing tells whether their rows are the same examples."""


@pytest.mark.parametrize("case", IN_BATCHES)
def test_remedies_for_batches_work(case):
    given, remedy, apply = IN_BATCHES[case]
    moments = hl.Moments()
    with pytest.raises(TypeError, match=re.escape(remedy)):
        moments.update({"layer": given})
    moments.update({"layer": apply(given)})
    assert moments.n == len(X)


REMEDIES = {
    "table of vectors": (VECTORS.to_numpy(), "numpy.stack(x.ravel())", lambda x: np.stack(x.ravel())),
    "vectors": (VECTORS["vectors"].to_numpy(), "numpy.stack(x.ravel())", lambda x: np.stack(x.ravel())),
    "fields": (
        pandas.DataFrame(X).to_records(index=False),
        "structured_to_unstructured(x) from numpy.lib.recfunctions",
        structured_to_unstructured,
    ),
    "tuple": ((X,), "x[0]", lambda x: x[0]),
    "batches": ([X[:9], X[9:]], "numpy.concatenate(x)", np.concatenate),
    "nested": ({"a": {"b": {"out": X}}}, "{'block.out': x['block']['out']}", lambda x: {"a.b.out": x["a"]["b"]["out"]}),
    "captured": (
        CAPTURED,
        "{jax.tree_util.keystr(at): array for at, array in jax.tree_util.tree_leaves_with_path(captured)}",
        lambda captured: {
            jax.tree_util.keystr(at): array for at, array in jax.tree_util.tree_leaves_with_path(captured)
        },
    ),
    "captured, one layer each": (
        {"Dense_0": (jax.numpy.asarray(X),)},
        "jax.tree_util.tree_leaves_with_path(captured)",
        lambda captured: {
            jax.tree_util.keystr(at): array for at, array in jax.tree_util.tree_leaves_with_path(captured)
        },
    ),
}


@pytest.mark.parametrize("case", REMEDIES)
def test_remedies_work(case):
    """What the error says is done, and what comes out is compared."""
    given, remedy, apply = REMEDIES[case]
    with pytest.raises(TypeError, match=re.escape(remedy)) as caught:
        hl.compare(given, measures="procrustes_distance")
    assert "\n" not in str(caught.value)
    cured = hl.compare(apply(given), measures="procrustes_distance")
    assert cured.n_examples == len(X)


CASES = {
    "list": (lambda: hl.cka([1, 2, 3, 4], X), TypeError, "got a list"),
    "ragged list": (
        lambda: hl.cka([[1, 2], [3, 4], [5]], X),
        ValueError,
        r"x must hold vectors of one length \(2, that of row 0\), got 1 numbers in row 2",
    ),
    "list with a gap": (lambda: hl.compare([[1, 2], None]), TypeError, "got nothing in row 1"),
    "list of texts": (lambda: hl.cka([["1", "2"], ["3", "4"]], X), TypeError, "got a vector of <U1 in row 0"),
    "list of maps": (lambda: hl.cka([[[1], [2]], [[3], [4]]], X), TypeError, r"got shape \(2, 1\) in row 0"),
    "none": (lambda: hl.cka(X, None), TypeError, "got None"),
    "vector": (lambda: hl.cka(X[:, 0], Y), ValueError, "two axes"),
    "map": (lambda: hl.cka(X, np.zeros((20, 3, 8, 8))), ValueError, "flatten or average"),
    "unequal rows": (lambda: hl.cka(X, Y[:9]), ValueError, r"as many rows as x \(20\), got 9"),
    "no rows": (lambda: hl.cka(X[:0], Y[:0]), ValueError, "at least 2 examples"),
    "no columns": (lambda: hl.cka(X[:, :0], Y), ValueError, "1 feature"),
    "complex": (lambda: hl.cka(X * 1j, Y), TypeError, "real numbers"),
    "text": (lambda: hl.cka(X.astype(str), Y), TypeError, "real numbers"),
    "boolean": (lambda: hl.cca(X > 0, Y), TypeError, "real numbers"),
    "objects": (lambda: hl.cca(X.astype(object), Y), TypeError, "real numbers"),
    "libraries": (lambda: hl.cka(X, torch.tensor(Y)), TypeError, "same array library"),
    "too few": (lambda: hl.cka(X[:3], Y[:3], estimator="debiased"), ValueError, "at least 4 examples, got 3"),
    "estimator": (lambda: hl.cka(X, Y, estimator="unbiased"), ValueError, "'biased' or 'debiased'"),
    "kernel": (lambda: hl.cka(X, Y, kernel="poly"), ValueError, "a function X"),
    "kernel shape": (lambda: hl.cka(X, Y, kernel=lambda x: x), ValueError, "Gram matrix of shape"),
    "fraction": (lambda: hl.cka(X, Y, kernel="rbf", median_fraction=-1), ValueError, "above 0"),
    "no effect": (lambda: hl.cka(X, Y, median_fraction=0.4), ValueError, "only with kernel=rbf"),
    "threshold": (lambda: hl.svcca(X, Y, threshold=1.5), ValueError, "at most 1"),
    "statistic": (lambda: hl.cca(X, Y, statistic="mean"), ValueError, "'r2' or 'rho'"),
    "measure": (lambda: hl.measure("ckaa"), KeyError, "did you mean cka"),
    "option": (lambda: hl.measure("cka(sigma=1)"), TypeError, "unknown option"),
    "number": (lambda: hl.measure("svcca(threshold=much)"), ValueError, "must be a number"),
    "form": (lambda: hl.measure("cka(rbf)"), ValueError, "name=value"),
    "twice": (lambda: hl.measure("cka(kernel=rbf,kernel=rbf)"), ValueError, "given once"),
    "no measure": (lambda: hl.measure(3), TypeError, "must be text"),
    "compare list": (lambda: hl.compare([1, 2]), TypeError, "got a list"),
    "compare empty": (lambda: hl.compare({}), ValueError, "at least one layer"),
    "compare nan": (lambda: hl.compare({"l": BAD_ROW}), ValueError, "first in row 5"),
    "compare rows": (lambda: hl.compare({"l": X}, {"l": Y[:5]}), ValueError, "got 5"),
    "layers rows": (lambda: hl.compare({"l": X, "m": Y[:5]}), ValueError, "layer 'm' must have"),
    "pairs word": (lambda: hl.compare(X, Y, pairs="some"), ValueError, "'all', 'same_name'"),
    "pairs name": (lambda: hl.compare({"l": X}, {"m": Y}, pairs=[("l", "k")]), KeyError, "unknown layer 'k'"),
    "no pairs": (lambda: hl.compare({"l": X}, pairs=[]), ValueError, "at least one pair"),
    "no common": (
        lambda: hl.compare({"l": X}, {"m": Y}, pairs="same_name"),
        ValueError,
        "in common: extract both with the same layers=",
    ),
    "measures none": (lambda: hl.compare(X, Y, measures=()), ValueError, "at least one measure"),
    "measures twice": (lambda: hl.compare(X, Y, measures=("cka", "cka")), ValueError, "'cka' twice"),
    "slash": (lambda: hl.compare(X, Y, measures={"a/b": "cka"}), ValueError, "without '/'"),
    "layer name": (lambda: hl.Activations({3: X}), TypeError, "non-empty text"),
    "ids": (lambda: hl.Activations({"l": X}, example_ids=[1, 2]), ValueError, "one entry per row"),
    "glob": (lambda: hl.Activations({"l": X}).select("k*"), KeyError, "unknown layer"),
    "no file": (lambda: hl.open("absent.npz"), FileNotFoundError, "no file"),
    "suffix": (lambda: hl.open(__file__), ValueError, "ending in"),
    "save suffix": (lambda: hl.save({"l": X}, "layers.csv"), ValueError, "change its name"),
    "not a model": (lambda: hl.extract("model", X), TypeError, "torch.nn.Module"),
    "reduce": (lambda: hl.extract(torch.nn.Linear(3, 2), X, reduce="max"), ValueError, "reduce must be"),
    "nan": (lambda: hl.cca(X, BAD_ROW[:, :2]), ValueError, "y must be finite, got NaN or infinity first in row 5"),
    "infinity": (lambda: hl.semi_match(X * np.inf, Y), ValueError, "x must be finite"),
    "kernel nan": (
        lambda: hl.cka(X, Y, kernel=lambda x: x @ x.T * np.nan),
        ValueError,
        "Gram matrix of the kernel must",
    ),
    "masked": (
        lambda: hl.cka(MASKED, Y),
        TypeError,
        r"without gaps, got .* gaps in 2 of 20 rows \(3, 9\): leave these",
    ),
    "list of masked rows": (lambda: hl.cka(list(MASKED), Y), TypeError, "got a masked vector in row 3"),
    "masked layer": (lambda: hl.compare({"l": MASKED}), TypeError, r"layer 'l' of a must .* gaps in 2 of 20 rows"),
    "bind twice": (lambda: hl.measure("cka(kernel=rbf)", kernel="poly"), ValueError, "a function X"),
    "measures number": (lambda: hl.compare(X, Y, measures=3), TypeError, "measures must be text"),
    "pairs number": (lambda: hl.compare(X, Y, pairs=3), TypeError, "pairs must be"),
    "reserved": (lambda: hl.compare(X, Y, measures={"layer_a": "cka"}), ValueError, "is not a, b"),
    "value": (lambda: hl.compare(X, Y, measures={"f": lambda x, y: x[0]}), TypeError, "'f' must return one number"),
    "memory": (lambda: hl.compare(X, Y, memory="2 gigs"), ValueError, "units B, kB"),
    "plan memory": (lambda: hl.plan(X, memory=-1), ValueError, "positive number of bytes"),
    "no result": (
        lambda: hl.correspondence(None),
        ValueError,
        "must be the Dataset that homolog.compare returned, got None",
    ),
    "table": (lambda: hl.plot.heatmap(RESULT.to_dataframe()), ValueError, "got a DataFrame"),
    "squeezed": (lambda: hl.correspondence(RESULT.isel(layer_a=0)), ValueError, "keep its dimensions"),
    "no results": (lambda: hl.layer_identification(None), TypeError, "results must be"),
    "between": (lambda: hl.between(RESULT, "a", "b"), ValueError, "must be of many models, got one of two"),
    "unknown model": (
        lambda: hl.between(hl.compare({"k": {"l": X}}, measures="procrustes_distance"), "k", "m"),
        KeyError,
        "unknown model 'm'",
    ),
    "path": (lambda: hl.open(3), TypeError, "a path must be text"),
    "nul": (lambda: hl.save({"a\0b": X}, "a.npz"), ValueError, "character NUL"),
    "convolution": (
        lambda: hl.extract(CONVOLUTION, SEQUENCES, reduce="mean"),
        ValueError,
        r"a Conv1d, which puts its channels before the positions",
    ),
    "reduce glob": (
        lambda: hl.extract(CONVOLUTION, SEQUENCES, reduce={"z*": "mean"}),
        KeyError,
        "unknown layer 'z\\*'",
    ),
    "same ids": (
        lambda: hl.extract(CONVOLUTION, SEQUENCES, example_ids=[1] * 5),
        ValueError,
        "example_ids must differ",
    ),
    "threshold kind": (lambda: hl.shared_subspace(X, Y, threshold=2), ValueError, r"in \(0, 1\], got 2: 0\.99 keeps"),
    "threshold text": (lambda: hl.shared_subspace(X, Y, threshold="all"), ValueError, r"in \(0, 1\], got 'all'"),
    "name in a module": (
        lambda: imported_object("numpy:layers_of"),
        KeyError,
        "unknown name 'layers_of'.* [Tt]he names are",
    ),
    "name in a class": (lambda: imported_object("numpy:linalg.nrm"), KeyError, "unknown name 'nrm', did you mean norm"),
    "dtype": (lambda: hl.extract(CONVOLUTION, SEQUENCES, dtype="bfloat16"), ValueError, "float16, float32, float64"),
    "device": (lambda: hl.extract(CONVOLUTION, SEQUENCES, device="gpu"), ValueError, "one that PyTorch can use"),
    "companion": (lambda: hl.compare(X, Y, measures={"m": "cka", "m_null": "cca"}), ValueError, "companion of another"),
    "model name": (lambda: hl.compare({0: {"l": X}, 1: {"l": Y}}), TypeError, "named by text, got 0"),
    "many pairs": (
        lambda: hl.compare({"a": {"l": X}, "b": {"l": Y}}, pairs=[("l", "l")]),
        TypeError,
        r"\(\(model, layer\), \(model, layer\)\)",
    ),
    "same": (
        lambda: hl.layer_identification(hl.compare(X, measures="procrustes_distance")),
        ValueError,
        "compared with itself",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_one_sentence(case):
    call, kind, words = CASES[case]
    with pytest.raises(kind, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("files")
    np.savez(path / "good.npz", layer=X, other=Y)
    np.savez(path / "one.npz", layer=X)
    np.savez(path / "short.npz", layer=Y[:5])
    np.savez(path / "pickled.npz", layer=np.array([{}], dtype=object))
    (path / "cut.npz").write_bytes((path / "good.npz").read_bytes()[:200])
    (path / "folder.npz").mkdir()
    (path / "good.xlsx").touch()
    return path


COMMANDS = {
    "no argument": (["compare"], "Missing argument"),
    "no command": (["compaer"], "No such command"),
    "no file": (["compare", "absent.npz"], "there is no file"),
    "suffix": (["compare", "good.xlsx"], "pandas.read_excel"),
    "cut": (["compare", "cut.npz"], "truncated"),
    "pickle": (["compare", "pickled.npz"], "pickled Python objects"),
    "rows": (["compare", "good.npz", "short.npz"], "as many rows"),
    "measure": (["compare", "good.npz", "-m", "ckaa"], "did you mean cka"),
    "option": (["compare", "good.npz", "--measures", "cka"], "No such option"),
    "out": (["compare", "good.npz", "--out", "result.txt"], "--out must end in .nc"),
    "plot": (["compare", "good.npz", "--plot", "absent/picture.png"], "make it first"),
    "pairs": (["compare", "good.npz", "--pairs", "some"], "pairs must be"),
    "one file": (["compare", "good.npz", "--pairs", "same_name"], "needs two files"),
    "one layer": (["compare", "one.npz"], "name a second file"),
    "folder": (["compare", "folder.npz"], "got the folder"),
}


@pytest.mark.parametrize("case", COMMANDS)
def test_the_command_line_exits_2_with_one_sentence(case, folder):
    arguments, words = COMMANDS[case]
    status, out, told = command_line(arguments, folder)
    assert status == 2, told
    assert words in told
    assert len(told.strip().splitlines()) == 1
    assert not out


BOUNDED = [(record, key) for record in hl.measures().values() for key in record.bounds]


@pytest.mark.parametrize(("record", "key"), BOUNDED, ids=[f"{record.name}-{key}" for record, key in BOUNDED])
def test_options_end_exactly_where_their_bounds_do(record, key):
    low, high = record.bounds[key]
    with_effect = dict([record.needs[key]]) if key in record.needs else {}
    whole = isinstance(record.defaults[key], int)
    closed = key in record.closed
    beyond = [low - 1, float("nan"), float("inf"), True, "1", None] + ([] if closed else [low])
    beyond += [] if high == float("inf") else [float(np.nextafter(high, np.inf))]
    for value in beyond + ([1.5] if whole else []):
        with pytest.raises((ValueError, TypeError), match=f"^{key} of {record.name} must be"):
            hl.measure(record.name, **with_effect, **{key: value})
    within = [low + 1 if whole else float(np.nextafter(low, np.inf))] + ([low] if closed else [])
    for value in within + ([] if high == float("inf") else [high]):
        assert hl.measure(record.name, **with_effect, **{key: value}).all_options[key] == value


@pytest.mark.parametrize("ask", ONE_PAIR.values(), ids=ONE_PAIR)
def test_questions_of_one_pair_refuse_what_compare_refuses(ask):
    for x, y, error, message in (
        (BAD_ROW, Y, ValueError, "x must be finite, got NaN or infinity first in row 5"),
        (X, np.where(np.arange(80).reshape(20, 4) == 26, np.inf, Y), ValueError, "first in row 6"),
        (X, torch.tensor(Y), TypeError, r"same array library as x \(numpy\), got torch"),
        (X, Y[:9], ValueError, r"as many rows as x \(20\), got 9"),
    ):
        with pytest.raises(error, match=message):
            ask(x, y)
