"""Which inputs of a batch are one sequence, such as token ids and their types, and which mask is that of its padding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from homolog.extraction.batch_contents import entries_of
from homolog.extraction.tensors import is_floating, is_nested, is_tensor

SUFFIXES = ("attention_mask", "key_padding_mask")
"""How the names of padding masks end in Hugging Face models and in PyTorch's transformers."""
TRUE_IS_PADDING = "key_padding_mask"
NO_PADDING = (
    *("src_mask", "tgt_mask", "memory_mask", "attn_mask", "causal_mask", "head_mask", "decoder_head_mask"),
    *("cross_attn_head_mask", "special_tokens_mask", "global_attention_mask", "perceiver_attention_mask"),
)
"""Masks that say nothing of padding."""
OF_SCORES = ("src_mask", "tgt_mask", "memory_mask", "attn_mask", "causal_mask")
"""Those of them that are of pairs of positions, unless their shape says that they are of the positions of every example."""
NO_MASK = ("token_type_ids", "position_ids", "seq_idx", "labels", "input_ids", "decoder_input_ids")
"""Whole numbers of which some examples hold nothing but 0 and 1."""
TOKENS = ("input_ids", "inputs_embeds", "input_values", "input_features")
"""What Hugging Face's attention_mask is of."""
OF_MAPS = ("pixel_mask", "pixel_attention_mask")
DECODER_INPUTS = ("decoder_", "tgt", "target", "labels")
ENCODER_INPUTS = ("encoder_", "src", "source", "memory")
IGNORED_LABEL = -100
"""What Hugging Face models take for padding among labels."""


@dataclass(frozen=True)
class InputSequence:
    """Inputs that are one sequence, such as token ids and their types, and the mask of their padding."""

    inputs: tuple[str, ...]
    mask: str | None

    @property
    def decoder(self) -> bool:
        """Whether the sequence is the one a decoder reads; its layers depend on the encoder's inputs too."""
        return any(name.startswith(DECODER_INPUTS) for name in (*self.inputs, self.mask or ""))

    @property
    def encoder(self) -> bool:
        """Whether the sequence is one that a decoder attends to: what depends on it and on another has the other's positions."""
        return any(name.startswith(ENCODER_INPUTS) for name in (*self.inputs, self.mask or ""))


def input_sequences(content: Any, size: int) -> tuple[InputSequence, ...]:
    """Say which inputs of a batch belong together, and which mask is theirs; nothing where there is no mask."""
    tensors = {
        key: value
        for key, value in entries_of(content).items()
        if is_tensor(value) and value.ndim and not is_nested(value)
    }
    masks = [key for key in tensors if is_mask(key)]
    inputs = [
        key for key, value in tensors.items() if not key.endswith("mask") and value.ndim >= 2 and len(value) == size
    ]
    found = []
    for mask in sorted(masks, key=lambda key: not _prefix(key)):  # a mask without a prefix takes what is left
        covered = [key for key in inputs if _covers(mask, key, tensors)]
        inputs = [key for key in inputs if key not in covered]
        found.append(InputSequence(tuple(covered), mask))
    if not found:
        return ()
    # The encoder's output has the mask of the encoder's input.
    found = [
        sequence
        for sequence in found
        if sequence.inputs or not str(sequence.mask).startswith("memory_") or len(found) == 1
    ]
    decoder = tuple(key for key in inputs if key.startswith(DECODER_INPUTS))
    rest = [InputSequence((key,), None) for key in inputs if key not in decoder]
    return (*found, *([InputSequence(decoder, None)] if decoder else []), *rest)


def is_mask(key: str) -> bool:
    """Say whether an input of this name is a mask of padding."""
    return (key.endswith(SUFFIXES) and key not in NO_PADDING) or key in OF_MAPS


def _prefix(mask: str) -> str:
    if mask in OF_MAPS:
        return "pixel_"
    return mask.removesuffix(SUFFIXES[1]).removesuffix(SUFFIXES[0])


def _covers(mask: str, key: str, tensors: Mapping[str, Any]) -> bool:
    prefix = _prefix(mask)
    if mask == TRUE_IS_PADDING and "key" in tensors:  # of an attention layer called by itself
        return key in ("key", "value") or tensors[key] is tensors["key"]
    named = [other for other in tensors if other.startswith(prefix.rstrip("_")) and not other.endswith("mask")]
    if prefix and named:
        return key in named
    if prefix == "decoder_" and "labels" in tensors:  # which the decoder reads, shifted by one
        return key == "labels"
    if key.startswith(DECODER_INPUTS) or tuple(tensors[key].shape[:2]) != tuple(tensors[mask].shape[:2]):
        return False
    # Beside tokens, features of another kind are a sequence of their own, though it may be as long.
    tokens = any(name in tensors for name in TOKENS)
    return key in TOKENS or not tokens or not is_floating(tensors[key])
