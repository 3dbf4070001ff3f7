"""The one training loop, and the recipe by which the paper's networks are trained."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from homolog.paper.data import Images

Step = Callable[[int], Any]
"""Called after every batch with its number of images."""

RECIPE = """SGD with Nesterov momentum 0.9 and weight decay 5e-4 in batches of 128; the learning rate rises to 0.3 (0.01
without batch norm) over the first epoch and falls to 0 along a cosine; images are padded by an eighth of their size in
reflection, cropped at random, and mirrored where the data allow it (not digits). The last checkpoint counts."""
"""In the words of the documentation; the paper states none."""


@dataclass(frozen=True)
class Recipe:
    """Everything that determines training but the network, the images and the seed."""

    epochs: int
    batch_size: int = 128
    learning_rate: float = 0.3
    momentum: float = 0.9
    weight_decay: float = 5e-4
    augmented: bool = True

    def optimiser(self, network: torch.nn.Module) -> SGD:
        """Return what changes the weights of a network."""
        parameters = {"params": list(network.parameters()), "initial_lr": self.learning_rate}
        return SGD([parameters], self.learning_rate, self.momentum, weight_decay=self.weight_decay, nesterov=True)

    def rate(self, epoch: float) -> float:
        """Return the fraction of the learning rate: linear over the first epoch, then half a cosine."""
        warm = min(1.0, self.epochs / 4)
        if epoch < warm:
            return epoch / warm
        return 0.5 * (1 + math.cos(math.pi * (epoch - warm) / (self.epochs - warm)))


def device() -> torch.device:
    """Return where networks are trained and run."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def accuracy(network: torch.nn.Module, images: np.ndarray, labels: np.ndarray) -> float:
    """Return the share of images that a network classifies rightly; it is in evaluation mode afterwards."""
    network.eval()
    where = next(network.parameters()).device
    right = 0
    with torch.no_grad():
        for first in range(0, len(images), 512):
            batch = torch.from_numpy(images[first : first + 512]).to(where)
            right += int((network(batch).argmax(dim=1).cpu().numpy() == labels[first : first + 512]).sum())
    return right / len(images)


def descend(
    network: torch.nn.Module,
    optimiser: Optimizer,
    schedule: LRScheduler,
    batches: Iterable[tuple[torch.Tensor, torch.Tensor]],
    step: Step = lambda n: None,
) -> None:
    """Change the weights once for every batch of images and labels, down the cross entropy."""
    for images, labels in batches:
        loss = torch.nn.functional.cross_entropy(network(images), labels)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        schedule.step()
        step(len(labels))


def train_epochs(
    network: torch.nn.Module, optimiser: Optimizer, images: Images, recipe: Recipe, seed: int, first: int, step: Step
) -> Iterator[int]:
    """Train by a recipe from the epoch `first` on; after every epoch yield the number of epochs that are over."""
    size = images.train.shape[-1]
    padding = size // 8 if recipe.augmented else 0
    padded = torch.nn.functional.pad(torch.from_numpy(images.train).to(device()), (padding,) * 4, mode="reflect")
    labels = torch.from_numpy(images.train_labels).to(device())
    # What does not fill a batch is left to other epochs.
    per_epoch = max(len(labels) // recipe.batch_size, 1)

    def rate(count: int) -> float:
        epoch, batch = divmod(count, per_epoch)
        return recipe.rate(epoch + batch / per_epoch)

    def batches(generator: torch.Generator) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        order = torch.randperm(len(labels), generator=generator)
        for rows in order[: per_epoch * recipe.batch_size].chunk(per_epoch):
            batch = cropped(padded, rows, size, generator, mirrored=recipe.augmented and images.mirrored)
            yield batch.contiguous(memory_format=torch.channels_last), labels[rows]

    schedule = LambdaLR(optimiser, rate, first * per_epoch - 1)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    step(first * len(labels))
    network.train()
    for epoch in range(first, recipe.epochs):
        # A generator per epoch: a run that goes on draws what an uninterrupted one would.
        descend(network, optimiser, schedule, batches(torch.Generator().manual_seed(seed * 1_000_003 + epoch)), step)
        yield epoch + 1


def cropped(
    padded: torch.Tensor, rows: torch.Tensor, size: int, generator: torch.Generator, *, mirrored: bool = False
) -> torch.Tensor:
    """Crop some of padded images at random, and mirror half of them where asked for."""
    down, right = torch.randint(padded.shape[-1] - size + 1, (2, len(rows), 1), generator=generator)
    across = torch.arange(size).expand(len(rows), size)
    if mirrored:
        turned = torch.randint(2, (len(rows), 1), generator=generator).bool()
        across = torch.where(turned, across.flip(1), across)
    y, x = (down + torch.arange(size))[:, None, :, None], (right + across)[:, None, None, :]
    return padded[rows[:, None, None, None], torch.arange(padded.shape[1])[None, :, None, None], y, x]
