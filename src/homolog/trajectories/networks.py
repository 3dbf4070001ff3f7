"""What a checkpoint gives to be extracted: the one network with its weights, a model of its own, or activations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from os import PathLike
from pathlib import Path
from typing import Any

from homolog import files
from homolog.activations import Activations
from homolog.arrays import described, is_array
from homolog.extraction.adapters import adapter_of
from homolog.extraction.tensors import is_module
from homolog.names import first_line, shown
from homolog.trajectories.checkpoints import Checkpoint
from homolog.trajectories.loading import load
from homolog.trajectories.weight_files import is_weights, main_file, part_in, state_in, weights_in


class Network:
    """The network that `build` makes, once, and into which the weights of each checkpoint are loaded."""

    def __init__(self, build: Callable[[], Any] | None) -> None:
        self._module = None if build is None else _built(build)

    def opened(self, checkpoint: Checkpoint) -> Any:
        """Return a model that runs, the path of one, or Activations."""
        return self._opened(checkpoint.source, checkpoint.label, called=False)

    def _opened(self, source: Any, label: str, *, called: bool) -> Any:
        if isinstance(source, str | PathLike):
            return self._from_file(Path(source), label)
        if isinstance(source, Activations) or is_module(source) or adapter_of(source) is not None:
            return source
        if isinstance(source, Mapping):
            return self._from_mapping(source, label)
        if callable(source) and called:
            return source  # a function of a batch, which another function returned
        if callable(source) and not isinstance(source, type):
            return self._opened(_called(source, label), label, called=True)
        raise TypeError(
            f"checkpoint {shown(label)} must be a file, a function without arguments that returns a model or activations, or "
            f"one of these itself, got {described(source)}."
        )

    def _from_file(self, path: Path, label: str) -> Any:
        weights = (
            is_weights(path)
            or path.name.endswith(".index.json")
            or (path.is_dir() and (main_file(path) or part_in(path)) is not None)
        )
        if weights and self._module is None:
            raise ValueError(
                f"build must be a function that makes the network, whose weights are in {str(path)!r}, got None: weights alone "
                f"do not say how it computes."
            )
        if weights:
            load(self._module, weights_in(path), label)
            return self._module
        return path if adapter_of(path) is not None else files.open(path)

    def _from_mapping(self, source: Mapping[str, Any], label: str) -> Any:
        """Take a mapping as weights where there is a network for them, else as layers."""
        if self._module is None:
            return Activations.of_model(source, label)
        load(self._module, state_in(source, f"checkpoint {shown(label)}"), label)
        return self._module


def _built(build: Any) -> Any:
    """Return the network that a function makes."""
    if is_module(build) or not callable(build):
        raise TypeError(
            f"build must be a function that makes the network, such as its class, got {described(build)}: pass lambda: "
            f"MyNetwork(...). It is made once, and the weights of each checkpoint are loaded into it."
        )
    try:
        network = build()
    except TypeError as error:
        if "argument" not in str(error):
            raise
        raise TypeError(
            f"build must be a function without arguments, got one that cannot be called so ({error}): pass lambda: "
            f"MyNetwork(...)."
        ) from error
    if not is_module(network):
        raise TypeError(
            f"build must make a torch.nn.Module, into which weights are loaded, got {described(network)}: leave build=None, and "
            f"give each checkpoint as a function that returns the model."
        )
    return _own(network)


def _own(network: Any) -> Any:
    """Return a copy, since build may return a network that is in use, whose weights are not ours to write over."""
    try:
        return deepcopy(network)
    except Exception as error:  # modules of anybody's
        raise TypeError(
            f"build must make a network that copy.deepcopy copies, so that no network in use is written over, got "
            f"{described(network)} ({first_line(error)}): leave build=None, and give each checkpoint as a function that returns "
            f"the model."
        ) from error


def _called(source: Callable[[], Any], label: str) -> Any:
    try:
        found = source()
    except TypeError as error:
        if "argument" not in str(error):
            raise
        raise TypeError(
            f"checkpoint {shown(label)} must be a function without arguments that returns a model or activations, got one that "
            f"cannot be called so ({error}): wrap a function of a batch, lambda: function."
        ) from error
    if is_array(found):
        return Activations.of_model({"output": found}, label)
    return found
