"""What in a batch looks like padding though no mask says so: ids or zeros that rows of unequal lengths end in, and lengths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from homolog.diagnostics import listed
from homolog.extraction.batch_contents import is_record
from homolog.extraction.tensors import is_floating, is_packed, is_plain, is_torch, is_whole, numbers_of

NO_IDS = ("token_type_ids", "position_ids", "segment_ids")
"""Whole numbers of positions that end in runs although nothing is padded."""
FEWEST_PLACES, FEWEST_IDS = 2, 3
"""Places beyond the first of every run, which may be the end of a text, and other ids, without which chance may be at work."""
FEWEST_SAMPLES = 16
"""Numbers of an example without which they are features, not a sound."""
LENGTHS = (
    "length",
    "_len",
    "lens",
    "seqlen",
    "num_tokens",
    "n_tokens",
    "num_frames",
    "n_frames",
    "num_steps",
    "n_steps",
)


class SuspectedPadding(NamedTuple):
    """One thing in a batch that looks like padding."""

    name: str
    """What the input is called in the batch; empty where it has no name."""
    reason: str
    """What was seen."""
    keep: np.ndarray
    """(examples, positions) true where a position counts."""
    remedy: str
    """The function of the batch that says the same."""
    samples: bool = False
    """Whether it is of samples, of which a layer has fewer positions."""

    def fits(self, positions: int) -> bool:
        """Say whether a layer of so many positions may have this padding."""
        longest = self.keep.shape[1]
        return 1 < positions <= longest if self.samples else positions in (longest, int(self.keep.sum(1).max()))

    def of(self, positions: int) -> np.ndarray:
        """Return which of so many positions count; of samples, where about."""
        if not self.samples:
            return self.keep[:, :positions]
        return self.keep[:, np.arange(positions) * self.keep.shape[1] // positions]


def suspected_padding_in(content: Any, size: int) -> list[SuspectedPadding]:
    """Return what looks like padding in a batch."""
    found = []
    for where, name, value in located_leaves(content):
        if not is_plain(value) or value.ndim < 1:
            continue
        if len(value) != size or name.endswith("mask") or name in NO_IDS or size < 2:
            continue
        of_examples = value.ndim == 1 or tuple(value.shape[1:]) == (1,)
        sign = _of_lengths(content, where, name, value) if of_examples else _of_values(where, name, value)
        found += [] if sign is None else [sign]
    return found


def unmasked_padding_sentence(unmasked: Mapping[str, SuspectedPadding]) -> str:
    """Say in which layers something counts that looks like padding, and how to leave it out."""
    layers_of: dict[str, list[str]] = {}
    for name, sign in unmasked.items():
        layers_of.setdefault(sign.reason, []).append(name)
    signs = {sign.reason: sign for sign in unmasked.values()}
    observations = "; ".join(
        f"{listed(names)}: every position counts, though {reason}" for reason, names in layers_of.items()
    )
    keys = [sign.name.removesuffix("input_ids") + "attention_mask" for sign in signs.values() if _is_ids(sign.name)]
    with_batch = f"{' and '.join(keys)} with the batch, if the model takes it, or " if keys else ""
    first = next(iter(signs.values()))
    mask = first.remedy
    if len(signs) > 1:
        mask = (
            "{" + ", ".join(f"{names[0]!r}: {signs[reason].remedy}" for reason, names in layers_of.items()) + ", ...}"
        )
    return (
        f"{observations}, which looks like padding: pass {with_batch}mask={mask}, true where a position counts, or "
        f"mask={{'**': None}} to count every position."
    )


def _is_ids(name: str) -> bool:
    return name.endswith("input_ids")


def located_leaves(value: Any, where: str = "batch", name: str = "") -> Iterator[tuple[str, str, Any]]:
    """Yield what a batch holds, how it is reached, and what it is called."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from located_leaves(item, f"{where}[{key!r}]", str(key))
    elif isinstance(value, tuple | list) and not is_packed(value):
        for number, item in enumerate(value):
            yield from located_leaves(item, f"{where}[{number}]")
    elif is_record(value):
        for key, item in vars(value).items():
            yield from located_leaves(item, f"{where}.{key}", key)
    else:
        yield where, name, value


def _of_values(where: str, name: str, values: Any) -> SuspectedPadding | None:
    if values.ndim == 2 and is_whole(values) and values.shape[1] > 1:
        return _of_ids(where, name, numbers_of(values))
    return _of_zeros(where, name, values) if is_floating(values) else None


def _of_ids(where: str, name: str, ids: np.ndarray) -> SuspectedPadding | None:
    """Rows of whole numbers that end or begin in runs of one of them."""
    for side, edge in (("end", ids[:, -1]), ("begin", ids[:, 0])):
        found, counts = np.unique(edge, return_counts=True)
        pad = int(found[counts.argmax()])
        is_pad = ids == pad
        inside = _runs(is_pad, side)
        if inside is not None and len(np.unique(ids[~is_pad])) >= FEWEST_IDS:
            reason = f"rows of {where} {side} in runs of {pad} of unequal lengths"
            return SuspectedPadding(name, reason, ~inside, f"lambda batch: {where} != {pad}")
    return None


def _of_zeros(where: str, name: str, values: Any) -> SuspectedPadding | None:
    """Features, or samples, that end or begin in zeros."""
    if values.ndim not in (2, 3) or values.shape[1] < (FEWEST_SAMPLES if values.ndim == 2 else 2):
        return None
    samples = values.ndim == 2
    # The ends first: the whole may have a long way from its device.
    begins, ends = (bool(_zeros_of(numbers_of(values[:, place]), samples).any()) for place in (0, -1))
    side = "end" if ends else "begin"
    inside = None if begins == ends else _runs(_zeros_of(numbers_of(values), samples), side)
    if inside is None:
        return None
    remedy = "function(batch) → (examples, positions)" if samples else f"lambda batch: ({where} != 0).any(-1)"
    return SuspectedPadding(name, f"rows of {where} {side} in zeros of unequal lengths", ~inside, remedy, samples)


def _zeros_of(values: np.ndarray, samples: bool) -> np.ndarray:
    """Say of every sample whether it is zero; of features, whether all of a position are."""
    return values == 0 if samples else (values == 0).all(axis=-1)


def _runs(is_pad: np.ndarray, side: str) -> np.ndarray | None:
    """Return the runs in which rows end, or begin; None where they are no padding: equally long, or found elsewhere too."""
    turned = is_pad[:, ::-1] if side == "end" else is_pad
    run, other = _leading_run(turned), _leading_run(turned[:, ::-1])[:, ::-1]
    lengths = run.sum(axis=1)
    beyond = int((lengths - 1).clip(min=0).sum())
    if bool((lengths == lengths[0]).all()) or beyond < FEWEST_PLACES or bool((turned & ~run & ~other).any()):
        return None
    return run[:, ::-1] if side == "end" else run


def _leading_run(values: np.ndarray) -> np.ndarray:
    return np.logical_and.accumulate(values, axis=1)


def _of_lengths(content: Any, where: str, name: str, given: Any) -> SuspectedPadding | None:
    """Lengths, by their name, that are not those of all positions of an input; without a name, if the longest is all of it."""
    known = any(word in name.lower() for word in LENGTHS)
    if not (known or not name) or not (is_whole(given) or (known and is_floating(given))):
        return None
    lengths = numbers_of(given)
    if (
        not np.isfinite(lengths).all()
        or bool((lengths != lengths.round()).any())
        or int(lengths.min()) < (0 if known else 1)
    ):
        return None
    column = f"{where}[:, None]" if lengths.ndim == 1 else where
    for other, _, value in located_leaves(content):
        sequences = is_plain(value) and value.ndim in (2, 3)
        if not sequences or len(value) != len(lengths) or not (known or int(lengths.max()) == value.shape[1]):
            continue
        if int(lengths.min()) < value.shape[1] >= int(lengths.max()) > 1:
            keep = np.arange(value.shape[1])[None] < lengths.reshape(-1, 1)
            places = f"torch.arange({other}.shape[1], device={where}.device)"
            count = places if is_torch(given) else f"numpy.arange({other}.shape[1])"
            return SuspectedPadding(
                name, f"{where} says that rows are shorter", keep, f"lambda batch: {count} < {column}"
            )
    return None
