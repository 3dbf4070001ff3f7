"""Which positions of a layer are padding. A mask belongs to the inputs that it masks, and to the layers that depend on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from homolog.extraction.batch_contents import entries_of, is_items, leaves
from homolog.extraction.batch_masks import AmbiguousMaskError, BatchMasks, rule_name
from homolog.extraction.layer_selection import rule_for
from homolog.extraction.mask_recognition import reach_of
from homolog.extraction.sequences import (
    IGNORED_LABEL,
    NO_MASK,
    NO_PADDING,
    OF_MAPS,
    OF_SCORES,
    InputSequence,
    is_mask,
)
from homolog.extraction.skipped_tokens import SkippedTokens, UnknownTokensError
from homolog.extraction.suspected_padding import SuspectedPadding, located_leaves, suspected_padding_in
from homolog.extraction.tensors import is_plain, is_tensor

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
    given: Any = None
    """The content as it came, before it was put on a device; None where nothing else is known."""

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
            return (
                None
                if rule is None
                else self._held.fitting(layer, rule_name(rule), self._held.by_rule(rule), positions)
            )
        self._refuse_unknown(layer, positions)
        known = self._sequences_of_layer(layer)
        if known and all(sequence.mask is None for sequence in known):
            self._refuse_padded_labels(layer, known)
        masked = [(sequence.mask, self._held.named(sequence.mask)) for sequence in known if sequence.mask is not None]
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
        return self._held.fitting(layer, name, keep, positions)

    def own(self, layer: str, mask: Any, positions: int) -> np.ndarray | None:
        """Return the mask that a layer brings itself, true where a position counts; None where all count."""
        return self._held.fitting(layer, f"the mask of layer {layer!r}", self.checked(layer, mask), positions)

    def checked(self, layer: str, mask: Any) -> np.ndarray:
        """Return the mask that a layer brings itself, true where a position counts."""
        return self._held.checked(f"the mask of layer {layer!r}", mask, turned=False)

    @cached_property
    def _held(self) -> BatchMasks:
        return BatchMasks(self.content, self.size, self.skipped.called)

    @property
    def library(self) -> Any:
        """Return something of the library that the batch is of; None where it holds no tensor."""
        return next((leaf for leaf in leaves(self.content) if is_tensor(leaf)), None)

    def for_function(self, layer: str, positions: int | None) -> np.ndarray | None:
        """Return the mask that a reduction of one's own is given: the layer's, of whatever length, all true included."""
        rule = self._rule_of(layer)
        if rule is not _NO_RULE:
            return None if rule is None else self._held.by_rule(rule)
        known = [
            sequence
            for sequence in self._sequences_of_layer(layer)
            if sequence.mask is not None and sequence.mask not in OF_MAPS
        ]
        keeps = [self._held.named(str(sequence.mask)) for sequence in known]
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
        return suspected_padding_in(self.content if self.given is None else self.given, self.size)

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
        keeps = [self._held.by_rule(rule)] if rule is not _NO_RULE else [self._held.named(name) for name in names]
        return any(keep.shape[1] in sizes and not bool(keep.all()) for keep in keeps)

    def has_rule(self, layer: str) -> bool:
        """Say whether the caller has said what is padding in a layer."""
        return self._rule_of(layer) is not _NO_RULE

    def check_maps(self, layer: str) -> None:
        """Raise for maps of padded images, whose padding nobody can leave out after a convolution."""
        if self._rule_of(layer) is not _NO_RULE:
            return
        for sequence in self._sequences_of_layer(layer):
            if sequence.mask in OF_MAPS and not bool(self._held.read(entries_of(self.content)[sequence.mask]).all()):
                raise AmbiguousMaskError(
                    f"layer {layer!r} puts out maps of images that {sequence.mask} says are padded: resize the images to one "
                    f'size, pass reduce=function(output, mask), or mask={{"{layer}": None}} to count the padding too.'
                )

    def _rule_of(self, layer: str) -> Any:
        return _NO_RULE if self.rules is None else rule_for(layer, self.rules, _NO_RULE)

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
            if bool((self._held.read(entries_of(self.content)[key]) == IGNORED_LABEL).any()):
                raise AmbiguousMaskError(
                    f"layer {layer!r} depends on labels that hold padding ({IGNORED_LABEL}), got no mask for it: pass "
                    f"decoder_attention_mask with the batch, or mask=function(batch) → (examples, positions)."
                )

    def _refuse_masked_items(self, layer: str) -> None:
        """Masks of single examples are not put together here."""
        for item in self.content:
            for key, value in entries_of(item).items():
                if is_mask(key) and is_plain(value) and len(np.unique(self._held.read(value))) > 1:
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
        honoured = [id(value) for key, value in entries_of(self.content).items() if is_mask(key)]
        for where, name, value in located_leaves(self.content):
            if name in exempt or id(value) in honoured:
                continue
            reach = reach_of(value, name, self.size, positions, of_scores=name in OF_SCORES, read=self._held.read)
            if reach is not None:
                what = repr(name) if name else "a tensor of the batch"
                raise AmbiguousMaskError(
                    f"layer {layer!r} has as many positions as {what}, which could mark padding: pass "
                    f"{reach.format(where=where)}, or mask={{'**': None}} to count every position."
                )


class _NoRule:
    pass


_NO_RULE = _NoRule()
