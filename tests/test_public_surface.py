"""The public surface: equal names for equal things, former names under a warning, and everything returned exported."""

from __future__ import annotations

import inspect
import re
import typing
from dataclasses import fields, is_dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
import xarray
from conftest import command_line
from matplotlib.axes import Axes

import homolog as hl
from homolog.renamed import renamed

REFERENCE = (Path(__file__).parent.parent / "docs" / "reference.md").read_text(encoding="utf-8")
FUNCTIONS = {
    name: thing
    for module, prefix in ((hl, ""), (hl.plot, "plot."))
    for name, thing in ((f"{prefix}{name}", getattr(module, name)) for name in module.__all__)
    if inspect.isfunction(thing)
}
MEASURES = hl.measures()


def layers(seed=0, n=60):
    rng = np.random.default_rng(seed)
    first = {f"layer {i}": rng.normal(size=(n, 4)) for i in range(3)}
    return first, {name: x + rng.normal(size=x.shape) for name, x in first.items()}


def parameters(name):
    return inspect.signature(FUNCTIONS[name]).parameters


# --- Equal names for equal things

OTHERWISE = {
    ("batch_size", "compare_models"): 128,
    ("n_permutations", "diagnose"): 199,
    ("n_permutations", "shared_subspace"): 19,
    # What is compared by default: two measures, one, one with an interval, and with no data what each needs.
    ("measures", "compare_models"): None,
    ("measures", "layer_identification"): None,
    ("measures", "plot.heatmaps"): None,
    ("measure", "confidence_interval"): "cka(estimator=debiased)",
    ("measure", "paired_test"): "cka(estimator=debiased)",
    ("measure", "correspondence"): None,
    ("measure", "plot.heatmap"): None,
    ("memory", "extract"): "8GiB",
    ("median_fraction", "cka"): 1.0,
}
"""(parameter, function) → its default, where others differ."""


def test_equal_parameters_have_equal_defaults():
    found = {}
    for name in FUNCTIONS.keys() - MEASURES.keys():
        for parameter in parameters(name).values():
            if parameter.default is not parameter.empty and (parameter.name, name) not in OTHERWISE:
                found.setdefault(parameter.name, {}).setdefault(repr(parameter.default), []).append(name)
    assert {name: defaults for name, defaults in found.items() if len(defaults) > 1} == {}


@pytest.mark.parametrize(
    ("parameter", "function"), [key for key in OTHERWISE if key[0] in ("batch_size", "n_permutations")]
)
def test_another_default_is_as_listed_and_has_a_reason(parameter, function):
    assert parameters(function)[parameter].default == OTHERWISE[parameter, function]
    assert re.search(r"as elsewhere|than elsewhere|than there|but larger", FUNCTIONS[function].__doc__)


def test_plan_takes_what_compare_takes():
    assert parameters("plan") == parameters("compare")
    assert list(parameters("compare"))[-1] == "rng"


def test_former_names_are_in_no_signature():
    for name in FUNCTIONS:
        assert not {"limit", "axes", "p_value"} & set(parameters(name)), name


def test_options_of_intervals_are_those_of_the_function_for_one_pair():
    for name in ("level", "method", "rng"):
        assert parameters("compare")[name].default == parameters("confidence_interval")[name].default
        assert parameters("compare")[name].default == parameters("paired_test")[name].default


# --- Everything that is returned is exported, and in the reference


def returned(function):
    """The classes of this package in what a function says it returns."""
    hint = inspect.signature(function).return_annotation
    names = set(re.findall(r"\w+", hint if isinstance(hint, str) else str(hint)))
    return names & OURS


OURS = {
    name
    for module in ("engine.planning", "analysis", "inference", "measures.record", "activations", "states", "rows")
    for name, thing in vars(__import__(f"homolog.{module}", fromlist=["_"])).items()
    if inspect.isclass(thing) and thing.__module__.startswith("homolog")
}


def test_what_is_returned_is_exported():
    found = set().union(*(returned(function) for function in FUNCTIONS.values()))
    assert {
        "Plan",
        "Diagnosis",
        "PermutationTest",
        "ConfidenceInterval",
        "PairedTest",
        "Measure",
        "Activations",
    } <= found
    assert found <= set(hl.__all__)
    assert {type(a) for a in vars(hl.measure("cka")).values() if type(a).__module__.startswith("homolog")} <= {
        getattr(hl, name) for name in ("Invariances", "Family")
    }


def test_fields_that_hold_a_pvalue_are_called_so():
    for name in hl.__all__:
        thing = getattr(hl, name)
        if inspect.isclass(thing) and is_dataclass(thing):
            assert not {"p", "p_value", "level"} & {field.name for field in fields(thing)}, name
    assert {"pvalue"} <= {f.name for f in fields(hl.PermutationTest)} & {f.name for f in fields(hl.PairedTest)}


@pytest.mark.parametrize("name", [*hl.__all__, *(f"plot.{name}" for name in hl.plot.__all__)])
def test_everything_public_is_in_the_reference(name):
    if name == "plot":
        return
    written = "measures.registry.measures" if name == "measures" else name
    if name.endswith("Warning"):
        assert re.search(rf"\b{name}\b", REFERENCE)
    else:
        assert f"::: homolog.{written}\n" in REFERENCE


# --- 0-d arrays


@pytest.mark.filterwarnings("ignore::homolog.HomologWarning")
@pytest.mark.parametrize("name", MEASURES)
@pytest.mark.parametrize("library", [np.asarray, torch.asarray])
def test_a_measure_is_a_0d_array_of_the_library_of_its_arrays(name, library):
    x, y = np.random.default_rng(0).normal(size=(2, 20, 3))
    for dtype in (np.float64, np.float32):
        value = getattr(hl, name)(library(x.astype(dtype)), library(y.astype(dtype)))
        assert type(value) is type(library(0.0))
        assert value.shape == ()
        assert str(value.dtype).endswith("float64")


@pytest.mark.parametrize("value", [0.25, np.float32(0.25), 1])
def test_a_number_from_a_formula_of_ones_own_becomes_an_array(value):
    def constant(x: object, y: object, shared: object) -> object:
        """Say nothing."""
        return value

    family = hl.Family("own", lambda x: x, lambda x, y: None, lambda shared: None, lambda operands, pairs: [])
    options = {"kind": "similarity", "range": (0, 1), "symmetric": True, "formula": "c", "reference": "none"}
    try:
        measured = hl.register(family, **options)(constant)
        found = measured(torch.eye(5), torch.eye(5))
    finally:
        hl.unregister("constant")
    assert (found.shape, found.dtype, float(found)) == ((), torch.float64, float(value))


def test_what_is_asked_of_one_pair_is_a_number():
    x, y = np.random.default_rng(0).normal(size=(2, 30, 3))
    assert type(hl.null_level(torch.asarray(x), torch.asarray(y))) is float
    assert {type(v) for v in vars(hl.confidence_interval(x, y)).values()} == {float}
    assert {type(v) for v in vars(hl.paired_test(x, x + y, y)).values()} == {float}


# --- Pictures

RESULT = hl.compare(*layers(), measures=("cka", "cka(estimator=debiased)"))
MANY = hl.compare(
    {seed: dict(zip("ab", layers(int(seed))[0].values(), strict=False)) for seed in "012"}, measures="cka"
)
PAIR = (layers()[0]["layer 0"], layers()[1]["layer 0"])
PROBED = xarray.Dataset({"accuracy": ("layer", [0.3, 0.8])}, {"layer": ["a", "b"]}, {"chance": 0.3})
DRAWN = {
    "heatmap": (RESULT,),
    "heatmaps": (RESULT,),
    "lines": (PROBED, "accuracy"),
    "probe": (PROBED,),
    "identification": (hl.layer_identification(MANY),),
    "shared_subspace": (hl.shared_subspace(*PAIR),),
    "explanation": (hl.explain_cka(*PAIR),),
}
WITH = {"lines": {"x": "layer"}}


@pytest.fixture
def closed():
    yield
    plt.close("all")


def test_every_picture_is_tried():
    assert set(DRAWN) == set(hl.plot.__all__)


@pytest.mark.usefixtures("closed")
@pytest.mark.parametrize("name", DRAWN)
def test_pictures_are_drawn_where_asked_and_returned(name):
    function, signature = getattr(hl.plot, name), inspect.signature(getattr(hl.plot, name))
    options = WITH.get(name, {})
    (where,) = {"ax", "figure"} & set(signature.parameters)
    parameter = signature.parameters[where]
    assert (parameter.kind, parameter.default) == (parameter.KEYWORD_ONLY, None)
    own = function(*DRAWN[name], **options)
    figure = plt.figure(layout="compressed")
    if where == "ax":
        assert isinstance(own, Axes)
        ax = figure.subplots()
        assert function(*DRAWN[name], **options, ax=ax) is ax
        return
    assert isinstance(own, plt.Figure)
    upper, lower = figure.subfigures(2, 1)
    assert function(*DRAWN[name], **options, figure=lower) is lower
    assert not upper.axes
    assert len(lower.axes) == len(own.axes)
    assert plt.get_fignums() == [own.number, figure.number]
    whole = plt.figure()
    assert function(*DRAWN[name], **options, figure=whole, title="title") is whole
    assert whole.get_suptitle() == "title"


@pytest.mark.usefixtures("closed")
def test_a_grid_leaves_what_was_there():
    figure = plt.figure()
    image = figure.add_axes((0.9, 0.9, 0.1, 0.1)).imshow(np.eye(2))
    figure.colorbar(image).set_label("before")
    hl.plot.heatmaps(RESULT, figure=figure)
    assert figure.axes[1].get_ylabel() == "before"


# --- Former names


def told(call, former, present):
    """What a call with a former name gives; the warning shows by default, and in the line of the caller."""
    with pytest.warns(FutureWarning) as caught:
        found = call()
    (warning,) = [each for each in caught if each.category is FutureWarning]
    assert str(warning.message) == f"{former} is now {present}: the former name goes with the next release."
    assert warning.filename == __file__
    return found


def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.ReLU())


def test_extract_takes_limit(tmp_path):
    model, data = network(), torch.randn(9, 3)
    for out in (None, tmp_path / "a.zarr"):
        found = told(
            lambda out=out: hl.extract(model, data, limit=4, out=out), "extract(limit=4)", "extract(max_examples=4)"
        )
        assert found.n == 4
        np.testing.assert_array_equal(found["0"][:], hl.extract(model, data, max_examples=4)["0"])


def test_compare_models_takes_limit():
    model, data = network(), torch.randn(90, 3)
    call = lambda **options: hl.compare_models(model, model, data, batch_size=10, **options)  # noqa: E731
    found = told(lambda: call(limit=40), "compare_models(limit=40)", "compare_models(max_examples=40)")
    xarray.testing.assert_identical(found, call(max_examples=40))
    assert found.attrs["n_examples"] == 40


@pytest.mark.parametrize(
    ("former", "present", "words"),
    [
        ("jackknife", {"interval": True, "method": "jackknife"}, "interval=True, method='jackknife'"),
        ("subsample", {"interval": True, "method": "subsample"}, "interval=True, method='subsample'"),
        (None, {}, "interval=False"),
    ],
)
def test_intervals_take_the_name_of_a_method(former, present, words):
    sides, asked = layers(), f"compare(interval={former!r})"
    found = told(lambda: hl.compare(*sides, measures="cka", interval=former), asked, f"compare({words})")
    xarray.testing.assert_identical(found, hl.compare(*sides, measures="cka", **present))
    assert found.attrs.get("interval") == former
    plans = [told(lambda: hl.plan(*sides, interval=former), asked.replace("compare", "plan"), f"plan({words})")]
    assert str(plans[0]) == str(hl.plan(*sides, **present))


def test_without_an_interval_a_plan_counts_none():
    sides = layers(n=2000)
    assert hl.plan(*sides).bytes == hl.plan(*sides, interval=False).bytes < hl.plan(*sides, interval=True).bytes


def test_both_names_at_once_are_refused():
    with pytest.raises(
        TypeError, match=r"extract\(limit=4\) is now extract\(max_examples=4\), got max_examples besides"
    ):
        hl.extract(network(), torch.randn(9, 3), limit=4, max_examples=5)
    with pytest.raises(TypeError, match="got method besides: leave interval out"):
        hl.compare(*layers(), interval="jackknife", method="subsample")


def test_unknown_arguments_stay_unknown():
    with pytest.raises(TypeError, match="unexpected keyword argument 'limits'"):
        hl.extract(network(), torch.randn(9, 3), limits=4)


@pytest.mark.usefixtures("closed")
def test_a_shared_subspace_is_drawn_in_three_axes():
    _, axes = plt.subplots(2, 3)
    with pytest.warns(FutureWarning, match=r"^shared_subspace\(axes=.* is now shared_subspace\(figure="):
        found = hl.plot.shared_subspace(*DRAWN["shared_subspace"], axes=axes[1])
    assert found is axes[0, 0].figure
    assert len(axes[1, 0].lines) == 2
    assert not axes[0, 0].lines


def test_the_level_of_a_permutation_test():
    found = hl.permutation_test(*PAIR, n_permutations=9)
    assert told(lambda: found.level, "PermutationTest.level", "PermutationTest.null_level") == found.null.mean()


def test_a_renamed_function_looks_like_itself():
    @renamed(old="new")
    def function(x: int, *, new: int = 3) -> int:
        """Say what it does."""
        return x + new

    assert function.__doc__ == "Say what it does."
    assert str(inspect.signature(function)) == "(x: 'int', *, new: 'int' = 3) -> 'int'"
    assert typing.get_type_hints(function) == {"x": int, "new": int, "return": int}
    assert function(1) == 4


def test_warnings_of_renamed_functions_name_the_line_of_the_caller():
    x = np.random.default_rng(0).normal(size=(20, 40))
    with pytest.warns(hl.NullLevelWarning) as caught:
        hl.compare(x, x + 1)
    assert {warning.filename for warning in caught} == {__file__}

    class Noisy(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.line = torch.nn.Linear(3, 4)

        def forward(self, x):
            return self.line(x) + torch.randn(())

    with pytest.warns(hl.ExtractionWarning) as caught:
        hl.extract(Noisy(), torch.randn(8, 3), layers=["line", "output"])
    assert {warning.filename for warning in caught} == {__file__}


# --- Results of earlier versions


@pytest.fixture(scope="module")
def tested():
    first, second = layers()
    return hl.compare(first, second, measures="cka(estimator=debiased)", null="permutation", n_permutations=99)


def earlier(result):
    """A result with the names that the version before gave its variables."""
    now = {"p_fwer": "p_familywise", "p_fdr": "p_discovery"}
    return result.rename(
        {f"{m}_{new}": f"{m}_{old}" for m in hl.results.measure_names(result) for new, old in now.items()}
    )


@pytest.mark.usefixtures("closed")
def test_earlier_results_are_read_drawn_and_reported(tested, tmp_path):
    old = earlier(tested)
    assert "cka(estimator=debiased)_p_discovery" in old
    xarray.testing.assert_identical(hl.correspondence(old), hl.correspondence(tested))
    crosses = [hl.plot.heatmap(result).collections[0].get_offsets() for result in (old, tested)]
    assert len(crosses[0])
    np.testing.assert_array_equal(*crosses)
    printed = []
    for name, result in (("old", old), ("new", tested)):
        result.to_netcdf(tmp_path / f"{name}.nc")
        for arguments in (["report", f"{name}.nc", "--out", f"{name}.html"], ["info", f"{name}.nc"]):
            status, out, said = command_line(arguments, tmp_path)
            assert status == 0, said
        printed.append((out, (tmp_path / f"{name}.html").read_text(encoding="utf-8")))
    assert printed[0] == printed[1]


def test_variables_have_the_names_of_the_field(tested):
    name = "cka(estimator=debiased)"
    assert {f"{name}_{end}" for end in ("p", "p_fwer", "p_fdr", "null")} < set(tested.data_vars)
    for former in ("p_familywise", "p_discovery"):
        assert f"{name}_{former}" not in tested
        with pytest.raises(ValueError, match="companion of another measure"):
            hl.compare(*layers(), measures={"cka": "cka", f"cka_{former}": "cca"})


# --- The command line


def test_options_of_the_command_line_by_former_names(tmp_path):
    first, second = layers()
    hl.save(first, tmp_path / "a.npz")
    hl.save(second, tmp_path / "b.npz")
    compared = ["compare", "a.npz", "b.npz", "-m", "cka", "--out", "r.nc"]
    for options, present in (
        (["--interval", "jackknife"], ["--interval"]),
        (["--interval=subsample"], ["--interval", "--method", "subsample"]),
    ):
        status, out, said = command_line([*compared, *options], tmp_path)
        found = xarray.load_dataset(tmp_path / "r.nc")
        assert status == 0, said
        assert f"note: --interval {found.attrs['interval']} is now --interval --method" in said
        assert (0, out) == command_line([*compared, *present], tmp_path)[:2]
        xarray.testing.assert_identical(found, xarray.load_dataset(tmp_path / "r.nc"))
    status, _, said = command_line([*compared, "--method", "subsample"], tmp_path)
    assert (status, "pass it too" in said) == (2, True)
    status, _, said = command_line([*compared, "--interval", "--method", "bootstrap"], tmp_path)
    assert (status, "jackknife or subsample, got 'bootstrap'" in said) == (2, True)


def test_the_command_line_takes_limit(tmp_path):
    (tmp_path / "nets.py").write_text(
        "import torch\nmodel = lambda: torch.nn.Linear(3, 2)\ndata = lambda: torch.ones(9, 3)\n"
    )
    for options in (["--limit", "4"], ["--limit=4"], ["--max-examples", "4"]):
        line = ["extract", "nets.py:model", "--data", "nets.py:data", "--out", "a.npz", *options]
        status, _, said = command_line(line, tmp_path)
        assert status == 0, said
        assert hl.open(tmp_path / "a.npz").n == 4
        assert ("note: --limit is now --max-examples" in said) == options[0].startswith("--limit")
    assert "limit" not in command_line(["extract", "--help"], tmp_path)[1]
