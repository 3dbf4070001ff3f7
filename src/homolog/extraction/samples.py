"""Rows of the examples that are tried, and how far they may differ between runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from homolog.extraction.reductions import LayerRows

SPREAD_ROWS = 8
"""Rows of a layer whose differences say what is more than rounding."""
FLOAT64, FLOAT32, ROUNDED, HALF = 1e-6, 1e-3, 1e-2, 0.1
"""Differences, as parts of the spread of a layer, that another size of the batch may make: in float64, in float32, on a device
that may round products to fewer digits or with quantised weights, and in half precision."""


class Sample(NamedTuple):
    """Rows of one layer for the examples that are tried."""

    rows: torch.Tensor
    spread: torch.Tensor
    """(features,) largest difference between rows, of no feature less than a hundredth of that of another."""
    largest: float


def sample_of(rows: LayerRows, index: Sequence[int]) -> Sample:
    """Keep the rows of some examples; a copy, because what runs later may change the output in place."""
    kept = rows_at(rows, index)
    few = torch.cat([rows.features[:SPREAD_ROWS].detach(), kept]).double()
    if not len(few):
        return Sample(kept, torch.zeros(few.shape[1]), 0.0)
    spread = few.amax(0) - few.amin(0)
    return Sample(kept, torch.maximum(spread, spread.amax() / 100), float(few.abs().amax()))


def rows_at(rows: LayerRows, index: Sequence[int]) -> torch.Tensor:
    """Copy the rows of some examples."""
    features = rows.features.detach()
    if rows.example is None:
        return features[list(index)].clone()
    return torch.cat([features[rows.example == i] for i in index])


def differences(before: Any, after: Any) -> Any:
    """Return by how much values differ: NaN from itself not at all, from a number without end."""
    if isinstance(before, np.ndarray):
        return differences(torch.from_numpy(before), torch.from_numpy(after)).numpy()
    first, second = before.double(), after.double()
    same = (first == second) | (first.isnan() & second.isnan())
    return torch.where(same, 0.0, (first - second).abs()).nan_to_num(nan=torch.inf)


def tolerance_of(model: nn.Module, samples: Iterable[Sample]) -> tuple[float, float]:
    """Return the differences that rounding may make in batches of another size: of the spread, and of the largest value."""
    dtypes = {weight.dtype for weight in model.parameters()} | {sample.rows.dtype for sample in samples}
    if dtypes & {torch.float16, torch.bfloat16}:
        return HALF, torch.finfo(torch.bfloat16).eps
    if dtypes == {torch.float64}:
        return FLOAT64, 64 * torch.finfo(torch.float64).eps
    exact = all(sample.rows.device.type == "cpu" for sample in samples) and not is_quantised(model)
    return FLOAT32 if exact else ROUNDED, 64 * torch.finfo(torch.float32).eps


def is_quantised(model: nn.Module) -> bool:
    """Say whether a model has quantised layers."""
    return any("quantized" in type(module).__module__ for module in model.modules())
