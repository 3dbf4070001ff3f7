"""Which positions of a layer are padding. A mask belongs to the inputs that it masks, and to the layers that depend on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from homolog.arrays import described
from homolog.diagnostics import listed
from homolog.extraction.batch_contents import entries_of, is_items, leaves
from homolog.extraction.layer_selection import rule_for
from homolog.extraction.mask_recognition import is_added, is_binary, kept_of, reach_of
from homolog.extraction.skipped_tokens import SkippedTokens, UnknownTokensError
from homolog.extraction.suspected_padding import SuspectedPadding, located_leaves, suspected_padding_in
from homolog.extraction.tensors import is_floating, is_nested, is_plain, is_tensor, numbers_of

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
    masks = [key for key in tensors if _is_mask(key)]
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


def _is_mask(key: str) -> bool:
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


class AmbiguousMaskError(ValueError):
    """It cannot be known which positions of a layer are padding."""


NOTHING_SKIPPED = SkippedTokens(None, 0, 0, None)


@dataclass(frozen=True)
class Masks:
    """The masks of one batch, by layer."""

    content: Any
    size: int
    rules: Any
    """The caller's `mask`: None, a key, a function of the batch, or a mapping glob → any of these."""
    sequences: tuple[InputSequence, ...]
    depends_on: Mapping[str, frozenset[int]] = field(default_factory=dict)
    """Layer → numbers of the streams it depends on, where that was tried."""
    foreign_masks: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Layer → masks of which it has not the positions, though it may have as many."""
    skipped: SkippedTokens = NOTHING_SKIPPED

    def without_skipped(self, layer: str, keep: np.ndarray | None, positions: int | None) -> np.ndarray | None:
        """Return a mask of a layer, of padding or None, in which the tokens that are to be left out do not count either.

        `positions` is None where nobody knows how many the layer has, which only a mask then tells.
        """
        length = positions if keep is None else int(keep.shape[1])
        if not self.skipped.asks(layer) or length is None or self._is_free(layer):
            return keep
        if self.foreign_masks.get(layer) and not self.has_rule(layer):
            raise UnknownTokensError(
                f"layer {layer!r} must have the positions of the tokens to leave some out, got {length} that are not known to be "
                f'those: pass skip_first={{"{layer}": 0}} or skip={{"{layer}": None}} for it, or say whose positions they are, '
                f'mask={{"{layer}": ...}}.'
            )
        inputs = {key for sequence in self._sequences_of_layer(layer) for key in sequence.inputs}
        return self.skipped.kept(layer, keep, length, inputs)

    def can_skip(self, layer: str) -> bool:
        """Say whether the positions of a layer are those of an input, of whose tokens some can be left out."""
        return not self._is_free(layer)

    def of(self, layer: str, positions: int | None) -> np.ndarray | None:
        """Return the mask of a layer (examples, positions), true where a position counts; None where all count.

        `positions` is the number that the mask must have; None where any will do.
        """
        rule = self._rule_of(layer)
        if rule is not _NO_RULE:
            return None if rule is None else self._fitting(layer, _rule_name(rule), self._mask_by(rule), positions)
        self._refuse_unknown(layer, positions)
        known = self._sequences_of_layer(layer)
        if known and all(sequence.mask is None for sequence in known):
            self._refuse_padded_labels(layer, known)
        masked = [(sequence.mask, self._read(sequence.mask)) for sequence in known if sequence.mask is not None]
        masked = [(name, keep) for name, keep in masked if not bool(keep.all())]
        if not masked:
            return None
        fitting = [(name, keep) for name, keep in masked if positions in (None, keep.shape[1])]
        name, keep = (fitting or masked)[0]
        rival = bool(fitting) and self._has_rival(layer, known, fitting, positions)
        foreign = bool(fitting) and name in self.foreign_masks.get(layer, ())
        if self._is_free(layer) and (rival or foreign or not fitting):
            return None
        if rival:
            raise AmbiguousMaskError(
                f"layer {layer!r} could be padded as {' or as '.join(self._names(known))} says, which are of one length: say "
                f'which, mask={{"{layer}": "{name}"}}, or mask={{"{layer}": None}} to count every position.'
            )
        if foreign:
            raise AmbiguousMaskError(
                f"layer {layer!r} must have the positions of what {name} masks, got as many that are not known to be "
                f'those: say mask={{"{layer}": "{name}"}} if they are, or mask={{"{layer}": None}} to count all.'
            )
        return self._fitting(layer, name, keep, positions)

    def own(self, layer: str, mask: Any, positions: int) -> np.ndarray | None:
        """Return the mask that a layer brings itself, true where a position counts; None where all count."""
        return self._fitting(layer, f"the mask of layer {layer!r}", self.checked(layer, mask), positions)

    def checked(self, layer: str, mask: Any) -> np.ndarray:
        """Return the mask that a layer brings itself, true where a position counts."""
        return self._checked(f"the mask of layer {layer!r}", mask, turned=False)

    @property
    def library(self) -> Any:
        """Return something of the library that the batch is of; None where it holds no tensor."""
        return next((leaf for leaf in leaves(self.content) if is_tensor(leaf)), None)

    def for_function(self, layer: str, positions: int | None) -> np.ndarray | None:
        """Return the mask that a reduction of one's own is given: the layer's, of whatever length, all true included."""
        rule = self._rule_of(layer)
        if rule is not _NO_RULE:
            return None if rule is None else self._mask_by(rule)
        known = [
            sequence
            for sequence in self._sequences_of_layer(layer)
            if sequence.mask is not None and sequence.mask not in OF_MAPS
        ]
        keeps = [self._read(str(sequence.mask)) for sequence in known]
        fitting = [keep for keep in keeps if positions in (None, keep.shape[1])] or keeps
        if any(not np.array_equal(keep, fitting[0]) for keep in fitting[1:]):
            names = " or ".join(str(sequence.mask) for sequence in known)
            raise AmbiguousMaskError(
                f"layer {layer!r} could be padded as {names} says: say which its reduction is to be given, "
                f'mask={{"{layer}": "{known[0].mask}"}}, or mask={{"{layer}": None}}.'
            )
        return fitting[0] if fitting else None

    @cached_property
    def _suspected(self) -> list[SuspectedPadding]:
        return suspected_padding_in(self.content, self.size)

    def suspected_padding_of(self, layer: str, positions: int) -> SuspectedPadding | None:
        """Return what looks like the padding of a layer of which no mask tells, neither the caller's nor one of its inputs."""
        if self.has_rule(layer) or is_items(self.content):
            return None
        known = self._sequences_of_layer(layer)
        if any(sequence.mask is not None and sequence.mask not in OF_MAPS for sequence in known):
            return None
        inputs = {key for sequence in known for key in sequence.inputs}
        fitting = [suspect for suspect in self._suspected if suspect.fits(positions)]
        return next((suspect for suspect in fitting if not inputs or suspect.name in inputs or not suspect.name), None)

    def pads(self, layer: str, sizes: tuple[int, ...]) -> bool:
        """Say whether a mask of a layer says that places are padding along an axis of one of these sizes."""
        rule = self._rule_of(layer)
        if rule is None:
            return False
        names = [
            str(sequence.mask) for sequence in self._sequences_of_layer(layer) if sequence.mask not in (None, *OF_MAPS)
        ]
        names = [name for name in names if entries_of(self.content)[name].ndim == 2]
        keeps = [self._mask_by(rule)] if rule is not _NO_RULE else [self._read(name) for name in names]
        return any(keep.shape[1] in sizes and not bool(keep.all()) for keep in keeps)

    def has_rule(self, layer: str) -> bool:
        """Say whether the caller has said what is padding in a layer."""
        return self._rule_of(layer) is not _NO_RULE

    def check_maps(self, layer: str) -> None:
        """Raise for maps of padded images, whose padding nobody can leave out after a convolution."""
        if self._rule_of(layer) is not _NO_RULE:
            return
        for sequence in self._sequences_of_layer(layer):
            if sequence.mask in OF_MAPS and not bool(self._numbers_of(entries_of(self.content)[sequence.mask]).all()):
                raise AmbiguousMaskError(
                    f"layer {layer!r} puts out maps of images that {sequence.mask} says are padded: resize the images to one "
                    f'size, pass reduce=function(output, mask), or mask={{"{layer}": None}} to count the padding too.'
                )

    def _rule_of(self, layer: str) -> Any:
        return _NO_RULE if self.rules is None else rule_for(layer, self.rules, _NO_RULE)

    def _mask_by(self, rule: Any) -> np.ndarray:
        if callable(rule):
            return self._checked(_rule_name(rule), rule(self.content), turned=False)
        entries = entries_of(self.content)
        if rule not in entries:
            keys = f"the keys {', '.join(entries)}" if entries else described(self.content)
            raise KeyError(
                f"mask={rule!r} must be a key of every batch, got {keys}: name one of them, or pass a function of the batch."
            )
        return self._read(rule)

    def _read(self, key: str) -> np.ndarray:
        """Return a mask of the batch, true where a position counts."""
        return self._checked(key, entries_of(self.content)[key], self._numbers_of)

    @cached_property
    def _numbers(self) -> dict[int, np.ndarray]:
        return {}

    def _numbers_of(self, value: Any) -> np.ndarray:
        """Return the numbers of something in the batch, which many layers ask for and may be on another device."""
        if id(value) not in self._numbers:
            self._numbers[id(value)] = numbers_of(value)
        return self._numbers[id(value)]

    def _checked(
        self, name: str, mask: Any, numbers: Callable[[Any], np.ndarray] = numbers_of, *, turned: bool = True
    ) -> np.ndarray:
        """Return a mask, true where a position counts; one is `turned` whose name says that it is true at padding."""
        mask = _from_lists(mask) if isinstance(mask, list) else mask
        if not is_plain(mask) or mask.ndim != 2 or len(mask) != self.size:
            got = f"shape {tuple(mask.shape)}" if is_plain(mask) else described(mask)
            raise AmbiguousMaskError(
                f"{name} must say of every position of the {self.size} examples whether it is padding, got {got}: pass "
                f'mask=function(batch) → (examples, positions), true where a position counts, or mask={{"**": None}} for none.'
            )
        mask = numbers(mask)
        if not is_added(mask) and not is_binary(mask):
            values = listed(dict.fromkeys(str(value) for value in mask.ravel().tolist()))
            raise AmbiguousMaskError(
                f"{name} must hold nothing but 0 and 1, or 0 and large negative numbers to add to attention scores, got "
                f"{values}: pass mask=function(batch) → (examples, positions), true where a position counts."
            )
        return kept_of(mask, true_is_padding=turned and name.endswith(TRUE_IS_PADDING))

    def _fitting(self, layer: str, name: str, keep: np.ndarray, positions: int | None) -> np.ndarray | None:
        if bool(keep.all()):
            return None
        if positions is not None and keep.shape[1] != positions:
            raise AmbiguousMaskError(
                f"layer {layer!r} has {positions} positions, but {name} has shape {tuple(keep.shape)}: pass "
                f'mask={{"{layer}": function(batch) → (examples, positions)}} for it, mask={{"{layer}": None}} if it has no '
                f"padding, or leave it out of layers."
            )
        empty = ~keep.any(axis=1)
        if bool(empty.any()):
            raise ValueError(f"{name} must keep a position of every example, got none in row {int(empty.argmax())}.")
        return keep

    def _sequences_of_layer(self, layer: str) -> list[InputSequence]:
        """Return the streams whose padding may be a layer's: of those it depends on, the decoder's if there is one."""
        if len(self.sequences) < 2:
            return list(self.sequences)
        numbers = self.depends_on.get(layer) or None
        found = list(self.sequences) if numbers is None else [self.sequences[i] for i in sorted(numbers)]
        if numbers is None:
            parts = layer.lower().split(".")
            sides = [any(word in part for part in parts) for word in ("decoder", "encoder")]
            if sides[0] != sides[1]:
                found = [sequence for sequence in found if sequence.decoder == sides[0]] or found
            return found
        found = [sequence for sequence in found if sequence.decoder] or found
        return [sequence for sequence in found if not sequence.encoder] or found

    def _is_free(self, layer: str) -> bool:
        """Say whether a layer depends on no input, such as one of positions."""
        return self.depends_on.get(layer) == frozenset()

    def _has_rival(
        self, layer: str, known: list[InputSequence], fitting: list[tuple[str, Any]], positions: int | None
    ) -> bool:
        """Say whether another stream could be meant as well, with another mask or none."""
        if any(not np.array_equal(keep, fitting[0][1]) for _, keep in fitting[1:]):
            return True
        full = [s for s in known if s.mask is not None and s.mask not in dict(fitting)]
        lengths = {self._length(sequence) for sequence in known if sequence.mask is None} | {
            self._length(sequence) for sequence in full
        }
        return positions is not None and positions in lengths

    def _length(self, sequence: InputSequence) -> int | None:
        """Return the positions of a stream; None for maps, whose layers have as many as they like."""
        content = entries_of(self.content)
        shapes = [content[key].shape for key in sequence.inputs]
        if sequence.mask is not None and sequence.mask not in OF_MAPS:
            shapes.append(content[sequence.mask].shape)
        return next((int(shape[1]) for shape in shapes if len(shape) in (2, 3)), None)

    @staticmethod
    def _names(known: list[InputSequence]) -> list[str]:
        return [sequence.mask or f"no mask (of {', '.join(sequence.inputs)})" for sequence in known]

    def _refuse_padded_labels(self, layer: str, known: list[InputSequence]) -> None:
        """A decoder fed with shifted labels has padding that no mask tells of."""
        for key in (key for sequence in known for key in sequence.inputs if key == "labels"):
            if bool((self._numbers_of(entries_of(self.content)[key]) == IGNORED_LABEL).any()):
                raise AmbiguousMaskError(
                    f"layer {layer!r} depends on labels that hold padding ({IGNORED_LABEL}), got no mask for it: pass "
                    f"decoder_attention_mask with the batch, or mask=function(batch) → (examples, positions)."
                )

    def _refuse_masked_items(self, layer: str) -> None:
        """Masks of single examples are not put together here."""
        for item in self.content:
            for key, value in entries_of(item).items():
                if _is_mask(key) and is_plain(value) and len(np.unique(self._numbers_of(value))) > 1:
                    raise AmbiguousMaskError(
                        f"layer {layer!r} may be padded as {key!r} of each example says: pass mask=function(batch) → (examples, "
                        f"positions), true where a position counts, or mask={{'**': None}} to count every position."
                    )

    def _refuse_unknown(self, layer: str, positions: int | None) -> None:
        """A mask of a name that nobody knows could mean padding, and could mean it either way round."""
        if positions is None:
            return
        if is_items(self.content):
            self._refuse_masked_items(layer)
        exempt = (*(key for key in NO_PADDING if key not in OF_SCORES), *NO_MASK)
        honoured = [id(value) for key, value in entries_of(self.content).items() if _is_mask(key)]
        for where, name, value in located_leaves(self.content):
            if name in exempt or id(value) in honoured:
                continue
            reach = reach_of(value, name, self.size, positions, of_scores=name in OF_SCORES, read=self._numbers_of)
            if reach is not None:
                what = repr(name) if name else "a tensor of the batch"
                raise AmbiguousMaskError(
                    f"layer {layer!r} has as many positions as {what}, which could mark padding: pass "
                    f"{reach.format(where=where)}, or mask={{'**': None}} to count every position."
                )


class _NoRule:
    pass


_NO_RULE = _NoRule()


def _from_lists(mask: list[Any]) -> Any:
    """Return the array that lists stand for; the lists themselves where their rows are of unequal lengths."""
    try:
        return np.asarray(mask)
    except ValueError:
        return mask


def _rule_name(rule: Any) -> str:
    return f"mask function {getattr(rule, '__name__', type(rule).__name__)}" if callable(rule) else str(rule)
