"""Models in files of Keras', loaded by Keras' own safe loading: nothing in a file is ever run."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from homolog.machine import optional
from homolog.names import first_line, shown

_RUNS_CODE = {
    "Lambda": "a Lambda layer",
    "__lambda__": "a lambda function",
    "TFSMLayer": "a program of TensorFlow's (TFSMLayer)",
    "TorchModuleWrapper": "a pickled module of PyTorch's (TorchModuleWrapper)",
}
"""What a configuration can hold that runs code when it is loaded, or when the model is called."""
SAFE_SINCE = (3, 13, 2)
"""The version of Keras since which safe loading keeps what it promises: before, files could run code in spite of it."""


def load(path: Path) -> Any:
    """Load a model, or say in one sentence why not."""
    if not path.exists():
        raise FileNotFoundError(f"there is no file {str(path)!r}: check the name and the folder.")
    config = _read_archive(path) if path.suffix == ".keras" else _read_hdf5(path)
    names = (re.split("[.>]", item["class_name"])[-1] for item in _objects(config))
    found = next((_RUNS_CODE[name] for name in names if name in _RUNS_CODE), None)
    if found is not None:
        raise ValueError(
            f"model must be a file that runs no code, got {path.name!r} with {found}: if you trust the file, load it yourself by "
            f"keras.saving.load_model(path, safe_mode=False), and pass the model."
        )
    keras = _keras()
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # whatever Keras raises for damaged files and for layers that it does not know
        raise ValueError(_why_not(keras, path, config, error)) from error


def _why_not(keras: Any, path: Path, config: Any, error: Exception) -> str:
    """Word what Keras could not load."""
    known = keras.saving.get_registered_object
    own = [
        item["class_name"] for item in _objects(config) if _is_own(item) and known(item.get("registered_name")) is None
    ]
    if own or "Unknown layer" in str(error):
        which = f" with {', '.join(shown(name) for name in dict.fromkeys(own))}" if own else ""
        return (
            f"model must be a file of layers that Keras knows, got {path.name!r}{which} ({_first_sentence(error)}): import the "
            f"module that registers them by @keras.saving.register_keras_serializable() before, or load it yourself by "
            f"keras.saving.load_model(path, custom_objects=...), and pass the model."
        )
    return (
        f"model must be a file that Keras {keras.__version__} can load, got {path.name!r} ({_first_sentence(error)}): write it "
        f"again by model.save({path.name!r}), or build the model yourself and pass it."
    )


def _first_sentence(error: Exception) -> str:
    return shown(first_line(error).split(". ")[0])


def _is_own(item: dict[str, Any]) -> bool:
    """Say whether an object of a configuration is of a class that is not Keras' own."""
    module = item.get("module")
    return "registered_name" in item and not (isinstance(module, str) and module.split(".")[0] in ("keras", "builtins"))


def _keras() -> Any:
    try:
        keras = optional("keras", "keras", "loading a model of Keras'")
    except ImportError as error:
        missing = getattr(error.__cause__, "name", None)
        if missing in ("tensorflow", "jax", "torch"):
            raise ImportError(
                f"Keras must find the library that runs its models, and {missing} is not installed: set the environment "
                f"variable KERAS_BACKEND to one that is, torch, jax or tensorflow, before Python starts."
            ) from error
        raise
    version = tuple(int(part) for part in re.findall(r"\d+", keras.__version__)[:3])
    if version < SAFE_SINCE:
        since = ".".join(map(str, SAFE_SINCE))
        raise ImportError(
            f"loading a model from a file needs Keras {since} or later, got {keras.__version__}, whose "
            f'safe loading can be got round: pip install "keras>={since}", or load a file that you trust yourself and pass the '
            f"model."
        )
    return keras


def _read_archive(path: Path) -> Any:
    """Return the configuration in a `.keras` archive, or in a folder of the same content."""
    try:
        if path.is_dir():
            return json.loads((path / "config.json").read_bytes())
        with zipfile.ZipFile(path) as archive:
            return json.loads(archive.read("config.json"))
    except (zipfile.BadZipFile, KeyError, ValueError, OSError) as error:
        raise ValueError(
            f"model must be a .keras file that Keras wrote, got {path.name!r} ({first_line(error)}): write it again by "
            f"model.save({path.name!r})."
        ) from error


def _read_hdf5(path: Path) -> Any:
    """Return the configuration in an HDF5 file."""
    h5py = optional("h5py", "keras", "loading a model from HDF5")
    try:
        with h5py.File(path, "r") as file:
            text = file.attrs.get("model_config")
            groups = sorted(file)
    except OSError as error:
        raise ValueError(
            f"model must be a readable HDF5 file, got {path.name!r} ({first_line(error)}): write it again by "
            f"model.save({path.name!r})."
        ) from error
    if text is None:
        names = ", ".join(map(shown, groups[:5])) or "nothing"
        raise ValueError(
            f"model must be a file of a whole model, got {path.name!r} without a configuration (it holds {names}): if these are "
            f"weights, build the model, call its load_weights, and pass it; if they are activations, open them by homolog.open."
        )
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(
            f"model must be a file of a whole model, got {path.name!r} with a damaged configuration ({first_line(error)}): write "
            f"it again by model.save({path.name!r})."
        ) from error


def _objects(config: Any) -> Iterator[dict[str, Any]]:
    """Yield everything with a class in a configuration, however deep."""
    waiting = [config]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            if isinstance(item.get("class_name"), str):
                yield item
            waiting += item.values()
        elif isinstance(item, list):
            waiting += item
