"""What a layer put out → the one tensor that is its output, and which of its positions are padding."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch.masked import MaskedTensor
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from homolog.arrays import described
from homolog.extraction.batch_contents import axes_of, dense

SMALL_FLOATS = ("float8", "float4")
"""Floating types in which PyTorch does not compute."""


class Output(NamedTuple):
    """The output of a layer."""

    tensor: torch.Tensor | None
    """The first floating tensor of at least two axes, else the first floating one of one axis; None where there is neither."""
    mask: torch.Tensor | None
    """(examples, positions), true where a sequence of its own length has a position; None where all are of one length."""
    problem: str
    """What there is instead of a tensor that can be taken."""
    raw: Any
    """What a reduction of one's own is asked with: the tensor, or what the layer put out where that is no tensor."""


def output_of(output: Any, *, numbers: bool = False) -> Output:
    """Find the output of a layer. With `numbers`, whole numbers will do, as for the input of a model."""
    found = list(_tensors(output))
    floating = [tensor for tensor in found if _floats(tensor) or (numbers and _is_plain_number(tensor))]
    chosen = next((t for t in floating if axes_of(t) >= 2), next((t for t in floating if axes_of(t) == 1), None))
    if chosen is None or _is_empty(chosen):
        first = found[0] if found else None
        raw = first if isinstance(first, torch.Tensor) and not _is_structure(output) else output
        return Output(None, None, _problem(found, output), raw)
    if not isinstance(chosen, PackedSequence) and chosen.is_nested and _is_ragged(chosen):
        problem = "a nested tensor whose features, not its positions, are of unequal numbers"
        return Output(None, None, problem, output if _is_structure(output) else chosen)
    tensor, mask = _dense(chosen)
    return Output(tensor, mask, "", output if _is_structure(output) else tensor)


def is_transformed(output: Any) -> bool:
    """Say whether an output is what torch.func or torch.vmap hand through a function: numbers that cannot be read inside it."""
    wrapped = getattr(getattr(torch._C, "_functorch", None), "is_functorch_wrapped_tensor", None)
    return wrapped is not None and any(isinstance(one, torch.Tensor) and wrapped(one) for one in _tensors(output))


def _is_structure(output: Any) -> bool:
    """Say whether an output is a record or an object: a reduction of one's own knows what to do with it."""
    return not isinstance(output, torch.Tensor | tuple | list | Mapping)


def _tensors(output: Any) -> Iterator[Any]:
    if isinstance(output, MaskedTensor):
        return  # nobody knows what stands where it is masked
    if isinstance(output, torch.Tensor | PackedSequence):
        yield output
    elif isinstance(output, Mapping):
        for item in output.values():
            yield from _tensors(item)
    elif isinstance(output, tuple | list):
        for item in output:
            yield from _tensors(item)
    elif dataclasses.is_dataclass(output) and not isinstance(output, type):
        for field in dataclasses.fields(output):
            yield from _tensors(getattr(output, field.name, None))


def _floats(tensor: Any) -> bool:
    """Say whether a tensor holds floating numbers, or quantised ones, which stand for floating ones."""
    values = tensor.data if isinstance(tensor, PackedSequence) else tensor
    return bool(values.is_floating_point() or values.is_quantized)


def _is_plain_number(tensor: Any) -> bool:
    return isinstance(tensor, torch.Tensor) and not tensor.is_complex()


def _is_empty(tensor: Any) -> bool:
    return isinstance(tensor, torch.Tensor) and not tensor.is_nested and (tensor.is_meta or tensor.numel() == 0)


def _problem(found: list[Any], output: Any) -> str:
    if not found:
        return f"no tensor, but {described(output)}"
    first = found[0]
    if isinstance(first, PackedSequence):
        return f"packed {first.data.dtype} values".replace("torch.", "")
    description = f"{first.dtype} values".replace("torch.", "")
    if first.ndim == 0:
        return f"a single number ({description})"
    if _is_empty(first):
        return "no numbers, on the meta device" if first.is_meta else f"no numbers, shape {tuple(first.shape)}"
    return description


def _is_ragged(nested: torch.Tensor) -> bool:
    """Say whether sequences differ beyond their first axis, of which no mask can tell."""
    return len({tuple(row.shape[1:]) for row in nested.unbind()}) > 1


def _dense(chosen: Any) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return a tensor in which PyTorch computes; sequences of unequal lengths padded, with their own mask."""
    if isinstance(chosen, PackedSequence):
        padded, lengths = pad_packed_sequence(chosen, batch_first=True)
        return padded, _mask_of(lengths.to(padded.device), padded.shape[1])
    if chosen.is_nested:
        lengths = torch.tensor([len(row) for row in chosen.unbind()], device=chosen.device)
        padded = dense(chosen)
        # Sequences of single numbers are sequences of one feature.
        return (padded[:, :, None] if padded.ndim == 2 else padded), _mask_of(lengths, padded.shape[1])
    tensor = dense(chosen)
    if tensor.dtype == torch.bool:  # of an input; 0 and 1 are numbers
        return tensor.to(torch.uint8), None
    return (tensor.float() if str(tensor.dtype).removeprefix("torch.").startswith(SMALL_FLOATS) else tensor), None


def _mask_of(lengths: torch.Tensor, longest: int) -> torch.Tensor:
    return torch.arange(longest, device=lengths.device)[None] < lengths[:, None]
