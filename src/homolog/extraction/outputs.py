"""What a layer put out → the one tensor that is its output, and which of its positions are padding."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from homolog.arrays import described
from homolog.extraction.batch_contents import axes_of, dense
from homolog.extraction.layer_values import Layer
from homolog.extraction.tensors import (
    is_complex,
    is_floating,
    is_foreign,
    is_masked_tensor,
    is_packed,
    is_tensor,
    is_torch,
    loaded_torch,
    numbers_of,
)

SMALL_FLOATS = ("float8", "float4")
"""Floating types in which PyTorch does not compute."""


class Output(NamedTuple):
    """The output of a layer: a tensor of PyTorch's, or an array of NumPy's."""

    tensor: Any
    """The first floating tensor of at least two axes, else the first floating one of one axis; None where there is neither."""
    mask: Any
    """(examples, positions), true where a position counts, as the output says itself; None where it says nothing."""
    problem: str
    """What there is instead of a tensor that can be taken."""
    raw: Any
    """What a reduction of one's own is asked with: the tensor, or what the layer put out where that is no tensor."""
    kind: str | None = None
    """What the axes are, where that is said."""


def output_of(output: Any, *, numbers: bool = False) -> Output:
    """Find the output of a layer. With `numbers`, whole numbers will do, as for the input of a model."""
    if isinstance(output, Layer):
        return _of_layer(output)
    found = list(tensors_in(output))
    floating = [tensor for tensor in found if _floats(tensor) or (numbers and _is_plain_number(tensor))]
    chosen = next((t for t in floating if axes_of(t) >= 2), next((t for t in floating if axes_of(t) == 1), None))
    if chosen is None or _is_empty(chosen):
        first = found[0] if found else None
        raw = first if is_tensor(first) and not _is_structure(output) else output
        return Output(None, None, _problem(found, output), raw)
    if is_torch(chosen) and chosen.is_nested and _is_ragged(chosen):
        problem = "a nested tensor whose features, not its positions, are of unequal numbers"
        return Output(None, None, problem, output if _is_structure(output) else chosen)
    tensor, mask = _dense(chosen)
    return Output(tensor, mask, "", output if _is_structure(output) else tensor)


def _of_layer(layer: Layer) -> Output:
    """Return the array of a layer that says more of itself, with its own mask."""
    found = output_of(layer.array, numbers=True)
    mask = found.mask if layer.mask is None else layer.mask
    return found._replace(mask=mask, kind=layer.kind, raw=found.raw if found.tensor is None else found.tensor)


def is_count(tensor: Any) -> bool:
    """Say whether a tensor is one whole number, or truth value, for each example: a class, say."""
    return tensor is not None and tensor.ndim == 1 and not is_floating(tensor)


def is_transformed(output: Any) -> bool:
    """Say whether an output is what torch.func or torch.vmap hand through a function: numbers that cannot be read inside it."""
    wrapped = getattr(getattr(loaded_torch()._C, "_functorch", None), "is_functorch_wrapped_tensor", None)
    return wrapped is not None and any(is_torch(one) and wrapped(one) for one in tensors_in(output))


def _is_structure(output: Any) -> bool:
    """Say whether an output is a record or an object: a reduction of one's own knows what to do with it."""
    return not (is_tensor(output) or isinstance(output, tuple | list | Mapping))


def tensors_in(output: Any) -> Iterator[Any]:
    """Yield the tensors that mappings, tuples, lists and dataclasses hold, in their order."""
    if is_masked_tensor(output) or isinstance(output, np.ma.MaskedArray):
        return  # nobody knows what stands where it is masked
    if is_tensor(output) or is_packed(output):
        yield output
    elif isinstance(output, Mapping):
        for item in output.values():
            yield from tensors_in(item)
    elif isinstance(output, tuple | list):
        for item in output:
            yield from tensors_in(item)
    elif dataclasses.is_dataclass(output) and not isinstance(output, type):
        for field in dataclasses.fields(output):
            yield from tensors_in(getattr(output, field.name, None))


def _floats(tensor: Any) -> bool:
    """Say whether a tensor holds floating numbers, or quantised ones, which stand for floating ones."""
    values = tensor.data if is_packed(tensor) else tensor
    return is_floating(values) or bool(is_torch(values) and values.is_quantized)


def _is_plain_number(tensor: Any) -> bool:
    return is_tensor(tensor) and not is_complex(tensor)


def _is_empty(tensor: Any) -> bool:
    if is_torch(tensor):
        return not tensor.is_nested and bool(tensor.is_meta or tensor.numel() == 0)
    return is_tensor(tensor) and 0 in tensor.shape


def _problem(found: list[Any], output: Any) -> str:
    if not found:
        return _no_tensor(output)
    first = found[0]
    if is_packed(first):
        return f"packed {first.data.dtype} values".replace("torch.", "")
    description = f"{first.dtype} values".replace("torch.", "")
    if first.ndim == 0:
        return f"a single number ({description})"
    if _is_empty(first):
        on_meta = is_torch(first) and first.is_meta
        return "no numbers, on the meta device" if on_meta else f"no numbers, shape {tuple(first.shape)}"
    return description


def _no_tensor(output: Any) -> str:
    if isinstance(output, np.ma.MaskedArray):
        return "a masked array, whose mask would be ignored"
    if isinstance(output, np.ndarray):
        return f"an array of {'text' if output.dtype.kind in 'SUT' else str(output.dtype)}"
    if hasattr(output, "toarray"):
        return f"{described(output)}, which .toarray() makes dense"
    return f"no tensor, but {described(output)}"


def _is_ragged(nested: Any) -> bool:
    """Say whether sequences differ beyond their first axis, of which no mask can tell."""
    return len({tuple(row.shape[1:]) for row in nested.unbind()}) > 1


def _dense(chosen: Any) -> tuple[Any, np.ndarray | None]:
    """Return a tensor in which its library computes; sequences of unequal lengths padded, with their own mask."""
    if is_packed(chosen):
        padded, lengths = loaded_torch().nn.utils.rnn.pad_packed_sequence(chosen, batch_first=True)
        return padded, _mask_of(lengths.tolist(), padded.shape[1])
    if not is_torch(chosen):
        array = numbers_of(chosen) if is_foreign(chosen) else chosen
        return (array.astype(np.uint8) if array.dtype == bool else array), None
    torch = loaded_torch()
    if chosen.is_nested:
        lengths = [len(row) for row in chosen.unbind()]
        padded = dense(chosen)
        # Sequences of single numbers are sequences of one feature.
        return (padded[:, :, None] if padded.ndim == 2 else padded), _mask_of(lengths, padded.shape[1])
    tensor = dense(chosen)
    if tensor.dtype == torch.bool:  # of an input; 0 and 1 are numbers
        return tensor.to(torch.uint8), None
    return (tensor.float() if str(tensor.dtype).removeprefix("torch.").startswith(SMALL_FLOATS) else tensor), None


def _mask_of(lengths: list[int], longest: int) -> np.ndarray:
    return np.arange(longest)[None] < np.array(lengths)[:, None]
