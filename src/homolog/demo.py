"""The demonstration: do networks trained from different seeds learn the same layers, and which index can tell?

Four small convolutional networks, trained on scikit-learn's digits, are compared layer by layer, as in section 6.1 of Kornblith
et al. (2019) at a size that runs in a minute.
"""

from __future__ import annotations

import itertools
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from homolog.activations import Activations
from homolog.analysis import between, correspondence, layer_identification
from homolog.diagnostics import NullLevelWarning
from homolog.engine import compare
from homolog.extraction import extract
from homolog.plot import heatmap

if TYPE_CHECKING:
    import torch
    import xarray

MEASURES = ("cka", "cka(kernel=rbf)", "cca", "svcca", "pwcca", "linear_regression")
SEEDS = (0, 1, 2, 3)
EPOCHS = 24
WIDTHS = (14, 32, 64)  # n = 1797 exceeds twice the widest layer, 14·8·8: nothing saturates
LAYERS = ("conv1", "conv2", "conv3", "conv4", "conv5", "conv6", "pool")


class Digits(NamedTuple):
    """The images and labels, and which of them are held out."""

    images: torch.Tensor
    labels: torch.Tensor
    held_out: torch.Tensor


class Trained(NamedTuple):
    """A trained network."""

    network: torch.nn.Module
    accuracy: float
    """On the held-out images."""


def load_digits() -> Digits:
    """Load scikit-learn's digits as (1797, 1, 8, 8) images in [0, 1]; every fourth is held out."""
    import torch
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    held_out = torch.arange(len(labels)) % 4 == 3
    pixels = torch.tensor(images / 16, dtype=torch.float32).reshape(-1, 1, 8, 8)
    return Digits(pixels, torch.tensor(labels), held_out)


def network() -> torch.nn.Module:
    """Build three stages of two convolutions, two of them strided; every convolution with batch norm and ReLU."""
    from torch import nn

    first, second, third = WIDTHS
    plan = (
        (1, first, 1),
        (first, first, 1),
        (first, second, 2),
        (second, second, 1),
        (second, third, 2),
        (third, third, 1),
    )
    model = nn.Sequential()
    for i, (channels_in, channels_out, stride) in enumerate(plan, start=1):
        convolution = nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False)
        model.add_module(f"conv{i}", nn.Sequential(convolution, nn.BatchNorm2d(channels_out), nn.ReLU()))
    model.add_module("pool", nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    model.add_module("logits", nn.Linear(third, 10))
    return model


def train(digits: Digits, seed: int) -> Trained:
    """Train one network on randomly shifted images: Adam, one-cycle learning rate."""
    import torch

    torch.manual_seed(seed)
    model = network()
    images, labels = digits.images[~digits.held_out], digits.labels[~digits.held_out]
    batches = -(-len(images) // 64)
    optimiser = torch.optim.AdamW(model.parameters(), weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=1e-2, total_steps=EPOCHS * batches)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(images)).chunk(batches):
            optimiser.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(shifted(images[rows])), labels[rows])
            torch.autograd.backward(loss)
            optimiser.step()
            schedule.step()
    model.eval()
    with torch.no_grad():
        right = model(digits.images[digits.held_out]).argmax(dim=1) == digits.labels[digits.held_out]
    return Trained(model, float(right.float().mean()))


def shifted(images: torch.Tensor) -> torch.Tensor:
    """Shift every image by up to one pixel in each direction."""
    import torch

    padded = torch.nn.functional.pad(images, (1, 1, 1, 1))
    down, right = torch.randint(0, 3, (2, len(images), 1, 1))
    rows = down + torch.arange(8).reshape(1, 8, 1)
    columns = right + torch.arange(8).reshape(1, 1, 8)
    return padded[torch.arange(len(images)).reshape(-1, 1, 1), 0, rows, columns].unsqueeze(1)


def run(folder: Path, say: Callable[[str], Any], progress: bool | None = None) -> xarray.Dataset:
    """Train, compare, tell and draw; return the layer identification."""
    digits = load_digits()
    say(f"Training {len(SEEDS)} networks from different seeds on {int((~digits.held_out).sum())} images of digits.")
    layers: dict[str, Activations] = {}
    for seed in SEEDS:
        trained = train(digits, seed)
        say(f"  seed {seed}: held-out accuracy {trained.accuracy:.1%}")
        taken = extract(trained.network, digits.images, layers=LAYERS, batch_size=512, progress=False)
        layers[f"seed {seed}"] = taken
    say(f"Comparing all layers of all networks with each other over all {len(digits.images)} images.")
    with warnings.catch_warnings():
        # Said below in the words of the demonstration.
        warnings.simplefilter("ignore", NullLevelWarning)
        everything = compare(layers, measures=MEASURES, progress=progress)
    found = layer_identification(everything)
    results = [between(everything, *pair) for pair in itertools.combinations(layers, 2)]
    folder.mkdir(parents=True, exist_ok=True)
    everything.to_netcdf(folder / "result.nc")
    figure: Any = heatmap(results[0], "cka", title="linear CKA of two networks from different seeds").figure
    figure.savefig(folder / "heatmap.png", dpi=150)
    _tell(results, found, folder, say)
    return found


def _tell(results: list[xarray.Dataset], found: xarray.Dataset, folder: Path, say: Callable[[str], Any]) -> None:
    say("")
    say("Is the most alike layer of the other network the one in the same place?")
    for name, accuracy, chance in zip(found.measure.values, found.accuracy.values, found.chance.values, strict=True):
        say(f"  {name:20} {accuracy:6.1%}   (chance {chance:.1%})")
    say("")
    mean = np.mean([(r.cka.values + r.cka.values.T) / 2 for r in results], axis=0)
    say(f"Linear CKA, mean over the {len(results)} pairs of networks; [ ] marks the best match of a row:")
    say(text_heatmap(mean, list(LAYERS)))
    say("")
    best = found.accuracy.values
    say(
        f"What it shows: with linear CKA {best[0]:.0%} of the layers find their counterpart in a network that shares nothing "
        f"but the task; with CCA, SVCCA and PWCCA {best[2:5].max():.0%} at most."
    )
    worst, count, total = misses(results, "cka")
    say(
        f"Of its {total} misses {count} are of {worst}"
        + (", the mean of conv6 and nearly its equal." if worst == "pool" else ".")
    )
    level = np.mean([result["cca_null"].values for result in results], axis=0)
    say(
        f"Why: these give directions that hardly vary much the same say as the large ones. Their values "
        f"then follow the widths: independent data would score {level[-1, -1]:.2f} with CCA between two {LAYERS[-1]} layers and "
        f"{level[0].max():.2f} with {LAYERS[0]} (result.cca_null), so that layers prefer partners of another width."
    )
    say(
        f"Written: {folder / 'heatmap.png'} (seeds 0 and 1) and {folder / 'result.nc'} (all; open with xarray.load_dataset)."
    )
    say("")
    say("Next: compare your own networks.")
    say("  activations_a = homolog.extract(model_a, images)      # any PyTorch model; then the same images in model_b")
    say("  result = homolog.compare(activations_a, activations_b)")
    say("  homolog.correspondence(result); homolog.plot.heatmap(result)")
    say(
        "or from files: homolog compare a.npz b.npz --measure cka --plot heatmap.png     (homolog measures lists them all)"
    )


def misses(results: list[xarray.Dataset], name: str) -> tuple[str, int, int]:
    """Return the layer whose best match is most often another one, how often, and how often that happens to any layer."""
    wrong: Counter[str] = Counter()
    for result in results:
        found = correspondence(result, name)
        for side, best in (("a", "best_b"), ("b", "best_a")):
            layers = found[f"layer_{side}"].values
            wrong.update(str(layer) for layer, match in zip(layers, found[best].values, strict=True) if match != layer)
    layer, count = wrong.most_common(1)[0] if wrong else ("none", 0)
    return layer, count, wrong.total()


def text_heatmap(matrix: np.ndarray, names: list[str]) -> str:
    """Write a matrix of similarities as text, the largest of each row in brackets.

    >>> print(text_heatmap(np.array([[0.9, 0.2], [0.1, 0.8]]), ["a", "b"]))
          a      b
    a  [0.90]  0.20
    b   0.10  [0.80]
    """
    width = max(map(len, names))
    lines = [" " * width + "  " + "".join(f"{name[:6]:^7}" for name in names)]
    for name, row in zip(names, matrix, strict=True):
        cells = [f"[{v:.2f}]" if j == int(np.argmax(row)) else f" {v:.2f} " for j, v in enumerate(row)]
        lines.append(f"{name:{width}}  " + " ".join(cells))
    return "\n".join(line.rstrip() for line in lines)
