"""Networks of PyTorch's as ONNX files, by both of its exporters, and quantised."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Exporters and quantisation print, log and warn of what is theirs."""
    logging.disable(logging.WARNING)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


def exported(net: nn.Module, inputs: Mapping[str, torch.Tensor], path: Path, *, exporter: str, axes: int = 1) -> Path:
    """Export a network by the "older" exporter or the present one; the first axes of its inputs are free."""
    free = [{k: f"axis{k}" for k in range(axes)} for _ in inputs]
    with quietly():
        if exporter == "older":
            names = list(inputs)
            given = tuple(inputs.values())
            torch.onnx.export(
                net, given, path, dynamo=False, input_names=names, dynamic_axes=dict(zip(names, free, strict=True))
            )
        else:
            shapes = {name: dict.fromkeys(range(axes), torch.export.Dim.AUTO) for name in inputs}
            torch.onnx.export(net, (), path, kwargs=dict(inputs), dynamo=True, dynamic_shapes=shapes, verbose=False)
    return path


def dynamically_quantised(path: Path) -> Path:
    """Weights in 8 bits, activations rounded by the largest value of a batch."""
    from onnxruntime.quantization import quantize_dynamic

    made = path.with_name(f"dynamic_{path.name}")
    with quietly():
        quantize_dynamic(path, made)
    return made


def statically_quantised(path: Path, inputs: Mapping[str, np.ndarray], form: str) -> Path:
    """Activations rounded to ranges that were measured; the form is "QDQ" or "QOperator"."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = [dict(inputs)]

        def get_next(self) -> Any:
            return self.left.pop() if self.left else None

    made = path.with_name(f"{form}_{path.name}")
    with quietly():
        quantize_static(path, made, Reader(), quant_format=QuantFormat[form])
    return made


class Block(nn.Module):
    """A residual block with what makes names of modules hard: a folded normalisation, modules in lists, one that runs twice."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Sequential(nn.Conv2d(4, 4, 1))
        )
        self.act = nn.ReLU()
        self.more = nn.ModuleList([nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.act(x + self.body(x))
        for layer in self.more:
            y = self.act(layer(y))
        return y + x


class Nested(nn.Module):
    """Blocks in a sequence, a head without a bias, a linear layer and a sequence that run twice."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.blocks = nn.Sequential(Block(), Block())
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 6, bias=False))
        self.twice = nn.Linear(6, 6)
        self.shared = nn.Sequential(nn.Linear(6, 6), nn.ReLU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.head(self.blocks(self.stem(x)))
        return torch.softmax(self.shared(self.shared(self.twice(self.twice(y)))), 1)


def nested() -> Nested:
    torch.manual_seed(0)
    net = Nested().eval()
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
                module.bias.normal_()
    return net


def sentence_encoder() -> Any:
    """A small BERT of random weights that are nowhere zero or equal, as those of trained models."""
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    sizes = {
        "vocab_size": 50,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
    }
    net = BertModel(BertConfig(**sizes, max_position_embeddings=32), add_pooling_layer=False).eval()
    with torch.no_grad():
        for weight in net.parameters():
            weight.add_(torch.randn(weight.shape) * 0.2)
    return net


def sentences(n: int = 24) -> dict[str, np.ndarray]:
    """Padded sentences of 3 to 10 words."""
    rng = np.random.default_rng(0)
    mask = (np.arange(10) < rng.integers(3, 11, n)[:, None]).astype(np.int64)
    return {"input_ids": rng.integers(1, 50, (n, 10)) * mask, "attention_mask": mask}


class Wrapped(nn.Module):
    """A model that gives one tensor, as the older exporter needs it."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        return self.inner(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
