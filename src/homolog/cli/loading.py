"""What a command line names: objects in modules, files of activations, results."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from homolog import files
from homolog.activations import Activations, unknown_among
from homolog.analysis.thresholds import collected, split_threshold
from homolog.arrays import described
from homolog.cli.model_names import model_names
from homolog.cli.output import netcdf_engine
from homolog.extraction.adapters import adapter_of
from homolog.files.other_files import RUN
from homolog.matching import matched_rows
from homolog.measures.record import Measure, typed
from homolog.measures.registry import measure
from homolog.measures.spec import read
from homolog.names import first_line
from homolog.result_kinds import COMPARISON, kind_of
from homolog.results import check_result, measure_names
from homolog.store.disk import check_file
from homolog.whole_results import whole

if TYPE_CHECKING:
    import xarray

    from homolog.extraction.layer_values import AdaptedModel


def imported_object(text: str) -> Any:
    """Return what `package.module:name` or `file.py:name` stands for; modules of the current folder are found."""
    where, colon, name = text.rpartition(":")
    if not colon or not where or not name:
        raise ValueError(f"a Python object must be named as module:name or file.py:name, got {text!r}.")
    module = _module(where)
    found: Any = module
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            public = [other for other in dir(found) if not other.startswith("_")]
            raise KeyError(unknown_among("name", part, public)) from None
    return found


def _module(where: str) -> Any:
    if where.endswith(".py"):
        path = Path(where)
        spec = importlib.util.spec_from_file_location(path.stem, path)
        if not path.is_file() or spec is None or spec.loader is None:
            raise FileNotFoundError(f"there is no file {where!r}: check the name and the folder.")
        known = sys.modules.get(path.stem)
        if known is not None and Path(getattr(known, "__file__", None) or "").resolve() == path.resolve():
            return known  # a file that registers measures can be run once
        module = importlib.util.module_from_spec(spec)
        sys.modules.setdefault(path.stem, module)
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            sys.modules.pop(path.stem, None)
            raise ValueError(f"{where!r} must be importable, got {_cause(error)}.") from None
        return module
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(where)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name is not None and where.startswith(error.name):
            raise ValueError(
                f"there is no module {where!r} here or installed: check the name, or run from the folder that holds it."
            ) from None
        raise ValueError(f"module {where!r} must be importable, got {_cause(error)}.") from None


def _cause(error: Exception) -> str:
    """Say what went wrong in somebody's code, and where."""
    if isinstance(error, SyntaxError):
        return f"SyntaxError: {error.msg} (line {error.lineno} of {error.filename})"
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {' '.join(str(error).split())} (line {last.lineno} of {last.filename})"


MODEL_FILES = (*RUN, ".h5", ".hdf5")
"""What the names of files end in that hold a whole model, which is no Python object."""
DATA_FILES = (".npy", ".npz")
WEIGHTS = (".pt", ".pth", ".ckpt", ".safetensors", ".bin")


def model(text: str) -> Any:
    """Return the path of a model's file, or the model that a factory makes or that a module holds."""
    path = Path(text)
    if path.suffix.lower() in MODEL_FILES:
        return _there(path)
    remedy = "write a function that returns the model"
    if path.suffix.lower() in WEIGHTS:
        remedy = "weights alone do not say how a model computes, so write a function that makes it and loads them"
    return _made(text, "MODEL", MODEL_FILES, remedy)


def factory(text: str) -> Any:
    """Return the function that makes a network, without calling it."""
    if not all(text.rpartition(":")) or Path(text).suffix.lower() in (*MODEL_FILES, *WEIGHTS):
        raise ValueError(
            f"MODEL must be module:name or file.py:name of a function that makes the network, got {text!r}: weights are loaded "
            f"into what it returns."
        )
    return imported_object(text)


def layers_of_model(path: Path) -> AdaptedModel | None:
    """Return what is known of the layers of a model's file before any run; None for any other file."""
    adapter = adapter_of(path) if path.suffix.lower() in RUN else None
    return None if adapter is None else adapter.adapt(_there(path))


def data(text: str) -> Any:
    """Return the arrays of NumPy's file, or the data that a factory makes or that a module holds."""
    path = Path(text)
    if path.suffix.lower() in DATA_FILES:
        return _arrays(path)
    return _made(text, "--data", DATA_FILES, "save the numbers with numpy.save, or write a function that returns them")


def _made(text: str, argument: str, endings: Sequence[str], remedy: str) -> Any:
    """Return what a factory makes, or what a module holds."""
    if not all(text.rpartition(":")):
        raise ValueError(
            f"{argument} must be module:name, file.py:name, or a file ending in {', '.join(endings)}, got {text!r}: {remedy}."
        )
    found = imported_object(text)
    is_factory = callable(found) and not hasattr(found, "forward")
    if not is_factory or adapter_of(found) is not None:
        return found
    try:
        return found()
    except Exception as error:
        raise ValueError(
            f"{text!r} must return the model or the data when called without arguments, got {_cause(error)}."
        ) from None


def _there(path: Path) -> Path:
    """Return the name of a file that is there."""
    if not path.exists():
        raise FileNotFoundError(f"there is no file {str(path)!r}: check the name and the folder.")
    check_file(path)
    return path


def _arrays(path: Path) -> Any:
    """Return the array of an .npy, whose rows are read as they are needed, or name → array of an .npz."""
    try:
        found = np.load(_there(path), mmap_mode="r", allow_pickle=False)
        return {name: found[name] for name in found.files} if path.suffix.lower() == ".npz" else found
    except (EOFError, zipfile.BadZipFile, ValueError) as error:
        raise ValueError(
            f"{path.name!r} must hold arrays of numbers, got a file that NumPy cannot read without pickle ({first_line(error)}): "
            f"save them with numpy.save or numpy.savez."
        ) from None


def chosen_measures(forms: Sequence[str]) -> dict[str, Any]:
    """Return text → measure; `module:function` is anybody's own, and an option that is an array the name of a file."""
    chosen: dict[str, Any] = {}
    for form in forms:
        record, name = _measure(form)
        if name in chosen:
            raise ValueError(f"measures must differ, got {name!r} twice: leave one out.")
        chosen[name] = record
    return chosen


def thresholds(forms: Sequence[str] | None) -> dict[Measure, dict[str, float]] | None:
    """Return measure → glob → number of MEASURE=NUMBER and MEASURE=NUMBER@GLOB, as `homolog.check` takes it."""
    parts = [(_measure(form)[0], number, glob) for form, number, glob in map(split_threshold, forms or [])]
    return {each.record: dict(each.rules) for each in collected(parts)} or None


def _measure(form: str) -> tuple[Measure, str]:
    return _imported_measure(form) if ":" in form else _registered(form)


def _registered(form: str) -> tuple[Measure, str]:
    name, written = read(form)
    record = measure(name)
    # An option that is an array is given as the file that holds it.
    arrays = {key: _one_layer(Path(text)) for key, text in written.items() if record.defaults.get(key, "") is None}
    record = record.bind(**arrays, **typed(record, {k: v for k, v in written.items() if k not in arrays}))
    return record, str(record)


def _one_layer(path: Path) -> Any:
    layers = files.open(path)
    if len(layers) != 1:
        raise ValueError(
            f"{str(path)!r} must hold one layer, got {len(layers)}: save the one that is meant in its own file."
        )
    return next(iter(layers.values()))


def _imported_measure(form: str) -> tuple[Measure, str]:
    """Return the measure that `module:function` or `module:function(option=value)` names, and what it is called."""
    where, _, rest = form.partition("(")
    record = measure(_function(where))
    if rest:
        _, written = read(f"{record.name}({rest}")
        record = record.bind(**typed(record, written))
    place, _, name = where.rpartition(":")
    return record, f"{Path(place).stem}:{str(record).replace(record.name, name, 1)}"


def import_module(where: str) -> None:
    """Import a module or a file for the measures that it registers."""
    _module(where)


def _function(text: str) -> Callable[..., Any]:
    found = imported_object(text)
    if not callable(found):
        raise TypeError(f"{text!r} must be a function of two arrays, got {described(found)}.")
    return found


def reductions(given: Sequence[str]) -> Any:
    """Return one reduction, or a mapping from globs where any is written as GLOB=REDUCTION."""
    return _rules(given, "a reduction must be written as GLOB=REDUCTION")


def sketches(given: Sequence[str] | None) -> Any:
    """Return one number of columns, or a mapping from globs where any is written as GLOB=COLUMNS; None for none."""
    found = _rules(given, "a sketch must be written as GLOB=COLUMNS") if given else None
    if isinstance(found, dict):
        return {pattern: _columns(rule) for pattern, rule in found.items()}
    return None if found is None else _columns(found)


def _columns(text: str) -> int | str | None:
    """Return a number as it is meant; the library refuses any other text."""
    return None if text == "none" else int(text) if text.isascii() and text.isdigit() else text


def _rules(given: Sequence[str], form: str) -> Any:
    """Return one rule, or a mapping from globs where any is written as GLOB=RULE."""
    if len(given) == 1 and "=" not in given[0]:
        return given[0]
    rules = {}
    for text in given:
        pattern, equals, rule = text.rpartition("=")
        if equals and not pattern:
            raise ValueError(f"{form}, got {text!r}.")
        rules[pattern if equals else "**"] = rule
    # What holds for all layers comes last: the first match counts.
    return {pattern: rules[pattern] for pattern in sorted(rules, key=lambda pattern: pattern == "**")}


def activations(
    paths: Sequence[Path], patterns: Sequence[list[str] | None], ids: Sequence[str] = ()
) -> dict[str, Activations]:
    """Return name → activations of files, restricted to layers; patterns are per file, the last for all further ones.

    Of the names of `ids`, the first that a file has says who its rows are.
    """
    found: dict[str, Activations] = {}
    unknown = list(ids)
    for index, (path, name) in enumerate(zip(paths, model_names(paths), strict=True)):
        chosen = patterns[min(index, len(patterns) - 1)]
        layers, has = files.open_by(path, ids)
        unknown = [name for name in unknown if name not in has]
        # In a result the file's name tells models of one class apart.
        found[name] = (layers.select(*chosen) if chosen else layers).described(model=name)
    if unknown:
        raise ValueError(
            f"--ids must name a column or an array with one entry per row of at least one file, got {unknown[0]!r}, which none "
            f"has: check its spelling; the .zarr of a store knows who its rows are."
        )
    return found


def with_common_rows(models: Mapping[str, Activations]) -> dict[str, Activations]:
    """Keep the rows that all files hold, matched by who they are, in the order of the first."""
    if len(models) < 2:
        raise ValueError("--common-rows needs two files, got one: name a second file, or leave --common-rows out.")
    return dict(zip(models, matched_rows(models), strict=True))


def _dataset(path: Path) -> xarray.Dataset | None:
    """Read a file of netCDF; None where it is none."""
    import xarray

    hook = sys.unraisablehook
    # A damaged file makes h5netcdf print a traceback of its own when its half-opened file is collected.
    sys.unraisablehook = lambda _: None
    try:
        return xarray.load_dataset(path, engine=_engine_for(path))
    except PermissionError:
        raise
    except Exception as error:  # whatever damaged bytes make the readers stumble over
        traceback.clear_frames(error.__traceback__)
        return None
    finally:
        sys.unraisablehook = hook


def _engine_for(path: Path) -> str | None:
    """Return what reads a file of netCDF 4, whatever its name; None where xarray is to find out."""
    with path.open("rb") as file:
        return netcdf_engine() if file.read(4) == b"\x89HDF" else None


def result(path: Path) -> xarray.Dataset:
    """Read a result."""
    found = _dataset(_there(path))
    if found is None:
        raise ValueError(
            f"{str(path)!r} must be a result that `homolog compare --out` wrote, got something that is no netCDF file."
        )
    try:
        if kind_of(found) != COMPARISON:
            return whole(found, kind_of(found))
        measure_names(found)
        check_result(found, joined=True)
    except ValueError as error:
        raise ValueError(f"in {str(path)!r}, {error}") from error
    return found
