"""How long the vectors are that a layer puts out for tokens: one pass over its output, which nothing else is made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from homolog.devices import is_elsewhere
from homolog.extraction.reductions import Tokens
from homolog.extraction.skipped_tokens import SkippedTokens
from homolog.extraction.tensors import is_torch, loaded_torch, numbers_of
from homolog.position_norms import PositionNorms, norms_of_tokens

MOST = 4096
"""Tokens of a batch that are looked at, of its first examples: more would cost time and say the same."""


class UnreadNorms(NamedTuple):
    """What the norms of the tokens of a batch say is in numbers on a device: reading them waits for it."""

    norms: Any
    rank: np.ndarray
    counted: np.ndarray

    def read(self, norms: np.ndarray) -> PositionNorms:
        """Return it, of the norms (examples, positions) on the host."""
        return norms_of_tokens(norms, np.where(np.isfinite(norms), self.rank, 0), self.counted)


def norms_of_output(tokens: Tokens, skipped: SkippedTokens) -> UnreadNorms | PositionNorms:
    """Return what the norms of the tokens of a batch say, unread where they are on a device."""
    count = max(1, MOST // max(int(tokens.output.shape[1]), 1))
    norms = _norms(tokens.output[:count])
    shape = tuple(tokens.output.shape[:2])
    rank = skipped.ranks(np.ones(shape, dtype=bool) if tokens.padding is None else tokens.padding)[:count]
    counted = (rank > 0) & (tokens.counted if isinstance(tokens.counted, bool) else np.asarray(tokens.counted)[:count])
    found = UnreadNorms(norms, rank, counted)
    return found if is_elsewhere(norms) else found.read(numbers_of(norms))


def norms_read(norms: Mapping[str, UnreadNorms | PositionNorms]) -> dict[str, PositionNorms]:
    """Return what the norms of all layers say, with one copy from their device."""
    unread = {name: own for name, own in norms.items() if isinstance(own, UnreadNorms)}
    if not unread:
        return {name: own for name, own in norms.items() if isinstance(own, PositionNorms)}
    by_device: dict[Any, list[str]] = {}
    for name, own in unread.items():
        by_device.setdefault(own.norms.device, []).append(name)
    read: dict[str, PositionNorms] = {}
    for names in by_device.values():
        flat = numbers_of(loaded_torch().cat([unread[name].norms.reshape(-1) for name in names]))
        ends = np.cumsum([unread[name].norms.numel() for name in names])
        for name, some in zip(names, np.split(flat, ends[:-1]), strict=True):
            read[name] = unread[name].read(some.reshape(unread[name].norms.shape))
    return {name: read[name] if isinstance(own, UnreadNorms) else own for name, own in norms.items()}


def _norms(output: Any) -> Any:
    """Return the norms (examples, positions) of vectors, in float32 at least, where they are."""
    if is_torch(output):
        torch = loaded_torch()
        wide = torch.float64 if output.dtype == torch.float64 else torch.float32
        values = output if output.is_floating_point() else output.to(wide)
        return torch.linalg.vector_norm(values, dim=-1, dtype=wide)
    values = output if output.dtype in (np.float32, np.float64) else output.astype(np.float32)
    with np.errstate(all="ignore"):
        norms: np.ndarray = np.sqrt(np.einsum("ntd,ntd->nt", values, values))
    return norms
