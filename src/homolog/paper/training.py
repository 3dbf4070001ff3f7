"""The one training recipe, `RECIPE`, and the checkpoints in which trained networks are kept."""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch

from homolog.paper.data import Images
from homolog.paper.networks import Architecture

Step = Callable[[int], Any]
"""Told how many images were learned from."""

RECIPE = """SGD with Nesterov momentum 0.9 and weight decay 5e-4 in batches of 128; the learning rate rises to 0.3 (0.01
without batch norm) over the first epoch and falls to 0 along a cosine; images are padded by an eighth of their size in
reflection, cropped at random, and mirrored where the data allow it (not digits). The last checkpoint counts."""
"""As readers are told it; the paper states none."""
VERSION = 1
"""Grows when the meaning of a recipe or an architecture changes, so that older checkpoints are not taken for new ones."""
SAVED_EVERY = 60.0
"""Seconds of training that a kill may lose."""


@dataclass(frozen=True)
class Recipe:
    """Everything that determines training but the network, the images and the seed."""

    epochs: int
    batch_size: int = 128
    learning_rate: float = 0.3
    momentum: float = 0.9
    weight_decay: float = 5e-4
    augmented: bool = True


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
    kept: bool = False
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


def device() -> torch.device:
    """Return where networks are trained and run."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def trained(job: Job, folder: Path, step: Step) -> Trained:
    """Return the network of a job: from its checkpoint where there is one, else trained, from where a killed run was."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{job.images.name}-{job.architecture.family}-seed{job.seed}-{job.key}"
    path, unfinished = folder / f"{stem}.safetensors", folder / f"{stem}.unfinished.safetensors"
    kept = path.is_file()
    if kept:
        step(job.recipe.epochs * len(job.images.train))
    else:
        torch.manual_seed(job.seed)
        network = job.architecture.build().to(device())
        seconds = _train(job, network, unfinished, step)
        right = accuracy(network, job.images.test, job.images.test_labels)
        _write(path, network.state_dict(), {"accuracy": right, "seconds": seconds} | job.described())
        unfinished.unlink(missing_ok=True)
    # Read back also where it was just written: training leaves another memory format, which rounds differently.
    network = job.architecture.build().to(device())
    tensors, notes = _read(path)
    network.load_state_dict(tensors)
    return Trained(network.eval(), job.architecture, float(notes["accuracy"]), float(notes["seconds"]), kept)


def untrained(architecture: Architecture, images: Images, seed: int) -> Trained:
    """Return a network as it was drawn; batch norm gets its statistics from the images, without which nothing passes unscaled."""
    torch.manual_seed(seed)
    network = architecture.build().to(device())
    with torch.no_grad():
        network.train()
        for first in range(0, min(len(images.train), 1024), 128):
            network(torch.from_numpy(images.train[first : first + 128]).to(device()))
    return Trained(network.eval(), architecture, accuracy(network, images.test, images.test_labels), 0.0)


def accuracy(network: torch.nn.Module, images: np.ndarray, labels: np.ndarray) -> float:
    """Return the share of images that a network classifies rightly."""
    network.eval()
    right = 0
    with torch.no_grad():
        for first in range(0, len(images), 512):
            batch = torch.from_numpy(images[first : first + 512]).to(device())
            right += int((network(batch).argmax(dim=1).cpu().numpy() == labels[first : first + 512]).sum())
    return right / len(images)


def _train(job: Job, network: torch.nn.Module, unfinished: Path, step: Step) -> float:
    """Train to the end of the last epoch and return the seconds it took."""
    recipe = job.recipe
    images, labels = _padded(job), torch.from_numpy(job.images.train_labels).to(device())
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.SGD(
        network.parameters(), 0.0, recipe.momentum, weight_decay=recipe.weight_decay, nesterov=True
    )
    first, seconds = _resume(unfinished, network, optimiser)
    step(first * len(images))
    network.train()
    saved = time.monotonic()
    for epoch in range(first, recipe.epochs):
        # A generator per epoch: a run that goes on draws what an uninterrupted one would.
        draw = torch.Generator().manual_seed(job.seed * 1_000_003 + epoch)
        for share, rows in _batches(len(images), recipe.batch_size, draw):
            optimiser.param_groups[0]["lr"] = recipe.learning_rate * _schedule(epoch + share, recipe.epochs)
            batch = _augmented(images, rows, job, draw)
            loss = torch.nn.functional.cross_entropy(network(batch), labels[rows])
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
            step(len(rows))
        if time.monotonic() - saved > SAVED_EVERY and epoch + 1 < recipe.epochs:
            seconds += time.monotonic() - saved
            saved = time.monotonic()
            _suspend(unfinished, network, optimiser, epoch + 1, seconds)
    return seconds + time.monotonic() - saved


def _batches(n: int, size: int, draw: torch.Generator) -> Iterator[tuple[float, torch.Tensor]]:
    """Yield the share of the epoch that is over, and the rows of a batch; what does not fill one is left to other epochs."""
    order = torch.randperm(n, generator=draw)
    count = max(n // size, 1)
    for i in range(count):
        yield i / count, order[i * size : (i + 1) * size]


def _schedule(epoch: float, epochs: int) -> float:
    """Return the fraction of the learning rate: linear over the first epoch, then half a cosine."""
    warm = min(1.0, epochs / 4)
    if epoch < warm:
        return epoch / warm
    return 0.5 * (1 + math.cos(math.pi * (epoch - warm) / (epochs - warm)))


def _padded(job: Job) -> torch.Tensor:
    images = torch.from_numpy(job.images.train).to(device())
    padding = _padding(job)
    return torch.nn.functional.pad(images, (padding,) * 4, mode="reflect") if padding else images


def _padding(job: Job) -> int:
    return job.architecture.size // 8 if job.recipe.augmented else 0


def _augmented(padded: torch.Tensor, rows: torch.Tensor, job: Job, draw: torch.Generator) -> torch.Tensor:
    """Crop at random from padded images, and mirror half of them where the data allow it."""
    size, places = job.architecture.size, 2 * _padding(job) + 1
    down, right = torch.randint(places, (2, len(rows), 1), generator=draw)
    across = torch.arange(size).expand(len(rows), size)
    if job.recipe.augmented and job.images.mirrored:
        turned = torch.randint(2, (len(rows), 1), generator=draw).bool()
        across = torch.where(turned, across.flip(1), across)
    y, x = (down + torch.arange(size))[:, None, :, None], (right + across)[:, None, None, :]
    batch = padded[rows[:, None, None, None], torch.arange(padded.shape[1])[None, :, None, None], y, x]
    return batch.contiguous(memory_format=torch.channels_last)


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
    """Return the epoch at which to begin and the seconds spent before it."""
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
