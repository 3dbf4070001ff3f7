"""What the command line prints and writes: tables for people, tab-separated lines for pipes, sentences for errors."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from homolog.activations import MODULES, Activations
from homolog.analysis import Check, Diagnosis, correspondence
from homolog.analysis.diagnosis_groups import as_row
from homolog.machine import optional
from homolog.names import printable, quoted, shown
from homolog.result_kinds import CONSISTENCY, MADE_BY, MODEL_MAP, MODEL_SIMILARITY, TRAJECTORY, kind_of
from homolog.results import companion, measure_names, two_by_two, without_diagonal, written_probability
from homolog.sketching import Sketch, in_words, read_name
from homolog.store.disk import write_whole
from homolog.store.layout import Contents
from homolog.store.reading import StoredRows

if TYPE_CHECKING:
    import xarray

    from homolog.extraction.layer_values import AdaptedModel


_SPOKEN = {
    "homolog.measure('deconfounded_cka', inputs=x)": "-m 'deconfounded_cka(inputs=FILE)'",
    "homolog.measures() lists them": "`homolog measures` lists them",
    "homolog.open(path, ids=...) for a file and .set_index(...) for a DataFrame of pandas": "--ids NAME",
    "pass ids=": "pass --ids ",
    "ids= names": "--ids names",
    "resume=True": "--resume",
    "without sketch=": "without --sketch",
    "sketch= of homolog.extract": "--sketch of `homolog extract`",
    "sketch=": "--sketch ",
    'pass dtype="float64"': "pass --dtype float64",
    "sketch must be": "--sketch must be",
    "sketch of layer": "--sketch of layer",
    "rng must be the seed of the sketches": "--seed must be the seed of the sketches",
    "with rng ": "with --seed ",
    "got rng ": "got --seed ",
    "max_examples": "--max-examples",
    "at_least": "--at-least",
    "at_most": "--at-most",
}
# The names between the parentheses may hold parentheses too.
_COMMON_ROWS = re.compile(r"homolog\.common_rows(\(.*\))?(?= keeps|\.$)", re.DOTALL)


def fail(message: str, status: int = 2) -> int:
    """Print one sentence to standard error and return the exit status."""
    print(f"homolog: {printable(message)}", file=sys.stderr)
    return status


class Interruption(Exception):
    """Somebody stopped the command; the message says how to go on."""


@contextmanager
def interruptible(how: Callable[[], str]) -> Iterator[None]:
    """Say how to go on where somebody stops what takes long."""
    try:
        yield
    except KeyboardInterrupt as stop:
        raise Interruption(f"interrupted: {how()}") from stop


def error_sentence(error: Exception) -> str:
    """Return the sentence of an exception; a KeyError would quote it, and the system's own errors are no sentences."""
    if isinstance(error, OSError) and error.strerror:
        where = f" with {quoted(error.filename)}" if error.filename is not None else ""
        return f"the system refused to go on{where}: {error.strerror}."
    message = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    return spoken(message)


def out_of_memory(error: MemoryError) -> str:
    """Say that memory did not suffice, and for what where that is known."""
    what = f" ({sentence(str(error)).rstrip('.')})" if str(error) else ""
    return f"the machine has not enough memory{what}: choose fewer layers or examples, or write activations to a .zarr."


def spoken(message: str) -> str:
    """Return a sentence of the library, which speaks Python, in words of the command line."""
    for python, shell in _SPOKEN.items():
        message = message.replace(python, shell)
    return _COMMON_ROWS.sub("--common-rows", message)


def sentence(message: str) -> str:
    """End a message with a full stop, on one line."""
    line = " ".join(message.split())
    return line if line.endswith((".", "?", "!")) else f"{line}."


def show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    """Print a warning as a note, without the line of code that gave it."""
    print(f"note: {printable(spoken(str(message)))}", file=sys.stderr)


def check_target(path: Path | None, option: str, suffixes: Sequence[str]) -> None:
    """Raise before any work if a file cannot be written where asked."""
    if path is None:
        return
    if path.suffix not in suffixes:
        raise ValueError(f"{option} must end in {' or '.join(suffixes)}, got {path.name!r}: change its name.")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{option} must be in a folder that exists, got {str(path.parent)!r}: make it first.")


def netcdf_engine() -> str | None:
    """Return what reads and writes .nc files: h5netcdf, which takes any name of a file, where it is installed."""
    return "h5netcdf" if find_spec("h5netcdf") else None


def write_file(path: Path, save: Callable[[str], Any]) -> None:
    """Write a file and say so."""
    write_whole(path, save)
    print(f"written: {printable(str(path))}", file=sys.stderr)


def tell_common_rows(before: Mapping[str, Activations], n: int) -> None:
    """Say how many rows of each file were kept."""
    counts = ", ".join(f"{shown(name)} has {layers.n}" for name, layers in before.items())
    print(f"note: {n} rows are kept, which all files hold ({counts}).", file=sys.stderr)


def draw_heatmaps(path: Path, result: xarray.Dataset) -> None:
    """Draw every measure of a result side by side."""
    from homolog.plot import heatmap, heatmaps

    names = measure_names(result)
    draw(path, lambda: heatmap(result).figure if len(names) == 1 else heatmaps(result))


def draw(path: Path, drawn: Callable[[], Any]) -> None:
    """Draw a figure into a file."""
    optional("matplotlib", "plot", "--plot").use("Agg")
    figure = drawn()
    write_file(path, lambda target: figure.savefig(target, dpi=150))


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], title: str = "", about: Mapping[str, str] | None = None
) -> None:
    """Print a table to a terminal, tab-separated lines to a pipe; what is said about the whole comes below."""
    if not sys.stdout.isatty():
        below = [[], *about.items()] if about else []
        for row in [columns, *rows, *below]:
            print("\t".join(printable(" ".join(str(cell).split())) for cell in row))
        return
    table = Table(title=Text(printable(title)) if title else None, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        # Text, because names are data: brackets in them are not markup.
        table.add_row(*(Text(printable(cell, lines=True)) for cell in row))
    Console().print(table)
    for key, value in (about or {}).items():
        Console().print(Text(f"{printable(key)}: {printable(value)}"))


def print_result(result: xarray.Dataset) -> None:
    """Print, for every layer of a and every measure, the most alike layer of b; of many models for every pair of them."""
    many = "a" in result.dims
    rows = []
    for part in two_by_two([result]):
        models = [part.attrs["model_a"], part.attrs["model_b"]] if many else []
        rows += [models + row for row in _best_rows(part)]
    same = bool(result.attrs["same_model"]) and not many
    columns = [
        "measure",
        "layer of a",
        "most alike other layer" if same else "most alike layer of b",
        "value",
        "mutual",
    ]
    columns += _uncertainty_columns(result)
    if many:
        columns = ["a", "b", *columns]
    title = "" if many else f"{result.attrs['model_a']} and {result.attrs['model_b']}, "
    print_table(columns, rows, f"{title}n = {int(result.attrs['n_examples'])}")


def _best_rows(result: xarray.Dataset) -> list[list[str]]:
    rows = []
    for name in measure_names(result):
        # A model compared with itself: the most alike *other* layer is what a reader wants.
        found = correspondence(without_diagonal(result, name) if result.attrs["same_model"] else result, name)
        for layer in found.layer_a.values:
            at = found.sel(layer_a=layer)
            mutual = "yes" if bool(at.mutual_a) else ""
            best = str(at.best_b.item())
            uncertainty = _uncertainty(result, name, str(layer), best)
            rows.append([name, str(layer), best, f"{float(at.value_b):.4f}", mutual, *uncertainty])
    return rows


def _uncertainty_columns(result: xarray.Dataset) -> list[str]:
    """Return the headings of what a result says about how sure it is."""
    interval = f"{float(result.attrs['level']):.0%} interval" if "level" in result.attrs else ""
    calibrated = ["calibrated"] * _has(result, "calibrated")
    return calibrated + [interval] * bool(interval) + ["p (Benjamini-Hochberg)"] * _has(result, "p_fdr")


def _uncertainty(result: xarray.Dataset, name: str, layer: str, best: str) -> list[str]:
    """Return the interval and the adjusted p-value of one pair, where the result has them."""
    if not best:
        return ["" for _ in _uncertainty_columns(result)]
    at = {"layer_a": layer, "layer_b": best}
    found = []
    if _has(result, "calibrated"):
        score = companion(result, name, "calibrated")
        found.append("" if score is None else f"{float(score.sel(at)):.4f}")
    if "level" in result.attrs:
        low, high = (float(result[f"{name}_{end}"].sel(at)) for end in ("low", "high"))
        found.append(f"{low:.4f} to {high:.4f}")
    if _has(result, "p_fdr"):
        adjusted = companion(result, name, "p_fdr")
        found.append("" if adjusted is None else written_probability(float(adjusted.sel(at))))
    return found


def _has(result: xarray.Dataset, kind: str) -> bool:
    return any(companion(result, name, kind) is not None for name in measure_names(result))


def print_diagnosis(found: Diagnosis, *, every: bool) -> None:
    """Print findings by kind or every one by itself, or that there are none."""
    if not found.findings:
        print(found)
        return
    groups = [(finding,) for finding in found] if every else found.groups
    print_table(["finding", "where", "what", "what to do"], list(map(as_row, groups)))


def print_check(found: Check) -> None:
    """Print the layers that fell short, and below them what came out."""
    columns, rows = found.table()
    if rows:
        print_table(columns, rows)
    print(printable(found.verdict))
    for note in found.notes:
        print(f"note: {printable(spoken(note))}", file=sys.stderr)


def print_activations(activations: Activations) -> None:
    """Print the layers of activations, and what is known of their rows."""
    columns, rows = _layer_table(activations, activations.sketches)
    known = {
        "example ids": activations.example_ids,
        "positions in examples": activations.positions,
        "digests of inputs": activations.digests,
    }
    identities = ", ".join(what for what, values in known.items() if values is not None)
    about = {"rows": str(activations.n), "rows are identified by": identities or "nothing"} | activations.provenance
    print_table(columns, rows, about=about)


def _layer_table(layers: Mapping[str, Any], sketches: Mapping[str, Sketch]) -> tuple[list[str], list[list[str]]]:
    """Return the headings and the rows of layers; of sketched ones how many features they have, and what is kept."""
    rows = []
    for name, array in layers.items():
        sketch = sketches.get(name)
        width = array.shape[1] if sketch is None else sketch.width
        rows.append([name, str(width), str(array.dtype), *([in_words(sketch)] if sketches else [])])
    return ["layer", "features", "dtype", *(["kept as"] if sketches else [])], rows


def print_layers_of_model(model: AdaptedModel) -> None:
    """Print which layers a model has, and which of them are taken where nobody names any."""
    taken = model.types if model.default is None else model.default
    rows = [[name, kind, "yes" if name in taken else ""] for name, kind in model.types.items()]
    about = {"model": model.title, "layers": f"{len(rows)}, of which {len(set(taken))} are taken by default"}
    print_table(["layer", "type", "by default"], rows, about=about)


def print_unfinished(path: Path, contents: Contents) -> None:
    """Print what a store holds whose extraction was not finished, and how it goes on."""
    layers = {name: StoredRows(path, name, key, contents.rows) for name, key in contents.layers.items()}
    said = {name: read_name(name) for name in layers}
    sketches = {plain: sketch for plain, sketch in said.values() if sketch is not None}
    columns, rows = _layer_table({said[name][0]: array for name, array in layers.items()}, sketches)
    safe = f"{contents.rows} rows are safe" if contents.rows else "no row is safe yet"
    about = {"state": f"unfinished: {safe}; the same `homolog extract` with --resume goes on from there"}
    told = {key: note for key, note in contents.provenance.items() if key != MODULES}
    print_table(columns, rows, about=about | told)


def print_made_of_similarities(result: xarray.Dataset) -> None:
    """Print what a map or a tree of models holds: where each model stands, or the cluster it is in."""
    kind = kind_of(result)
    about = {"result": f"{kind}, as {MADE_BY[kind]} makes it"}
    about |= {
        name.replace("_", " "): str(value) for name, value in result.attrs.items() if name in _OF_MODELS and str(value)
    }
    models = [str(model) for model in result.model.values]
    if kind == MODEL_MAP:
        columns = [f"component {number}" for number in result.component.values]
        cells = [[f"{value:.4f}" for value in row] for row in result.position.values]
    else:
        columns = ["cluster"] * ("cluster" in result)
        cells = [[str(number)] for number in result.cluster.values] if columns else [[] for _ in models]
    print_table(["model", *columns], [[name, *row] for name, row in zip(models, cells, strict=True)], about=about)
    _print_warnings(result)


_OF_MODELS = ("measure", "distance", "method", "stress", "cophenetic_correlation")


def print_contents(result: xarray.Dataset) -> None:
    """Print what a result holds, and its warnings."""
    rows = []
    for name in measure_names(result):
        values = result[name].values
        finite = values[np.isfinite(values)]
        span = f"{finite.min():.4f} to {finite.max():.4f}" if finite.size else "no value"
        rows.append([name, result[name].attrs["kind"], " × ".join(map(str, values.shape)), span])
    kind = kind_of(result)
    about = {"result": f"{kind}, as {MADE_BY[kind]} makes it"}
    if "n_examples" in result.attrs:
        about["examples"] = str(int(result.attrs["n_examples"]))
    about["homolog"] = str(result.attrs["homolog_version"])
    sizes = {MODEL_SIMILARITY: "models", TRAJECTORY: "references × steps × layers", CONSISTENCY: "data sets"}
    print_table(["measure", "kind", sizes.get(kind, "layers"), "values"], rows, about=about)
    _print_warnings(result)


def _print_warnings(result: xarray.Dataset) -> None:
    for category, message in json.loads(result.attrs.get("warnings", "[]")):
        print(printable(f"{category}: {message}"), file=sys.stderr)
