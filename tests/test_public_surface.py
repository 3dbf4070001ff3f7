"""The public surface: equal names for equal things, and everything returned exported and in the reference."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields, is_dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
import xarray
from matplotlib.axes import Axes

import homolog as hl
from homolog.blocks.budget import Cost
from homolog.cli import app

REFERENCE = (Path(__file__).parent.parent / "docs" / "reference.md").read_text(encoding="utf-8")
FUNCTIONS = {
    name: thing
    for module, prefix in ((hl, ""), (hl.plot, "plot."), (hl.testing, "testing."))
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
    ("n_permutations", "diagnose"): None,
    ("n_permutations", "shared_subspace"): 19,
    # None is all that a result has, or its first; an interval is of what has no bias; activations are not workspace.
    ("measures", "compare_models"): None,
    ("measures", "layer_identification"): None,
    ("measures", "log_dict"): None,
    ("measures", "plot.heatmaps"): None,
    ("measure", "confidence_interval"): "cka(estimator=debiased)",
    ("measure", "paired_test"): "cka(estimator=debiased)",
    ("measure", "correspondence"): None,
    ("measure", "model_similarity"): None,
    ("measure", "redundancy"): "cka(estimator=debiased)",
    ("measure", "summary"): None,
    ("measure", "table"): None,
    ("measure", "plot.heatmap"): None,
    ("measure", "embed"): None,
    ("measure", "cluster"): None,
    ("measure", "permanova"): None,
    ("measure", "consistency"): None,
    ("measure", "plot.embedding"): None,
    ("measure", "plot.dendrogram"): None,
    ("measure", "plot.model_heatmap"): None,
    # Of a map, of a tree, and of a correlation.
    ("method", "embed"): "classical",
    ("method", "cluster"): "average",
    ("method", "consistency"): "pearson",
    ("measure", "plot.trajectory"): None,
    # Of a training these are moments, elsewhere a baseline.
    ("against", "compare_checkpoints"): ("first", "previous", "last"),
    ("against", "plot.trajectory"): "last",
    # Of the computer, or of the device where the activations are.
    ("memory", "extract"): None,
    ("memory", "compare"): None,
    ("memory", "plan"): None,
    # How layers become one number, and what lines go along.
    ("by", "model_similarity"): "best_match",
    # A change of a network keeps the names of its layers.
    ("pairs", "check"): "same_name",
    ("pairs", "testing.assert_alike"): "same_name",
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


@pytest.mark.parametrize("name", ["extract", "compare", "check", "diagnose"])
def test_the_command_line_has_the_defaults_of_the_library(name):
    options = inspect.signature(getattr(app, name)).parameters
    assert {"memory"} <= options.keys() & parameters(name).keys()
    for shared in options.keys() & parameters(name).keys() - {
        "data",
        "model",
        "out",
        "reduce",
        "method",
        "before",
        "after",
    }:
        default = parameters(name)[shared].default
        if shared == "memory" and default is None:
            # Its arrays are on no device, and its help shows a number.
            default = {"extract": "8GiB", "compare": "2GiB"}[name]
        assert options[shared].default == default, shared
    if name == "diagnose":
        assert options["permutations"].default == parameters(name)["n_permutations"].default


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
    parts = [part for part in vars(hl.measure("cka")).values() if type(part).__module__.startswith("homolog")]
    assert parts
    assert all(isinstance(part, hl.Invariances | hl.Family) for part in parts)


def test_fields_that_hold_a_pvalue_are_called_so():
    for name in hl.__all__:
        thing = getattr(hl, name)
        if inspect.isclass(thing) and is_dataclass(thing):
            assert not {"p", "p_value", "level"} & {field.name for field in fields(thing)}, name
    assert {"pvalue"} <= {f.name for f in fields(hl.PermutationTest)} & {f.name for f in fields(hl.PairedTest)}


@pytest.mark.parametrize("name", [*hl.__all__, *(f"plot.{name}" for name in hl.plot.__all__), "testing.assert_alike"])
def test_everything_public_is_in_the_reference(name):
    if name in ("plot", "testing"):
        return
    written = {"measures": "measures.registry.measures", "plot.heatmaps": "plot.heatmaps.heatmaps"}.get(name, name)
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
        # Tensors keep their dtype, as a loss wants it; NumPy's arrays are computed in float64.
        assert str(value.dtype).endswith("float32" if library is torch.asarray and dtype == np.float32 else "float64")


@pytest.mark.parametrize("value", [0.25, np.float32(0.25), 1])
def test_a_number_from_a_formula_of_ones_own_becomes_an_array(value):
    def constant(x: object, y: object, shared: object) -> object:
        """Say nothing."""
        return value

    class Own(hl.Family):
        name = "own"

        def prepare(self, x, **options):
            return x.array

        def meet(self, x, y):
            return None

        def remarks(self, operands, pairs):
            return []

        def cost(self, sizes, **options):
            return Cost()

    options = {"kind": "similarity", "range": (0, 1), "symmetric": True, "formula": "c", "reference": "none"}
    try:
        measured = hl.register(Own(), **options)(constant)
        found = measured(torch.eye(5), torch.eye(5))
    finally:
        hl.unregister("constant")
    assert (found.shape, found.dtype, float(found)) == ((), torch.float32, float(value))


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
MOMENTS = hl.compare_checkpoints(None, {step: layers(step)[0] for step in (1, 10, 100)}, None, measures="cka")
PROBED = xarray.Dataset({"accuracy": ("layer", [0.3, 0.8])}, {"layer": ["a", "b"]}, {"chance": 0.3})
SIMILAR = hl.model_similarity(MANY)
ON = {name: np.corrcoef(np.random.default_rng(seed).normal(size=(8, 5))) for seed, name in enumerate("ab")}
DRAWN = {
    "heatmap": (RESULT,),
    "heatmaps": (RESULT,),
    "lines": (PROBED, "accuracy"),
    "probe": (PROBED,),
    "identification": (hl.layer_identification(MANY),),
    "embedding": (SIMILAR,),
    "dendrogram": (SIMILAR,),
    "model_heatmap": (SIMILAR,),
    "consistency": (hl.consistency(ON),),
    "permanova": (hl.permanova(ON["a"], list("xxxxyyyy")),),
    "shared_subspace": (hl.shared_subspace(*PAIR),),
    "explanation": (hl.explain_cka(*PAIR),),
    "trajectory": (MOMENTS,),
    "redundancy": (hl.redundancy(layers()[0]),),
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


def test_a_method_without_an_interval_is_an_error():
    x = np.random.default_rng(0).normal(size=(20, 3))
    for door in (hl.compare, hl.plan):
        with pytest.raises(ValueError, match="method='subsample' is for intervals, got none: pass interval=True"):
            door(x, x[:, :2], method="subsample")
