"""Trained networks, and the checkpoints in which they are kept."""

from __future__ import annotations

import hashlib
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch

from homolog.paper.data import Images
from homolog.paper.networks import Architecture
from homolog.paper.training import Recipe, Step, accuracy, device, train_epochs

VERSION = 1
"""Grows when the meaning of a recipe or an architecture changes, so that older checkpoints are not taken for new ones."""
SAVED_EVERY = 60.0
"""Seconds of training that a kill may lose."""


@dataclass(frozen=True)
class Job:
    """One network to train: all that its weights depend on, apart from the machine's rounding."""

    architecture: Architecture
    images: Images
    recipe: Recipe
    seed: int

    @property
    def key(self) -> str:
        """Digest of everything that determines the weights."""
        return digest(self.described() | {"images": digest_of(self.images.train, self.images.train_labels)})

    def described(self) -> dict[str, Any]:
        """Return what a reader of the checkpoint wants to know."""
        return {
            "version": VERSION,
            "architecture": asdict(self.architecture),
            "data": self.images.name,
            "n_train": len(self.images.train),
            "recipe": asdict(self.recipe),
            "seed": self.seed,
        }


@dataclass(frozen=True)
class Trained:
    """A trained network in evaluation mode."""

    network: torch.nn.Module
    architecture: Architecture
    accuracy: float
    """On the test images."""
    seconds: float
    """That training took."""
    from_checkpoint: bool = False
    """Whether it was trained in an earlier run."""


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


def trained(job: Job, folder: Path, step: Step) -> Trained:
    """Return the network of a job: from its checkpoint where there is one, else trained, from where a killed run was."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{job.images.name}-{job.architecture.family}-seed{job.seed}-{job.key}"
    path, unfinished = folder / f"{stem}.safetensors", folder / f"{stem}.unfinished.safetensors"
    from_checkpoint = path.is_file()
    if from_checkpoint:
        step(job.recipe.epochs * len(job.images.train))
    else:
        torch.manual_seed(job.seed)
        network = job.architecture.build().to(device())
        seconds = _train(job, network, unfinished, step)
        right = accuracy(network, job.images.test, job.images.test_labels)
        _write(path, network.state_dict(), {"accuracy": right, "seconds": seconds} | job.described())
        unfinished.unlink(missing_ok=True)
    # Read also where it was just written: training leaves another memory format, which rounds differently.
    network = job.architecture.build().to(device())
    tensors, notes = _read(path)
    network.load_state_dict(tensors)
    return Trained(network.eval(), job.architecture, float(notes["accuracy"]), float(notes["seconds"]), from_checkpoint)


def untrained(architecture: Architecture, images: Images, seed: int) -> Trained:
    """Return a network as it was drawn; batch norm gets its statistics from the images, without which nothing passes unscaled."""
    torch.manual_seed(seed)
    network = architecture.build().to(device())
    with torch.no_grad():
        network.train()
        for first in range(0, min(len(images.train), 1024), 128):
            network(torch.from_numpy(images.train[first : first + 128]).to(device()))
    return Trained(network.eval(), architecture, accuracy(network, images.test, images.test_labels), 0.0)


def _train(job: Job, network: torch.nn.Module, unfinished: Path, step: Step) -> float:
    """Train to the end of the last epoch and return the seconds it took."""
    optimiser = job.recipe.optimiser(network)
    first, seconds = _resume(unfinished, network, optimiser)
    saved = time.monotonic()
    for epoch in train_epochs(network, optimiser, job.images, job.recipe, job.seed, first, step):
        if time.monotonic() - saved > SAVED_EVERY and epoch < job.recipe.epochs:
            seconds += time.monotonic() - saved
            saved = time.monotonic()
            _suspend(unfinished, network, optimiser, epoch, seconds)
    return seconds + time.monotonic() - saved


def _suspend(
    path: Path, network: torch.nn.Module, optimiser: torch.optim.Optimizer, epoch: int, seconds: float
) -> None:
    """Write what training needs to go on: weights and momenta."""
    momenta = {
        f"momentum.{name}": optimiser.state[parameter]["momentum_buffer"]
        for name, parameter in network.named_parameters()
    }
    _write(path, network.state_dict() | momenta, {"epoch": epoch, "seconds": seconds})


def _resume(path: Path, network: torch.nn.Module, optimiser: torch.optim.Optimizer) -> tuple[int, float]:
    """Return the epoch to go on from and the seconds spent before it."""
    if not path.is_file():
        return 0, 0.0
    tensors, notes = _read(path)
    for name, parameter in network.named_parameters():
        optimiser.state[parameter]["momentum_buffer"] = tensors.pop(f"momentum.{name}")
    network.load_state_dict(tensors)
    return int(notes["epoch"]), float(notes["seconds"])


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
