"""Which layers have the positions of a masked input: other values at one place of it, and a place less, show in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from homolog.extraction import batches
from homolog.extraction.batch_contents import entries_of, map_leaves
from homolog.extraction.batches import Batch
from homolog.extraction.mask_recognition import kept_of
from homolog.extraction.options import Options
from homolog.extraction.recorder import Recorder
from homolog.extraction.samples import differences
from homolog.extraction.sequences import NO_MASK, OF_MAPS, TOKENS, TRUE_IS_PADDING, InputSequence, input_sequences
from homolog.extraction.tensors import is_complex, is_floating, is_tensor, like, numbers_of
from homolog.extraction.trial_runs import outputs_of_layers

PLACES = 4
"""Places of an input that are tried."""
FEWEST_PLACES, BY_FAR = 3, 2
"""Places, and how much more one position differs than all others, without which chance may be at work."""
SHORT = 32
"""Places of sequences that are tried first, or up to as many more: where nothing odd shows there, the others are not tried."""

Outputs = Mapping[str, np.ndarray]
"""Layer → what it put out."""


class ForeignMasks(NamedTuple):
    """Layers that have not the positions of a mask, though they may have as many."""

    masks: dict[str, frozenset[str]]
    """Layer → those masks."""
    free: set[str]
    """Those of them that depend on no input, such as latent vectors."""


def foreign_masks_of(
    source: Any, batch: Batch, options: Options, recorders: Sequence[Recorder], sequences: Sequence[InputSequence]
) -> list[ForeignMasks]:
    """Say of every layer of which masks it has not the positions, as far as that can be tried."""
    found = [ForeignMasks({}, set()) for _ in recorders]
    for sequence in sequences:
        trial = _Trial.of(source, batch, options, recorders, sequence)
        if trial is None or trial.is_usual_in_short():
            continue
        for foreign_masks, (foreign_layers, free) in zip(found, trial.foreign_layers(), strict=True):
            foreign_masks.free.update(free)
            for name in foreign_layers | free:
                foreign_masks.masks[name] = foreign_masks.masks.get(name, frozenset()) | {str(sequence.mask)}
    return found


class _Runs(NamedTuple):
    """What the layers put out of a trial, for every recorder; None where the model does not take it."""

    plain: Sequence[Outputs] | None
    changed: Sequence[Outputs] | None
    """With another value at one place."""
    shorter: Sequence[Outputs] | None
    """With a place less."""
    exchanged: Sequence[Outputs] | None
    """With other values of the inputs that the mask may be of."""
    separate: bool
    """Whether those may have other lengths."""


class _Change:
    """The positions that change when one place does."""

    def __init__(self, time: int, where: np.ndarray, kept: list[int]) -> None:
        self.time, self.places = time, np.flatnonzero(where).tolist()
        self.is_last = time == kept[-1]


@dataclass(frozen=True)
class _Trial:
    """One example, as often as places of it are tried, and the inputs that its mask may be of."""

    source: Any
    tried: Batch
    options: Options
    recorders: Sequence[Recorder]
    sequence: InputSequence
    main: str
    """The input that the mask is of first of all."""
    kept: list[list[int]]
    """Places that count, of each row."""
    times: list[int]
    """The place that is tried in each row."""

    @classmethod
    def of(
        cls, source: Any, batch: Batch, options: Options, recorders: Sequence[Recorder], sequence: InputSequence
    ) -> _Trial | None:
        """Prepare a trial; None for a mask or inputs of which none can be made."""
        entries = entries_of(batch.content)
        if batch.layout.kind != "rows" or sequence.mask in (None, *OF_MAPS) or not sequence.inputs:
            return None
        mask = entries[str(sequence.mask)]
        if mask.ndim != 2 or len(mask) != batch.size or is_complex(mask):
            return None
        keep = kept_of(numbers_of(mask), true_is_padding=str(sequence.mask).endswith(TRUE_IS_PADDING))
        main = next((key for key in sequence.inputs if key.endswith(TOKENS)), sequence.inputs[0])
        rows, times = _rows_and_places(keep)
        if not rows or entries[main].shape[1] != mask.shape[1]:
            return None
        kept = [np.flatnonzero(keep[row]).tolist() for row in rows]
        return cls(source, batches.part_of_batch(batch, rows), options, recorders, sequence, main, kept, times)

    def foreign_layers(self) -> list[tuple[set[str], set[str]]]:
        """Return the layers that have not the positions of the mask, and those that depend on nothing, for every recorder."""
        return self._foreign_layers_in(self._runs())

    def is_usual_in_short(self) -> bool:
        """Say whether the model takes shorter sequences, and all its layers have their positions and depend on them."""
        short = self._short()
        runs = None if short is None else short._runs()
        if short is None or runs is None or None in (runs.plain, runs.changed, runs.shorter):
            return False
        return not any(foreign or free for foreign, free in short._foreign_layers_in(runs))

    def _short(self) -> _Trial | None:
        """Return a trial of the first places alone, or of the last where padding comes first; None where all are few."""
        longest, count = self._longest, SHORT + self._longest % SHORT
        if longest < 2 * count:
            return None
        mask = numbers_of(self._entry(str(self.sequence.mask)))
        counts = np.zeros(mask.shape, dtype=bool)
        for row, kept in enumerate(self.kept):
            counts[row, kept] = True
        window = slice(0, count) if counts[:, 0].all() else slice(longest - count, longest)
        short = mask[[0, -1], window].copy()
        if not counts[-1].all():  # padded here too
            half = slice(count // 2, count) if window.start == 0 else slice(0, count // 2)
            short[1], short[1, half] = mask[-1, counts[-1]][0], mask[-1, ~counts[-1]][0]
        pair = batches.part_of_batch(self.tried, [0, len(mask) - 1])
        entries = entries_of(pair.content)
        ours = {id(value) for key, value in entries.items() if is_tensor(value) and self._is_ours(key)}
        own_mask = entries[str(self.sequence.mask)]

        def cut(value: Any) -> Any:
            if value is own_mask:
                return like(value, short)
            if id(value) not in ours or value.ndim < 2 or value.shape[1] != longest:
                return value
            return value[window, window] if value.shape[0] == longest else value[:, window]

        batch = replace(pair, content=map_leaves(cut, pair.content))
        return _Trial.of(self.source, batch, self.options, self.recorders, self.sequence)

    def _runs(self) -> _Runs:
        """Run the examples as they are, and changed."""
        plain = self._run({})
        changed = self._run({self.main: self._at_one_place(self._entry(self.main))})
        shorter, separate = self._shorter()
        beside = self._rest()
        exchanged = self._run({key: _turned(self._entry(key)) for key in beside}) if separate and beside else None
        return _Runs(plain, changed, shorter, exchanged, separate)

    def _foreign_layers_in(self, runs: _Runs) -> list[tuple[set[str], set[str]]]:
        if runs.plain is None:
            return [(set(), set()) for _ in self.recorders]
        if self._is_open(runs.separate):
            return [(set(outputs), set()) for outputs in runs.plain]
        nothing: list[Outputs] = [{} for _ in self.recorders]
        found = zip(
            runs.plain, runs.changed or nothing, runs.shorter or nothing, runs.exchanged or nothing, strict=True
        )
        return [self._foreign_layers_of(*outputs) for outputs in found]

    def _foreign_layers_of(
        self, plain: Outputs, changed: Outputs, shorter: Outputs, exchanged: Outputs
    ) -> tuple[set[str], set[str]]:
        found, free = set(), set()
        for name, output in plain.items():
            if output.ndim != 3 or len(output) != len(self.times):
                continue
            difference = _difference(output, changed.get(name))
            follows = None if name not in shorter or shorter[name].ndim != 3 else shorter[name].shape != output.shape
            if difference is None or bool(difference.any()):
                found |= {name} if self._is_foreign(difference, follows) else set()
            elif _is_other(output, exchanged.get(name)):
                found.add(name)
            elif follows is False and self.kept[0] != self.kept[-1] and _is_same_for_all(output):
                free.add(name)
        return found, free

    def _is_open(self, separate: bool) -> bool:
        """Say whether the mask could be of either of two inputs that are not one sequence: neither name nor place tells."""
        keys = list(entries_of(self.tried.content))
        is_known = self.main.endswith(TOKENS) or keys.index(self.main) + 1 == keys.index(str(self.sequence.mask))
        main, rest = self._entry(self.main), [self._entry(key) for key in self._rest()]
        alike = [one for one in rest if one.ndim == main.ndim and is_floating(one) == is_floating(main)]
        return separate and not is_known and bool(alike)

    def _is_foreign(self, difference: np.ndarray | None, follows: bool | None) -> bool:
        """Say whether a layer that differs so (rows, positions) has other positions; `follows`: as many as there are places."""
        if difference is None or difference.shape[1] != self._longest:
            return follows is False
        where = difference > 0
        some = [row for row in range(len(where)) if bool(where[row].any()) and not bool(where[row].all())]
        if some:
            return self._is_elsewhere([_Change(self.times[row], where[row], self.kept[row]) for row in some])
        return follows is False or self._is_reversed(difference)

    def _is_elsewhere(self, changes: list[_Change]) -> bool:
        """Say whether the positions that change, some but not all, are others than the places tried."""
        if _is_shift(changes):
            return False
        # A few positions may be the same by chance, as of a layer that cuts off what is below 0: not most, nor all around.
        few = [change for change in changes if 2 * len(change.places) <= self._longest]
        if any(min(abs(place - change.time) for place in change.places) > 1 for change in few):
            return True
        return bool(few) and not any(change.time in change.places for change in changes)

    def _is_reversed(self, difference: np.ndarray) -> bool:
        """Say whether every position differs, by far the most the one as far from the other end as the place tried."""
        ends = [self._longest - 1 - time for time in self.times]
        if len(set(ends)) < FEWEST_PLACES:
            return False
        second, largest = np.sort(difference, axis=1)[:, -2:].T
        by_far = bool((largest > BY_FAR * second).all())
        return by_far and difference.argmax(axis=1).tolist() == ends

    @property
    def _longest(self) -> int:
        return int(self._entry(str(self.sequence.mask)).shape[1])

    def _entry(self, key: str) -> Any:
        return entries_of(self.tried.content)[key]

    def _rest(self) -> list[str]:
        """Return the inputs that the mask may be of, but for the first and what is known to go with it."""
        return [key for key in self.sequence.inputs if key != self.main and not key.endswith(NO_MASK)]

    def _shorter(self) -> tuple[list[dict[str, np.ndarray]] | None, bool]:
        """Run with a place less; say whether the other inputs that the mask may be of could keep theirs."""
        rest = self._rest()
        alone = [key for key in (*self.sequence.inputs, str(self.sequence.mask)) if key not in rest]
        found = self._run({key: self._cut(self._entry(key)) for key in alone})
        if found is not None:
            return found, True
        every = {key: value for key, value in entries_of(self.tried.content).items() if is_tensor(value)}
        return self._run({key: self._cut(value) for key, value in every.items() if self._is_ours(key)}), False

    def _is_ours(self, key: str) -> bool:
        """Say whether a tensor may have the positions of the mask: it is not of another sequence."""
        sequences = input_sequences(self.tried.content, self.tried.size)
        others = [sequence for sequence in sequences if sequence != self.sequence]
        return not any(key in (*sequence.inputs, sequence.mask) for sequence in others)

    def _cut(self, values: Any) -> Any:
        """Return values with a place less; with one more where there would be too few."""
        longest = self._longest
        if values.ndim == 2 and tuple(values.shape) == (longest, longest) and longest != self.tried.size:
            return values[:-1, :-1] if longest > 2 else values
        if values.ndim < 2 or len(values) != self.tried.size or values.shape[1] != longest:
            return values
        if longest > 2:
            return values[:, :-1]
        numbers = numbers_of(values)  # one place would go with any number of them
        return like(values, np.concatenate([numbers, numbers[:, -1:]], axis=1))

    def _at_one_place(self, values: Any) -> Any:
        """Return values of which every row has those of another place at the place that is tried there."""
        numbers = numbers_of(values)
        changed = numbers.copy()
        for row, time in enumerate(self.times):
            others = (place for place in self.kept[row] if not np.array_equal(numbers[row, place], numbers[row, time]))
            place = next(others, None)
            if place is not None:
                changed[row, time] = numbers[row, place]
        return like(values, changed)

    def _run(self, other: Mapping[str, Any]) -> list[dict[str, np.ndarray]] | None:
        """Run with other values of some inputs; None where the model does not take them."""
        by_identity = {id(entries_of(self.tried.content)[key]): value for key, value in other.items()}
        content: Any = map_leaves(lambda leaf: by_identity.get(id(leaf), leaf), self.tried.content)
        return outputs_of_layers(self.source, replace(self.tried, content=content), self.options, self.recorders)


def _is_shift(changes: list[_Change]) -> bool:
    """Say whether a place is found one later, as what decoders read is shifted: the mask is all the same.

    The last that counts may come first, as some of them have it; not the last of all, padding included.
    """
    later = [change.places[0] == change.time + 1 for change in changes if not change.is_last]
    last = [change for change in changes if change.is_last]
    round_about = all(change.places[0] == 0 for change in last)
    return bool(later) and all(later) and (round_about or all(one.places[0] == one.time + 1 for one in last))


def _rows_and_places(keep: np.ndarray) -> tuple[list[int], list[int]]:
    """Return examples and places to try: some of the longest, and one of the longest of those that are padded."""
    longest, counts = keep.shape[1], keep.sum(axis=1)
    first = int(counts.argmax())
    padded = np.where(counts < longest, counts, 0)
    second = int(padded.argmax())
    rows, times = [], []
    for row, most in ((first, PLACES), (second, 1 if second != first and int(padded[second]) > 1 else 0)):
        # The middle is the same place from both ends.
        free = [place for place in np.flatnonzero(keep[row]).tolist() if 2 * place != longest - 1]
        count = min(most, len(free))
        times += [free[-1 - i * (len(free) - 1) // max(count - 1, 1)] for i in range(count)]
        rows += [row] * count
    return (rows, times) if int(counts[first]) > 1 else ([], [])


def _is_same_for_all(output: np.ndarray) -> bool:
    """Say whether a layer puts out the same for all of several examples."""
    return bool((output == output[:1]).all())


def _turned(values: Any) -> Any:
    """Return other values of the same kind: those of the places before."""
    return like(values, np.roll(numbers_of(values), 1, axis=1))


def _is_other(before: np.ndarray, after: np.ndarray | None) -> bool:
    difference = _difference(before, after)
    return difference is not None and bool(difference.any())


def _difference(before: np.ndarray, after: np.ndarray | None) -> np.ndarray | None:
    """Return by how much positions differ (rows, positions)."""
    if after is None or before.shape != after.shape:
        return None
    return differences(before, after).sum(axis=2)
