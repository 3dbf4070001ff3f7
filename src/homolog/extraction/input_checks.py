"""What data and batches cannot be, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from homolog.arrays import array_remedy, described
from homolog.diagnostics import listed
from homolog.extraction.batch_contents import leaves
from homolog.extraction.tensors import (
    TABLES,
    is_complex,
    is_floating,
    is_masked_tensor,
    is_tensor,
    is_torch,
    loaded_torch,
)

MOST_BESIDE = 4
"""Arrays that data may hold to look like examples, their labels, and what else there is of each."""


def check_plain(value: Any, what: str) -> None:
    """Raise for tensors and arrays whose numbers are not all there, or not all meant."""
    if is_masked_tensor(value):
        raise TypeError(
            f"{what} must hold plain tensors, got a MaskedTensor, whose mask would be ignored: pass its numbers, .get_data(), "
            f"and say with mask= which positions count, or fill it, .to_tensor(0.0)."
        )
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(
            f"{what} must hold arrays without gaps, got a masked array{_gaps_of(value)}, whose mask would be ignored: fill it, "
            f".filled(0.0), or leave the masked examples out."
        )
    if is_torch(value) and value.is_meta:
        raise ValueError(
            f"{what} must hold its numbers, got a tensor on the meta device, which has none: make or load it on another device."
        )
    if type(value).__module__.split(".")[0] == "scipy":
        raise TypeError(f"{what} must hold tensors or arrays, got {described(value)}: {array_remedy(value)}.")


def _gaps_of(array: np.ma.MaskedArray) -> str:
    """Say in which rows an array is masked."""
    mask = np.ma.getmaskarray(array)
    rows = np.flatnonzero(mask.reshape(len(mask), -1).any(axis=1)) if mask.ndim and mask.size else ()
    return f" with gaps in rows {listed(map(str, rows))}" if len(rows) else ""


def check_data(data: Any) -> None:
    """Raise for data of one tensor that cannot be cut into batches."""
    check_plain(data, "data")
    for part in data.values() if isinstance(data, Mapping) else [data]:
        if type(part).__module__.split(".")[0] in TABLES:
            raise TypeError(f"data must hold tensors or arrays, got {described(part)}: {array_remedy(part)}.")
    if isinstance(data, np.ndarray) and not is_tensor(data):
        raise TypeError(f"data must hold numbers, got an array of {_kind_of(data)}.")
    if is_numbers(data):
        raise TypeError(
            "data must be an array, a tensor or batches, got a list of numbers: convert it, torch.tensor(data) or "
            "numpy.array(data)."
        )
    if _is_rows(data):
        raise TypeError(
            f"data must be an array, a tensor or batches, got a list of {len(data)} vectors, which look like one example each: "
            f"put them into one array, numpy.stack(data), or pass them as one batch, [numpy.stack(data)]."
        )
    if isinstance(data, tuple | list) and _is_with_labels(data):
        kind = "list" if isinstance(data, list) else "tuple"
        raise TypeError(
            f"data must be the examples alone, got a {kind} of {len(data)} arrays of {len(data[0])} rows each, which looks like "
            f"(images, labels): pass the images, data[0], or a list of batches."
        )
    if not is_torch(data):
        return
    if data.is_nested:
        raise TypeError(
            "data must be dense, got a nested tensor: pass it as one batch, [data], or padded, "
            "torch.nested.to_padded_tensor(data, 0.0), and say with mask= which positions count."
        )
    if data.layout != loaded_torch().strided:
        raise TypeError(
            f"data must be dense, got a tensor of layout {data.layout}: convert it with .to_dense(), or pass batches."
        )


def _is_with_labels(data: Sequence[Any]) -> bool:
    """Say whether data are examples beside something with one entry for each, where a list of batches would be expected.

    Batches of one list have equally many axes. Texts and sounds may differ in length between them, and come in lists.
    """
    axes = [_axes_of(part) for part in data] if 2 <= len(data) <= MOST_BESIDE else []
    if not axes or None in axes or axes[0] in (0, 1) or len({len(part) for part in data}) > 1:
        return False
    vectors = set(axes) == {2} and isinstance(data, tuple) and is_floating(data[0])
    return len(set(axes)) > 1 or (vectors and len({part.shape[1] for part in data}) > 1)


def _axes_of(part: Any) -> int | None:
    """Return the axes of an array, 1 of a list of numbers or words; None of anything else."""
    if isinstance(part, list | tuple):
        return 1 if part and all(isinstance(entry, bool | int | float | str | np.generic) for entry in part) else None
    axes = getattr(part, "ndim", None)
    return axes if isinstance(axes, int) and hasattr(part, "shape") else None


def _is_rows(data: Any) -> bool:
    """Say whether data are a list of floating vectors of one length, each of which would be taken for a batch."""
    if not isinstance(data, list) or len(data) < 2 or not all(is_tensor(item) and item.ndim == 1 for item in data):
        return False
    return all(map(is_floating, data)) and len({len(item) for item in data}) == 1


def _kind_of(array: np.ndarray) -> str:
    """Say what an array holds that are no numbers, and what makes it data."""
    if array.dtype.kind == "O":
        return "objects: if every entry is a vector, numpy.stack(data); if it is anything else, pass lists of entries"
    if array.dtype.names:
        return "named columns: put them side by side, numpy.stack([data[name] for name in data.dtype.names], axis=1)"
    return f"{array.dtype}: pass batches that are lists of its entries, data.tolist() cut into parts"


_KINDS: list[tuple[Callable[[Any], bool], str, str]] = [
    (lambda t: t.is_nested, "a nested tensor", "torch.nested.to_padded_tensor(batch, 0.0), with mask="),
    (lambda t: t.layout != loaded_torch().strided, "a sparse tensor", "batch.to_dense()"),
    (lambda t: t.is_quantized, "a quantised tensor", "batch.dequantize()"),
    (lambda t: t.is_complex(), "complex numbers", "torch.view_as_real(batch), or batch.abs()"),
    (lambda t: "float8" in str(t.dtype) or "float4" in str(t.dtype), "small floating numbers", "batch.float()"),
]


def odd_kind(content: Any) -> tuple[str, str] | None:
    """Return which of its tensors a model may not take, and what it might; None where all are of ordinary kinds."""
    found = [leaf for leaf in leaves(content) if is_tensor(leaf)]
    tensors = [leaf for leaf in found if is_torch(leaf)]
    if any(is_complex(leaf) for leaf in found if not is_torch(leaf)):
        return "complex numbers", "numpy.abs(batch), or the real and the imaginary parts beside each other"
    return next(((kind, remedy) for is_kind, kind, remedy in _KINDS if any(map(is_kind, tensors))), None)


def check_converted(content: Any) -> None:
    """Raise for lists of numbers where a model takes tensors."""
    if isinstance(content, Mapping):
        odd = [str(key) for key, value in content.items() if is_table(value)]
        if odd:
            raise TypeError(f"a batch must hold tensors or arrays, got {lists_of_numbers(odd)}.")
    elif isinstance(content, list) and _first_number(content) is not None:
        raise TypeError(
            "a batch must be a tensor, an array, or a mapping of them, got a list of numbers: convert it, torch.tensor(batch)."
        )


def what_is_none(content: Any) -> str:
    """Say what of a batch without a tensor could be made an array, and how; nothing where nothing could."""
    for leaf in leaves(content):
        if type(leaf).__module__.split(".")[0] in TABLES:
            return f"{described(leaf)}: {array_remedy(leaf)}"
        if isinstance(leaf, np.ndarray):
            return f"an array of {_kind_of(leaf)}"
    return ""


def lists_of_numbers(keys: list[str]) -> str:
    """Say under which keys there are lists of numbers, and what makes tensors of them."""
    kind, made, by = ("np", "arrays", "numpy.array") if loaded_torch() is None else ("pt", "tensors", "torch.tensor")
    return (
        f"lists of numbers under {', '.join(keys)}: let the tokenizer make {made}, tokenizer(texts, padding=True, "
        f'return_tensors="{kind}"), or convert them, {by}(batch[{keys[0]!r}])'
    )


def is_table(value: Any) -> bool:
    """Say whether a list holds lists of numbers, one of every example."""
    return isinstance(value, list) and bool(value) and isinstance(value[0], list) and _first_number(value) is not None


def is_numbers(value: Any) -> bool:
    """Say whether a list holds numbers, whatever is around them."""
    return isinstance(value, list) and _first_number(value) is not None


def _first_number(value: Any) -> int | float | None:
    """Return the first number of nested lists; None where anything else comes first."""
    while isinstance(value, list) and value:
        value = value[0]
    return value if isinstance(value, int | float) else None
