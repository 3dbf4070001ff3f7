"""ONNX models written as text, and what an extraction adapter makes of them."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import onnx
    import onnx.parser

from homolog.extraction.frameworks.onnx_models import adapt


def model(text: str, opset: int = 17, ir: int = 8, **weights: np.ndarray) -> onnx.ModelProto:
    """A model from the text of its graph; weights become initialisers."""
    imports = f'"" : {opset}, "com.microsoft" : 1'
    made = onnx.parser.parse_model(f"<ir_version: {ir}, opset_import: [{imports}]>\n{text}")
    made.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in weights.items())
    return made


def values(given: Any, batch: Any, *names: str, **options: Any) -> dict[str, np.ndarray]:
    """The layers that an adapted model gives for a batch: those of some names, or those taken by default."""
    return dict(adapt(given, **options).run(batch, names or None))


def weights(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
