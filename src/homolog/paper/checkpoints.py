"""Trained networks, and the checkpoints in which they are kept."""

from __future__ import annotations

import hashlib
import json
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch.optim import Optimizer

from homolog.paper.data import Images
from homolog.paper.networks import Architecture
from homolog.paper.training import Recipe, Step, accuracy, device, train_epochs

if TYPE_CHECKING:
    from homolog.paper.sentences import Sentences

VERSION = 1
"""Grows when the meaning of a recipe or an architecture changes, so that older checkpoints are not taken for new ones."""
SAVED_EVERY = 60.0
"""Seconds of training that a kill may lose."""


class Work(ABC):
    """One network to train: all that its weights depend on, apart from the machine's rounding."""

    architecture: Any
    """With a family, and a method `build` that draws the weights from PyTorch's global generator."""
    recipe: Any
    """With the number of its epochs."""
    seed: int
    kind: str
    """Of the examples."""
    watched: bool
    """Whether the network is measured after every epoch, not the last alone."""
    threads: int | None = None
    """With which a processor trains it; None for as many as it has. Their number changes the rounding."""

    @property
    @abstractmethod
    def data(self) -> Images | Sentences:
        """The examples; the first two arrays are those of training."""

    @abstractmethod
    def optimiser(self, network: torch.nn.Module) -> Optimizer:
        """Return what changes the weights of a network."""

    @abstractmethod
    def passes(self, network: torch.nn.Module, optimiser: Optimizer, first: int, step: Step) -> Iterator[int]:
        """Train from the epoch `first` on; after every epoch yield the number of those that are over."""

    @abstractmethod
    def measured(self, network: torch.nn.Module) -> dict[str, float]:
        """Return "accuracy" on examples held out, and what else is known; the network is in evaluation mode afterwards."""

    @property
    def name(self) -> str:
        """What the checkpoint is called, before its key."""
        return f"{self.data.name}-{self.architecture.family}-seed{self.seed}"

    @property
    def key(self) -> str:
        """Digest of everything that determines the weights."""
        return digest(self.described() | {self.kind: digest_of(*self.data.arrays[:2])})

    def path(self, folder: Path) -> Path:
        """Return where the checkpoint lies in a folder of them."""
        return folder / f"{self.name}-{self.key}.safetensors"

    @property
    def size(self) -> int:
        """Examples that are seen in training, those of every epoch counted again."""
        return int(self.recipe.epochs) * len(self.data.train)

    def described(self) -> dict[str, Any]:
        """Return what a reader of the checkpoint wants to know."""
        return {
            "version": VERSION,
            "architecture": asdict(self.architecture),
            "data": self.data.name,
            "n_train": len(self.data.train),
            "recipe": asdict(self.recipe),
            "seed": self.seed,
        }


@dataclass(frozen=True)
class Job(Work):
    """A network for images."""

    architecture: Architecture
    images: Images
    recipe: Recipe
    seed: int
    kind = "images"
    watched = False

    @property
    def data(self) -> Images:
        """The images."""
        return self.images

    def optimiser(self, network: torch.nn.Module) -> Optimizer:
        """Return the recipe's."""
        return self.recipe.optimiser(network)

    def passes(self, network: torch.nn.Module, optimiser: Optimizer, first: int, step: Step) -> Iterator[int]:
        """Train by the recipe."""
        return train_epochs(network, optimiser, self.images, self.recipe, self.seed, first, step)

    def measured(self, network: torch.nn.Module) -> dict[str, float]:
        """Return the share of test images that are classified rightly."""
        return {"accuracy": accuracy(network, self.images.test, self.images.test_labels)}


@dataclass(frozen=True)
class Trained:
    """A trained network in evaluation mode."""

    network: torch.nn.Module
    architecture: Any
    """From which it was built."""
    accuracy: float
    """On examples held out."""
    seconds: float
    """That training took."""
    from_checkpoint: bool = False
    """Whether it was trained in an earlier run."""
    course: Sequence[dict[str, float]] = ()
    """What was measured after every pass over the data, where the network was watched, or after the last one."""


def digest(description: Any) -> str:
    """Digest a JSON value."""
    return hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()[:16]


def digest_of(*arrays: np.ndarray) -> str:
    """Digest the shapes and contents of arrays."""
    content = hashlib.sha256()
    for array in arrays:
        content.update(repr((array.shape, array.dtype.str)).encode())
        content.update(np.ascontiguousarray(array).data)
    return content.hexdigest()[:16]


def trained(work: Work, folder: Path, step: Step) -> Trained:
    """Return a trained network: from its checkpoint where there is one, else trained, from where a killed run was."""
    folder.mkdir(parents=True, exist_ok=True)
    path = work.path(folder)
    unfinished = path.with_suffix(".unfinished.safetensors")
    from_checkpoint = path.is_file()
    if from_checkpoint:
        step(work.size)
    else:
        torch.manual_seed(work.seed)
        network = work.architecture.build().to(device())
        with _threads(work.threads):
            seconds, course = _train(work, network, unfinished, step)
        learned = {"accuracy": course[-1]["accuracy"], "seconds": seconds, "course": course}
        _write(path, network.state_dict(), learned | work.described())
        unfinished.unlink(missing_ok=True)
    # Read also where it was just written: training leaves another memory format, which rounds differently.
    network = work.architecture.build().to(device())
    tensors, notes = _read(path)
    network.load_state_dict(tensors)
    return Trained(
        network.eval(),
        work.architecture,
        float(notes["accuracy"]),
        float(notes["seconds"]),
        from_checkpoint,
        notes.get("course", ()),
    )


def untrained(architecture: Architecture, images: Images, seed: int) -> Trained:
    """Return a network as it was drawn; batch norm gets its statistics from the images, without which nothing passes unscaled."""
    torch.manual_seed(seed)
    network = architecture.build().to(device())
    with torch.no_grad():
        network.train()
        for first in range(0, min(len(images.train), 1024), 128):
            network(torch.from_numpy(images.train[first : first + 128]).to(device()))
    return Trained(network.eval(), architecture, accuracy(network, images.test, images.test_labels), 0.0)


@contextmanager
def _threads(number: int | None) -> Iterator[None]:
    """Let PyTorch compute with so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _train(work: Work, network: torch.nn.Module, unfinished: Path, step: Step) -> tuple[float, list[dict[str, float]]]:
    """Train to the end of the last pass; return the seconds it took, and what was measured."""
    optimiser = work.optimiser(network)
    first, seconds, course = _resume(unfinished, network, optimiser)
    saved = time.monotonic()
    for done in work.passes(network, optimiser, first, step):
        if work.watched:
            course.append(work.measured(network))
        if time.monotonic() - saved > SAVED_EVERY:
            seconds += time.monotonic() - saved
            saved = time.monotonic()
            _suspend(unfinished, network, optimiser, {"epoch": done, "seconds": seconds, "course": course})
    seconds += time.monotonic() - saved
    return seconds, course or [work.measured(network)]


def _suspend(path: Path, network: torch.nn.Module, optimiser: Optimizer, notes: dict[str, Any]) -> None:
    """Write what training needs to go on: weights, and what the optimiser knows of each."""
    known = {
        f"optimiser/{kind}/{name}": value
        for name, parameter in network.named_parameters()
        for kind, value in optimiser.state[parameter].items()
    }
    _write(path, network.state_dict() | known, notes)


def _resume(path: Path, network: torch.nn.Module, optimiser: Optimizer) -> tuple[int, float, list[dict[str, float]]]:
    """Return the pass to go on from, the seconds spent before it, and what was measured in them."""
    if not path.is_file():
        return 0, 0.0, []
    tensors, notes = _read(path)
    parameters = dict(network.named_parameters())
    for key in [key for key in tensors if key.startswith("optimiser/")]:
        _, kind, name = key.split("/")
        value = tensors.pop(key)
        # Adam counts its steps on the CPU.
        optimiser.state[parameters[name]][kind] = value if value.ndim else value.cpu()
    network.load_state_dict(tensors)
    return int(notes["epoch"]), float(notes["seconds"]), list(notes["course"])


def _write(path: Path, tensors: dict[str, torch.Tensor], notes: dict[str, Any]) -> None:
    """Write a checkpoint so that a kill leaves the old one or the new one."""
    written = path.with_suffix(".tmp")
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    safetensors.torch.save_file(plain, written, {"homolog": json.dumps(notes)})
    os.replace(written, path)


def _read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    try:
        with safetensors.safe_open(path, "pt", device=str(device())) as file:
            names = list(file.keys())
            return {name: file.get_tensor(name) for name in names}, json.loads(file.metadata()["homolog"])
    except (safetensors.SafetensorError, TypeError, KeyError, ValueError) as error:
        raise ValueError(f"{str(path)!r} must be a checkpoint that homolog wrote, got {error}: delete it.") from None
