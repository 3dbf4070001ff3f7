"""The demonstration: do networks trained from different seeds learn the same layers, and which measure can tell?

The paper's smallest experiment, its section 6.1 at a size that runs in a minute or two: four small convolutional networks,
trained on scikit-learn's digits, are compared layer by layer.
"""

from __future__ import annotations

import itertools
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray

import homolog as hl
from homolog.paper.data import Images, load
from homolog.paper.networks import Convolution, plain
from homolog.paper.training import accuracy, cropped, descend

DEBIASED = "cka(estimator=debiased)"
MEASURES = (DEBIASED, "cka", "cka(kernel=rbf)", "cca", "svcca", "pwcca", "linear_regression")
SEEDS = (0, 1, 2, 3)
EPOCHS = 24
BATCH_SIZE = 64
CONVOLUTIONS = [Convolution(*each) for each in ((14, 1), (14, 1), (32, 2), (32, 1), (64, 2), (64, 1))]
"""Channels and strides; n = 1797 exceeds twice the widest layer, 14·8·8: nothing saturates."""
LAYERS = ("conv1", "conv2", "conv3", "conv4", "conv5", "conv6", "pool")


def train(images: Images, seed: int) -> torch.nn.Module:
    """Train one network on images shifted by up to one pixel in each direction: Adam, one-cycle learning rate."""
    network = _network(images, seed)
    pixels, labels = torch.from_numpy(images.train), torch.from_numpy(images.train_labels)
    padded = torch.nn.functional.pad(pixels, (1, 1, 1, 1))
    per_epoch = -(-len(labels) // BATCH_SIZE)
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=1e-2, total_steps=EPOCHS * per_epoch)

    def batches() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for rows in torch.randperm(len(labels)).chunk(per_epoch):
            yield cropped(padded, rows, pixels.shape[-1], torch.default_generator), labels[rows]

    for _ in range(EPOCHS):
        descend(network, optimiser, schedule, batches())
    return network.eval()


def _network(images: Images, seed: int) -> torch.nn.Module:
    """Build three stages of two convolutions, with PyTorch's own initial weights instead of He's."""
    network = plain(images.train.shape[1], images.train.shape[-1], images.classes, CONVOLUTIONS)
    torch.manual_seed(seed)
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            module.reset_parameters()
    return network


def run(folder: Path, say: Callable[[str], Any], progress: bool | None = None) -> xarray.Dataset:
    """Train, compare, tell and draw; return the layer identification."""
    images = load("digits")
    say(f"Training {len(SEEDS)} networks from different seeds on {len(images.train)} images of digits.")
    activations = {}
    for seed in SEEDS:
        network = train(images, seed)
        say(f"  seed {seed}: held-out accuracy {accuracy(network, images.test, images.test_labels):.1%}")
        activations[f"seed {seed}"] = hl.extract(network, images.whole, layers=LAYERS, batch_size=512, progress=False)
    say(f"Comparing all layers of all networks with each other over all {len(images.whole)} images.")
    with warnings.catch_warnings():
        # Said below in the words of the demonstration.
        warnings.simplefilter("ignore", hl.NullLevelWarning)
        everything = hl.compare(activations, measures=MEASURES, progress=progress)
    found = hl.layer_identification(everything)
    results = [hl.between(everything, *pair) for pair in itertools.combinations(activations, 2)]
    folder.mkdir(parents=True, exist_ok=True)
    everything.to_netcdf(folder / "result.nc")
    title = "debiased linear CKA of two networks from different seeds"
    figure: Any = hl.plot.heatmap(results[0], DEBIASED, title=title).figure
    figure.savefig(folder / "heatmap.png", dpi=150)
    hl.report(everything, folder / "report.html", title=f"{len(SEEDS)} networks from different seeds")
    for line in [*_findings(everything, results, found), *_next_steps(folder)]:
        say(line)
    return found


def _findings(everything: xarray.Dataset, results: list[xarray.Dataset], found: xarray.Dataset) -> Iterator[str]:
    yield ""
    yield "Is the most alike layer of the other network the one in the same place?"
    for name, share, chance in zip(found.measure.values, found.accuracy.values, found.chance.values, strict=True):
        yield f"  {name:23} {share:6.1%}   (chance {chance:.1%})"
    yield ""
    values = [result[DEBIASED].values for result in results]
    mean = np.mean([(matrix + matrix.T) / 2 for matrix in values], axis=0)
    yield f"Debiased linear CKA, mean over the {len(results)} pairs of networks; [ ] marks the best match of a row:"
    yield text_heatmap(mean, list(LAYERS))
    yield ""
    yield "What it shows, as homolog.summary(result) says it:"
    yield from (f"  {sentence}" for sentence in list(hl.summary(everything))[:-1])
    worst, count, total = misses(results, DEBIASED)
    if total:
        reason = ", the mean of conv6 and nearly its equal" if worst == "pool" else ""
        yield f"  Of the {total} misses {count} are of {worst}{reason}."
    correlations = found.accuracy.sel(measure=["cca", "svcca", "pwcca"]).max().item()
    yield (
        f"CCA, SVCCA and PWCCA find the counterpart of {correlations:.0%} of the layers at most, in networks that share nothing "
        f"but the task."
    )
    level = np.mean([result["cca_null"].values for result in results], axis=0)
    yield (
        f"Why: these give directions that hardly vary much the same say as the large ones. Their values "
        f"then follow the widths: independent data would score {level[-1, -1]:.2f} with CCA between two {LAYERS[-1]} layers and "
        f"{level[0].max():.2f} with {LAYERS[0]} (result.cca_null), so that layers prefer partners of another width."
    )


def _next_steps(folder: Path) -> Iterator[str]:
    picture, result = folder / "heatmap.png", folder / "result.nc"
    page = folder / "report.html"
    yield f"Written: {page} (open it in a browser), {picture} (seeds 0 and 1) and {result} (xarray.load_dataset)."
    yield ""
    yield "Next: compare your own networks."
    yield "  activations_a = homolog.extract(model_a, images)      # any PyTorch model; then the same images in model_b"
    yield "  result = homolog.compare(activations_a, activations_b)"
    yield "  print(homolog.summary(result)); homolog.plot.heatmap(result); homolog.report(result, 'report.html')"
    yield "or from files: homolog compare a.npz b.npz --report report.html     (homolog measures lists all measures)"


def misses(results: list[xarray.Dataset], name: str) -> tuple[str, int, int]:
    """Return the layer whose best match is most often another one, how often, and how often that happens to any layer."""
    wrong: Counter[str] = Counter()
    for result in results:
        found = hl.correspondence(result, name)
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
