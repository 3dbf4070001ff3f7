"""Every kind of result, after every selection that people make, at every door: a value, or one sentence that helps."""

from __future__ import annotations

import re
import warnings

import numpy as np
import planted_networks as planted
import pytest
from matplotlib import pyplot

import homolog as hl
from homolog.cli.app import run
from homolog.result_kinds import COMPARISON, MADE_BY, kind_of
from homolog.whole_results import FORMS

PICTURES = [
    *(hl.plot.heatmap, hl.plot.heatmaps, hl.plot.trajectory, hl.plot.redundancy, hl.plot.consistency),
    *(hl.plot.embedding, hl.plot.dendrogram, hl.plot.model_heatmap),
]
READERS = [hl.summary, hl.table, hl.model_similarity, hl.embed, hl.cluster, hl.correspondence, hl.log_dict]
OTHER_KIND = "this needs a result of|must be of models, one number|is of one comparison|needs two models"


def models_of(rng, names="abcd", layers="pq"):
    base = rng.normal(size=(len(layers), 60, 5))
    return {
        name: {layer: x + 0.5 * rng.normal(size=x.shape) for layer, x in zip(layers, base, strict=True)}
        for name in names
    }


def made():
    """One result of every kind, and two more of comparisons."""
    rng = np.random.default_rng(0)
    models = models_of(rng)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hl.HomologWarning)
        many = hl.compare(models, measures="cka", null="permutation", n_permutations=99)
        two = hl.compare(models["a"], models["b"], measures="cka", null="permutation", n_permutations=99)
        similar = hl.model_similarity(many)
        x, noise = rng.normal(size=(2, 60, 5))
        checkpoints = {step: {"p": x + noise / (1 + step), "q": x - noise / (2 + step)} for step in (0, 10, 20)}
        return {
            "two models": two,
            "many models": many,
            "trajectory": hl.compare_checkpoints(None, checkpoints, None, measures="cka", progress=False),
            "similarity": similar,
            "redundancy": hl.redundancy(planted.stream(n=40)),
            "map": hl.embed(similar),
            "clusters": hl.cluster(similar, n_clusters=2),
            "consistency": hl.consistency({"one": similar, "other": hl.model_similarity(hl.compare(models_of(rng)))}),
        }


RESULTS = made()


def along(dimension):
    return {
        f"one of {dimension}": lambda one: one.isel({dimension: -1}),
        f"a list of {dimension}": lambda one: one.isel({dimension: [-1]}),
        f"none of {dimension}": lambda one: one.isel({dimension: []}),
        f"{dimension} twice": lambda one: one.isel({dimension: [0, 0, *range(1, one.sizes[dimension])]}),
        f"{dimension} reversed": lambda one: one.isel({dimension: slice(None, None, -1)}),
        f"{dimension} renamed": lambda one: one.rename_dims({dimension: "other"}),
    }


def selections_of(result):
    """Name → what people do to a result."""
    found = {
        "transposed": lambda one: one.transpose(),
        "expanded": lambda one: one.expand_dims("run"),
        "without attributes": lambda one: one.drop_attrs(),
        "all masked": lambda one: one.where(False) if all(v.dtype.kind == "f" for v in one.data_vars.values()) else one,
    }
    for dimension in result.dims:
        found |= along(dimension)
    for name in result.variables:
        found[f"without {name}"] = lambda one, name=name: one.drop_vars(name)
        found[f"{name} alone"] = lambda one, name=name: one[[name]]
    for name in result.attrs:
        found[f"without attribute {name}"] = lambda one, name=name: one.assign_attrs(
            {key: value for key, value in one.attrs.items() if key != name}
        ).pipe(lambda kept, name=name: without(kept, name))
    return found


def without(result, name):
    result.attrs.pop(name, None)
    return result


def doors(tmp_path, drawn):
    return [*PICTURES, lambda one: hl.report(one, tmp_path / "page.html")] if drawn else READERS


def ask(door, result):
    """Ask at a door; return the error that it raises, if any."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", hl.HomologWarning)
            door(result)
    except Exception as error:
        return error
    finally:
        pyplot.close("all")
    return None


def is_a_sentence(error):
    """Whether an error is one of ours: what was expected, what was got, what to do."""
    told = str(error.args[0]) if error.args else ""
    ours = isinstance(error, ValueError | TypeError | KeyError)
    return ours and told.endswith(".") and re.search(r"\bgot\b|which holds|have different names", told) is not None


def test_every_kind_has_a_form_and_is_tried():
    assert set(FORMS) | {COMPARISON} == set(MADE_BY)
    assert {kind_of(result) for result in RESULTS.values()} == set(MADE_BY)


@pytest.mark.parametrize("drawn", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", RESULTS)
def test_selections_give_a_value_or_one_sentence(kind, drawn, tmp_path):
    result = RESULTS[kind]
    own = [door for door in doors(tmp_path, drawn) if not re.search(OTHER_KIND, str(ask(door, result)))]
    assert own or kind in ("map", "clusters")  # which are drawn alone
    assert own or not drawn
    wrong = []
    for name, select in selections_of(result).items():
        try:
            selected = select(result)
        except (ValueError, KeyError):  # xarray itself does not do this
            continue
        for door in own:
            error = ask(door, selected)
            if error is not None and not is_a_sentence(error):
                wrong.append(f"{name}, {getattr(door, '__name__', '')}: {error!r}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("kind", RESULTS)
def test_other_orders_of_axes_and_chunks_change_nothing(kind, tmp_path):
    result = RESULTS[kind]
    alike = [result.transpose()]
    if pytest.importorskip("dask", reason="chunks are of dask"):
        alike.append(result.chunk())
    for door in (hl.summary, hl.table):
        expected = None
        for one in (result, *alike):
            told = ask(door, one)
            if told is not None:
                assert re.search(OTHER_KIND, str(told))
                continue
            found = str(door(one))
            expected = expected or found
            assert found == expected


@pytest.mark.parametrize("kind", RESULTS)
def test_info_tells_what_a_file_of_any_kind_holds(kind, tmp_path, capsys):
    RESULTS[kind].to_netcdf(tmp_path / "r.nc")
    assert run(["info", str(tmp_path / "r.nc")]) == 0
    told = capsys.readouterr().out
    assert f"{kind_of(RESULTS[kind])}, as {MADE_BY[kind_of(RESULTS[kind])]} makes it" in told
    for name in {"map": ["stress", "component 2"], "clusters": ["cluster", "cka"]}.get(kind, []):
        assert name in told
