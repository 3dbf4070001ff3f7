"""How the Transformers of Table F.1 are trained, and what is measured of them meanwhile."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from torch.nn.utils import clip_grad_norm_
from torch.optim import Adam, Optimizer

from homolog.paper.checkpoints import Work
from homolog.paper.sentences import Sentences
from homolog.paper.training import Step, device
from homolog.paper.translator import BEGIN, PADDING, Translator

RECIPE = """Adam (0.9, 0.98) in batches of 32 sentences of like length; the learning rate rises to 0.002 over the first tenth and
falls to 0 along a cosine; gradients are cut at norm 1; no dropout, no smoothing of labels. The last checkpoint counts."""
"""In the words of the documentation."""
MEASURED = 640
"""Held-out sentences on which a network is measured after a pass, at most."""


@dataclass(frozen=True)
class TranslationRecipe:
    """Everything that determines training but the network, the sentences and the seed."""

    epochs: int
    batch_size: int = 32
    learning_rate: float = 0.002

    def rate(self, done: float) -> float:
        """Return the fraction of the learning rate after a part of all batches."""
        return done / 0.1 if done < 0.1 else 0.5 * (1 + math.cos(math.pi * (done - 0.1) / 0.9))


def batches(lengths: np.ndarray, size: int, generator: torch.Generator) -> list[np.ndarray]:
    """Return the rows of batches in random order, sentences of like length together."""
    order = torch.randperm(len(lengths), generator=generator).numpy()
    # Sorted within parts, so that a sentence's neighbours differ from pass to pass.
    parts = [
        part[np.argsort(lengths[part], kind="stable")]
        for part in np.array_split(order, max(len(order) // (50 * size), 1))
    ]
    found = [rows for part in parts for rows in np.array_split(part, max(len(part) // size, 1))]
    return [found[k] for k in torch.randperm(len(found), generator=generator)]


def cut(tokens: np.ndarray, rows: np.ndarray) -> torch.Tensor:
    """Return rows of tokens without the columns that are padding in all of them."""
    chosen = tokens[rows]
    return torch.from_numpy(chosen[:, : int((chosen != PADDING).any(axis=0).sum())]).to(device())


def begun(german: torch.Tensor) -> torch.Tensor:
    """Return what the decoder has seen when it is asked for each token of a translation."""
    return torch.cat([torch.full_like(german[:, :1], BEGIN), german[:, :-1]], dim=1)


@dataclass(frozen=True)
class Translation(Work):
    """A network that translates."""

    architecture: Translator
    sentences: Sentences
    recipe: TranslationRecipe
    seed: int
    kind = "sentences"
    watched = True
    # More gain little on matrices this small, and one leaves the other cores to other networks.
    threads = 1

    @property
    def data(self) -> Sentences:
        """The sentences."""
        return self.sentences

    def optimiser(self, network: torch.nn.Module) -> Optimizer:
        """Return Adam with the base model's momenta."""
        return Adam(network.parameters(), self.recipe.learning_rate, betas=(0.9, 0.98), eps=1e-9)

    def passes(self, network: torch.nn.Module, optimiser: Optimizer, first: int, step: Step) -> Iterator[int]:
        """Train by the recipe."""
        data, recipe = self.sentences, self.recipe
        lengths = (data.train != PADDING).sum(axis=1) + (data.train_german != PADDING).sum(axis=1)
        step(first * len(lengths))
        for done in range(first, recipe.epochs):
            network.train()
            # A generator per pass: a run that goes on draws what an uninterrupted one would.
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + done)
            rows = batches(lengths, recipe.batch_size, generator)
            for k, chosen in enumerate(rows):
                for group in optimiser.param_groups:
                    group["lr"] = recipe.learning_rate * recipe.rate((done + k / len(rows)) / recipe.epochs)
                self._descend(network, optimiser, chosen)
                step(len(chosen))
            yield done + 1

    def _descend(self, network: torch.nn.Module, optimiser: Optimizer, rows: np.ndarray) -> None:
        """Change the weights once, down the cross entropy of the tokens of translations."""
        german = cut(self.sentences.train_german, rows)
        logits = network(cut(self.sentences.train, rows), begun(german))
        loss = cross_entropy(logits.flatten(0, 1), german.flatten(), ignore_index=PADDING)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()

    def measured(self, network: torch.nn.Module) -> dict[str, float]:
        """Return the share of the tokens of held-out translations that are predicted rightly, and the bits that one costs."""
        return predicted(network, self.sentences)


def predicted(network: torch.nn.Module, data: Sentences) -> dict[str, float]:
    """Return how well a network predicts held-out translations; it is in evaluation mode afterwards.

    `accuracy` is the share of their tokens that are predicted rightly, `bits` the mean that a token costs.
    """
    network.eval()
    right = count = nats = 0.0
    with torch.no_grad():
        for first in range(0, min(len(data.test), MEASURED), 64):
            rows = np.arange(first, min(first + 64, len(data.test), MEASURED))
            german = cut(data.test_german, rows)
            logits, real = network(cut(data.test, rows), begun(german)), german != PADDING
            nats += float(cross_entropy(logits[real], german[real], reduction="sum"))
            right += int((logits[real].argmax(dim=1) == german[real]).sum())
            count += int(real.sum())
    return {"accuracy": right / count, "bits": nats / count / math.log(2)}


def bits_without(network: torch.nn.Module, data: Sentences, sublayers: Iterable[str]) -> float:
    """Return the bits that a token of held-out translations costs if some sublayers of the encoder pass on what they get."""
    encoder = network.get_submodule("encoder")
    with ExitStack() as stack:
        for name in sublayers:
            hook = encoder.get_submodule(name).register_forward_hook(lambda module, given, result: given[0])
            stack.callback(hook.remove)
        return predicted(network, data)["bits"]
