"""Which tokens a reduction leaves out although they are no padding: the first few of each example, or those of some ids."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from homolog.arrays import described
from homolog.diagnostics import listed
from homolog.extraction.batch_contents import entries_of, leaves
from homolog.extraction.layer_selection import rule_for
from homolog.extraction.mask_recognition import is_binary
from homolog.extraction.tensors import is_plain, is_whole, numbers_of
from homolog.names import quoted

IDS = "input_ids"
"""How the names of token ids end in Hugging Face models."""
NO_IDS = ("mask", "token_type_ids", "position_ids", "seq_idx", "labels")
"""How the names of other whole numbers end that have the shape of token ids."""
PLACES, NUMBERS = "position_ids", "seq_idx"
"""What batches of several documents in a row hold: places that begin anew with each document, or the number of the document."""


class UnknownTokensError(ValueError):
    """It cannot be known which tokens of a layer are to be left out."""


@dataclass(frozen=True)
class SkippedTokens:
    """What the caller wants left out of one batch, by layer."""

    content: Any
    size: int
    first: Any
    """How many tokens at the beginning of each document; or a mapping glob → number."""
    rules: Any
    """None, a function ids → (examples, positions), true where a token is left out; or a mapping glob → either."""
    ids: Callable[[Any], Any] | None = None
    """Gives the ids of a batch of texts; by default they are found in the batch."""
    names: np.ndarray | None = None
    """What the examples are called."""
    start: int = 0
    """Examples of the data before those of the batch."""

    def asks(self, layer: str) -> bool:
        """Say whether anything is to be left out of a layer."""
        return bool(self._first(layer)) or self._rule(layer) is not None

    def argument(self, layer: str) -> str:
        """Write the arguments by which tokens are left out of a layer."""
        first = [f"skip_first={self._first(layer)}"] * bool(self._first(layer))
        return " and ".join(first + ["skip"] * (self._rule(layer) is not None))

    def kept(self, layer: str, keep: np.ndarray | None, length: int, inputs: Collection[str]) -> np.ndarray:
        """Return which positions (examples, positions) of a layer count, of those that are no padding.

        `inputs` are the inputs whose positions the layer has, where that is known.
        """
        real = np.ones((self.size, length), dtype=bool) if keep is None else np.asarray(keep)
        left_out = np.zeros_like(real)
        first, rule = self._first(layer), self._rule(layer)
        if first:
            left_out |= _rank(real, self._starts(real)) <= first
        if rule is not None:
            left_out |= self._by(layer, rule, length, inputs)
        left = real & ~left_out
        self._check_some_left(layer, real, left)
        return left

    def ranks(self, real: np.ndarray) -> np.ndarray:
        """Return 1, 2, 3 … of the tokens of every document, in order; 0 at padding."""
        return np.where(real, _rank(real, self._starts(real)), 0)

    def called(self, row: int) -> str:
        """Return what sentences call a row of the batch: the example by its name, or by its place in the data."""
        return (
            f"row {self.start + row} of the data" if self.names is None else f"example {quoted(self.names[row].item())}"
        )

    def _first(self, layer: str) -> int:
        return int(rule_for(layer, self.first, 0))

    def _rule(self, layer: str) -> Any:
        return rule_for(layer, self.rules, None)

    def _check_some_left(self, layer: str, real: np.ndarray, left: np.ndarray) -> None:
        empty = ~left.any(axis=1)
        if not bool(empty.any()):
            return
        row = int(empty.argmax())
        count, said = int(real[row].sum()), self.argument(layer)
        tokens = "its only token" if count == 1 else f"all its {count} tokens"
        raise ValueError(
            f"layer {layer!r} must keep a token of every example, got none in {self.called(row)}, of which {said} leaves out "
            f"{tokens}: take that example out of the data, or leave out fewer tokens."
        )

    def _starts(self, real: np.ndarray) -> np.ndarray:
        """Return where a document begins that is not the first of its example, as the batch says it."""
        entries, starts = entries_of(self.content), np.zeros_like(real)
        for key in (PLACES, NUMBERS):
            value: Any = entries.get(key)
            if not is_plain(value) or value.ndim != 2 or value.shape[1] != real.shape[1]:
                continue
            if len(value) not in (1, len(real)):
                continue
            numbers = np.broadcast_to(numbers_of(value), real.shape)
            before = _of_token_before(real, numbers)
            starts |= real & (before >= 0) & ((numbers <= before) if key == PLACES else (numbers != before))
        return starts

    def _by(self, layer: str, rule: Any, length: int, inputs: Collection[str]) -> np.ndarray:
        """Return where a function of the ids leaves tokens out."""
        found = [self._told(rule, ids) for ids in self._ids_of(layer, length, inputs)]
        if any(not np.array_equal(one, found[0]) for one in found[1:]):
            raise UnknownTokensError(
                f"layer {layer!r} could have the tokens of several inputs of {length} positions, got no mask that tells which: "
                f"pass attention_mask, and decoder_attention_mask where there is a decoder, with the batch, or "
                f'skip={{"{layer}": None}} to leave nothing out of it.'
            )
        return found[0]

    @cached_property
    def _known(self) -> dict[tuple[int, int], np.ndarray]:
        return {}

    def _told(self, rule: Callable[[Any], Any], ids: Any) -> np.ndarray:
        key = id(rule), id(ids)
        if key not in self._known:  # which every layer asks for
            self._known[key] = _checked(rule(ids), tuple(ids.shape))
        return self._known[key]

    def _ids_of(self, layer: str, length: int, inputs: Collection[str]) -> list[Any]:
        """Return the token ids that a layer may have the positions of: more than one where nothing tells them apart."""
        fitting = [ids for ids in self._candidates(layer, length, inputs) if ids.shape[1] == length]
        if fitting:
            return fitting
        raise UnknownTokensError(
            f"layer {layer!r} has {length} positions, and skip needs the ids of as many tokens, got no such ids in the batch: "
            f'pass skip={{"{layer}": None}} to leave nothing out of it, skip_first= to leave out the first, or '
            f"reduce=function(output, mask)."
        )

    def _candidates(self, layer: str, length: int, inputs: Collection[str]) -> list[Any]:
        if self.ids is not None:
            return [self._of_texts]
        entries = {key: value for key, value in entries_of(self.content).items() if self._is_ids(value)}
        if not entries:
            return [leaf for leaf in leaves(self.content) if self._is_ids(leaf)][:1]
        named = {key: value for key, value in entries.items() if key.endswith(IDS)}
        named = named or {key: value for key, value in entries.items() if not key.endswith(NO_IDS)}
        if inputs:
            return [value for key, value in named.items() if key in inputs]
        return self._by_name(layer, length, entries, named)

    def _by_name(self, layer: str, length: int, entries: dict[str, Any], named: dict[str, Any]) -> list[Any]:
        """Return the ids of the side that the name of a layer tells, where the batch has no masks."""
        parts = layer.lower().split(".")
        decodes, encodes = (any(word in part for part in parts) for word in ("decoder", "encoder"))
        decoded = [value for key, value in named.items() if key.startswith("decoder")]
        others = [value for key, value in named.items() if not key.startswith("decoder")]
        if decodes == encodes:
            return [*others, *decoded]
        if encodes:
            return others
        labels = entries.get("labels")
        # A decoder that is given none shifts the labels, whose ids these are not.
        shifted = not decoded and labels is not None and labels.shape[1] == length
        return decoded or ([] if shifted else others)

    @cached_property
    def _of_texts(self) -> Any:
        assert self.ids is not None  # who asks has looked
        return self.ids(self.content)

    def _is_ids(self, value: Any) -> bool:
        return is_plain(value) and is_whole(value) and value.ndim == 2 and len(value) == self.size


def no_tokens(layers: Mapping[str, str]) -> str:
    """Say that no layer has tokens of which some could be left out; layer → what was to leave them out."""
    said, what = listed(dict.fromkeys(layers.values())), listed(map(quoted, layers))
    return (
        f"{said} leaves tokens out, which layers of three axes have, (examples, positions, features), got none among {what}: "
        f"leave {said} out, choose layers of tokens, or pass reduce=function(output, mask)."
    )


def tokenless_sentence(layers: Mapping[str, str]) -> str:
    """Say which of several layers have no tokens, so that all of them counts; layer → what was to leave some out."""
    name, said = next(iter(layers)), listed(dict.fromkeys(layers.values()))
    argument, nothing = ("skip_first", 0) if layers[name].startswith("skip_first") else ("skip", None)
    return (
        f"{said} leaves nothing out of {listed(map(quoted, layers))}, where there are no tokens, (examples, positions, "
        f'features): say so, as in {argument}={{"{name}": {nothing}, "**": ...}}, or leave such layers out.'
    )


def _rank(real: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Return 1, 2, 3 … of the tokens of every document, in order."""
    counts = np.cumsum(real, axis=1)
    before = np.maximum.accumulate(np.where(starts, counts - 1, 0), axis=1)
    return np.where(real, counts - before, real.shape[1] + 1)


def _of_token_before(real: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Return what is said of the token before each; -1 where there is none."""
    places = np.maximum.accumulate(np.where(real, np.arange(real.shape[1]), -1), axis=1)
    places = np.concatenate([np.full((len(real), 1), -1), places[:, :-1]], axis=1)
    found = np.take_along_axis(numbers, np.maximum(places, 0), axis=1)
    return np.where(places >= 0, found, -1)


def _checked(left_out: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Return which tokens a function of the caller's leaves out."""
    plain = is_plain(left_out)
    if not plain or tuple(left_out.shape) != shape:
        got = f"shape {tuple(left_out.shape)}" if plain else described(left_out)
        raise ValueError(
            f"skip must return true or false for every token, shape {shape}, got {got}: as lambda ids: ids == 0 does."
        )
    numbers = numbers_of(left_out)
    if not is_binary(numbers):
        raise ValueError(
            f"skip must return true or false for every token, got {numbers.dtype} values that are not 0 and 1: compare the ids, "
            f"as lambda ids: ids == 0 does."
        )
    return numbers != 0
