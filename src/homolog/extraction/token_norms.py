"""How long the vectors are that a layer puts out for tokens: one pass over its output, which nothing else is made of."""

from __future__ import annotations

from typing import Any

import numpy as np

from homolog.extraction.reductions import Tokens
from homolog.extraction.skipped_tokens import SkippedTokens
from homolog.extraction.tensors import is_torch, loaded_torch, numbers_of
from homolog.position_norms import PositionNorms, norms_of_tokens

MOST = 4096
"""Tokens of a batch that are looked at, of its first examples: more would cost time and say the same."""


def norms_of_output(tokens: Tokens, skipped: SkippedTokens) -> PositionNorms:
    """Return what the norms of the tokens of a batch say."""
    count = max(1, MOST // max(int(tokens.output.shape[1]), 1))
    norms = _norms(tokens.output[:count])
    shape = tuple(tokens.output.shape[:2])
    rank = skipped.ranks(np.ones(shape, dtype=bool) if tokens.padding is None else tokens.padding)[:count]
    counted = (rank > 0) & (tokens.counted if isinstance(tokens.counted, bool) else np.asarray(tokens.counted)[:count])
    return norms_of_tokens(norms, np.where(np.isfinite(norms), rank, 0), counted)


def _norms(output: Any) -> np.ndarray:
    """Return the norms (examples, positions) of vectors, in float32 at least."""
    if is_torch(output):
        torch = loaded_torch()
        wide = torch.float64 if output.dtype == torch.float64 else torch.float32
        values = output if output.is_floating_point() else output.to(wide)
        return numbers_of(torch.linalg.vector_norm(values, dim=-1, dtype=wide))
    values = output if output.dtype in (np.float32, np.float64) else output.astype(np.float32)
    with np.errstate(all="ignore"):
        norms: np.ndarray = np.sqrt(np.einsum("ntd,ntd->nt", values, values))
    return norms
