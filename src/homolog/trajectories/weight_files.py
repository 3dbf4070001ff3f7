"""Weights in files, read so that nothing in them runs and only what is used is in memory."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from homolog.arrays import described
from homolog.diagnostics import listed
from homolog.extraction.tensors import is_torch
from homolog.machine import optional
from homolog.names import first_line, quoted
from homolog.store.disk import check_file, read_json

WEIGHT_FILES = (".safetensors", ".pt", ".pth", ".ckpt", ".bin")
_MAIN = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
"""What the weights are called in a folder of Hugging Face's."""
_OTHERS = re.compile(
    r"(optimizer|scheduler|scaler|training_args|rng_state\w*|trainer_state)\.\w+|(?P<part>.*-\d{5}-of-\d{5})\.\w+"
)
"""What lies beside weights and is none, and the parts of weights that an index names."""
_POINTER = b"version https://git-lfs"
WRAPPERS = ("state_dict", "model_state_dict", "model", "module", "net", "network", "weights", "ema_state_dict", "ema")
"""Under which names the weights lie in what training loops save."""


def is_weights(path: Path) -> bool:
    """Say whether a file looks like weights, by its name."""
    return path.suffix in WEIGHT_FILES and _OTHERS.fullmatch(path.name) is None


def main_file(folder: Path) -> Path | None:
    """Return the file of weights in a folder as Hugging Face saves it."""
    return next((folder / name for name in _MAIN if (folder / name).is_file()), None)


def part_in(folder: Path) -> str | None:
    """Return the name of a part of weights that are in several files, the first one in a folder."""
    return next((path.name for path in sorted(folder.iterdir()) if _part(path.name)), None)


def _part(name: str) -> bool:
    found = _OTHERS.fullmatch(name)
    return found is not None and found["part"] is not None and Path(name).suffix in WEIGHT_FILES


def check_parts(folder: Path) -> None:
    """Raise where weights are in several files without the index that says what is in which."""
    part = part_in(folder)
    if part is not None and main_file(folder) is None:
        raise FileNotFoundError(
            f"the folder {str(folder)!r} must hold the index of its weights ({_MAIN[1]} or {_MAIN[3]}), got only parts such "
            f"as {quoted(part)}: copy the index too."
        )


def weights_in(path: Path) -> Mapping[str, Any]:
    """Return name → tensor of a file, or of a folder; tensors are mapped, so that they take memory where they are used."""
    if path.is_dir():
        check_parts(path)
        found = main_file(path)
        if found is None:
            raise FileNotFoundError(f"the folder {str(path)!r} must hold {_MAIN[0]} or {_MAIN[2]}, got neither.")
        path = found
    if not path.exists():
        raise FileNotFoundError(f"there is no file {str(path)!r}: check the name and the folder.")
    check_file(path)
    _check_fetched(path)
    if path.name.endswith(".index.json"):
        return _in_parts(path)
    return _safetensors(path) if path.suffix == ".safetensors" else _torch(path)


def _in_parts(index: Path) -> Mapping[str, Any]:
    """Read the parts that an index names, all in its own folder."""
    try:
        parts = sorted(set(read_json(index)["weight_map"].values()))
        inside = all(isinstance(part, str) and Path(part).name == part for part in parts)
    except (ValueError, KeyError, TypeError, AttributeError):
        parts, inside = [], False
    if not inside:
        raise ValueError(f"{str(index)!r} must map names of weights to files in its folder, got something else.")
    missing = [part for part in parts if not (index.parent / part).exists()]
    if missing:
        raise FileNotFoundError(
            f"{str(index)!r} names parts of the weights that must lie beside it, got none called {listed(map(quoted, missing))}: "
            f"copy them too."
        )
    return {name: tensor for part in parts for name, tensor in weights_in(index.parent / part).items()}


def _check_fetched(path: Path) -> None:
    """Raise where a file is the pointer that Git leaves in the place of a large one."""
    with path.open("rb") as file:
        start = file.read(len(_POINTER))
    if start == _POINTER:
        raise ValueError(
            f"{str(path)!r} must hold weights, got a pointer of Git LFS to them: fetch the file itself, git lfs pull."
        )


def _safetensors(path: Path) -> Mapping[str, Any]:
    door = optional("safetensors.torch", "files", "reading .safetensors")
    try:
        found: Mapping[str, Any] = door.load_file(path)
    except (MemoryError, PermissionError):
        raise
    except Exception as error:  # the library has an error of its own for damaged files
        raise ValueError(
            f"{str(path)!r} must be a file of safetensors, got one that cannot be read ({first_line(error)})."
        ) from None
    return found


def _torch(path: Path) -> Mapping[str, Any]:
    torch = optional("torch", "torch", f"reading {path.suffix}")
    try:
        # Mapped files take no memory for optimisers, which nobody looks at; the format before 1.6 cannot be mapped.
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except MemoryError:
        raise
    except Exception as error:  # damaged files raise errors of many kinds, OSError without a name among them
        if isinstance(error, OSError) and error.filename is not None:
            raise
        raise ValueError(
            f"{str(path)!r} must hold weights that load with weights_only=True, which runs no code of the file, got "
            f"{_refused(error)}: save model.state_dict(), or give the checkpoint as a function that returns the model."
        ) from None
    return state_in(content, str(path))


def _refused(error: Exception) -> str:
    """Say what a file holds that is no weights: the object that was refused, where the error of PyTorch names it."""
    found = re.search(r"GLOBAL ([\w.]+)", str(error))
    if found is not None:
        return f"one with an object of {found[1]}"
    return f"one that torch.save did not write, or that is damaged or cut short ({type(error).__name__})"


def _holds_tensors(content: Any) -> bool:
    """Say whether a mapping holds tensors, by itself or wrapped again."""
    if not isinstance(content, Mapping):
        return False
    return any(is_torch(value) for value in content.values()) or any(
        _holds_tensors(content.get(key)) for key in WRAPPERS
    )


def state_in(content: Any, where: str) -> Mapping[str, Any]:
    """Return the weights in what a training loop saved; a tensor beside them, such as a score, is none of them."""
    while isinstance(content, Mapping):
        inner = next((content[key] for key in WRAPPERS if _holds_tensors(content.get(key))), None)
        if inner is None:
            break
        content = inner
    if isinstance(content, Mapping) and any(is_torch(value) for value in content.values()):
        return content
    got = described(content)
    if isinstance(content, Mapping):
        got = f"a mapping of {', '.join(map(quoted, list(content)[:5]))}" if content else "an empty mapping"
        if any(isinstance(value, np.ndarray) for value in content.values()):
            got = "NumPy arrays, of which torch.from_numpy makes tensors"
    raise ValueError(f"{where} must hold name → tensor, by itself or under one of {', '.join(WRAPPERS)}, got {got}.")
