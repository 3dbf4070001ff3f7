"""Proof that the rows of a layer are the examples: part of a batch must give the rows of that part."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from homolog.extraction import batches
from homolog.extraction.batches import Batch
from homolog.extraction.layer_selection import module_of
from homolog.extraction.objections import Objection, axis_of
from homolog.extraction.options import Options
from homolog.extraction.recorder import Recorder
from homolog.extraction.reductions import UnfitError
from homolog.extraction.samples import Sample, are_within, differences, tolerance_of, tried_rows
from homolog.extraction.sources import Maker, Source
from homolog.extraction.trial_examples import ORDER_OF_TWO, reordered, repeated_examples, trial_orders, tried_examples
from homolog.extraction.trial_runs import run_trial

Tried = Mapping[str, np.ndarray | UnfitError | None]
"""Layer → its rows, or how it does not fit; None where its reduction failed."""


def prove(
    source: Source, batch: Batch, options: Options, recorders: Sequence[Recorder], before: Batch | None = None
) -> None:
    """Try part of a batch on a model or function, and tell the recorders which layers follow the examples and which do not.

    A batch of one example is tried beside the example of the batch before it.
    """
    if batch.layout.kind == "whole":
        return
    trials = _Trials(source, batch, options, recorders, before)
    alone = [trials.run([i, i], look=False) for i in trials.examples_alone()]
    part = trials.run_some()
    if part is not None:
        trials.check_calls()
    turned = repeated = None
    more = []
    if (part is None or trials.any_other_shape(part)) and batch.size > 1:
        # A model of one size of batch, or sequences as long as the longest of the batch: as many examples, in other places.
        turned = trials.run(reordered(batch.size))
        more.append(repeated_examples(batch.size))
    if part is not None and batch.size == 2:
        more.append(ORDER_OF_TWO)
    others = [(order, trials.run(order)) for order in more]
    if part is not None and trials.any_difference(part):
        repeated = trials.run_some(seed=1)
    if part is not None and source.quantised:
        for order in ([0, 0], [batch.size - 1] * 2, trials.index):
            trials.note_mixing(order, trials.run(order))
    for number, recorder in enumerate(recorders):
        for found in (one[number] for one in alone if one is not None):
            unfit = {name: problem for name, problem in found.items() if isinstance(problem, UnfitError)}
            recorder.found.contradicted |= {
                name: trials.unfit(recorder, name, problem, 2) for name, problem in unfit.items()
            }
        tries: list[Tried] = [{} if tried is None else tried[number] for tried in (part, turned, repeated)]
        for name in recorder.samples:
            beside = [(order, one[number].get(name)) for order, one in others if one is not None]
            rows, in_places, again = (tried.get(name) for tried in tries)
            trials.judge(recorder, name, rows, in_places, again, beside)


class _Trials:
    """Runs of some examples of a batch on a model, and what they say."""

    def __init__(
        self, source: Source, batch: Batch, options: Options, recorders: Sequence[Recorder], before: Batch | None
    ) -> None:
        self.source, self.batch, self.options, self.recorders = source, batch, options, recorders
        self.index = tried_examples(batch.size)
        self.orders = trial_orders(batch.size)
        if source.quantised:
            # Quantised layers may round by the largest value of the batch: all examples, one of them twice.
            self.orders = [[*reordered(batch.size), 0]]
        self.order = self.orders[0]
        """The order that was run."""
        self.pair = None if source.quantised else batches.pair_with(batch, before)
        self.part, self.spacing = tolerance_of(source, [s for recorder in recorders for s in recorder.samples.values()])

    def examples_alone(self) -> list[int]:
        """Return the examples that are run by themselves.

        What is routed to an expert may be as much as the batch once; with later batches that shows without a trial. Sequences
        that the model pads itself are shorter without the longest of them.
        """
        size, first = self.batch.size, self.recorders[0].n_batches == 0
        pads = any(recorder.found.lengths for recorder in self.recorders)
        found = {size // 3, 2 * size // 3} if first else set()
        if pads:
            found |= {0, size - 1} if first else {size // 2}
        return sorted(found) if size > 1 else []

    def run(self, order: Sequence[int], seed: int = 0, *, look: bool = True) -> list[Tried] | None:
        """Run examples in some order, and return the rows of those that were sampled, by layer; None where that fails."""
        return self._run(self.batch, order, seed, look=look)

    def run_some(self, seed: int = 0) -> list[Tried] | None:
        """Run those that are tried, a single example beside that of the batch before it; None where the model takes none."""
        pair = None if self.pair is None else self._run(self.pair, [1, 0], seed, look=True)
        if pair is not None:
            return pair
        for order in self.orders:
            for self.order in (order, sorted(order)):
                found = self.run(self.order, seed)
                if found is not None:
                    return found
        return None

    def _run(self, batch: Batch, order: Sequence[int], seed: int, *, look: bool) -> list[Tried] | None:
        try:
            tried = batches.part_of_batch(batch, order)
        except (RuntimeError, NotImplementedError, IndexError, TypeError):  # of layouts that nobody indexes
            return None
        # The last place of an example, where others came before it.
        wanted = [i for i in self.index if look and i in order]
        places = [max(place for place, i in enumerate(order) if i == example) for example in wanted]
        found: list[dict[str, Any]] = [{} for _ in self.recorders]
        pairs = zip(self.recorders, found, strict=True)
        listeners = [_listener(recorder, into, tried, places) for recorder, into in pairs]
        return list(found) if run_trial(self.source, tried, self.options, self.recorders, listeners, seed) else None

    def check_calls(self) -> None:
        """Speak against layers that run more often the more examples there are: their rows are something of one example."""
        size, count = self.batch.size, len(self.order)
        first = [recorder.calls.counted for recorder in self.recorders]
        others = [recorder.calls.tried for recorder in self.recorders]
        if first == others:
            return
        # The same example so many times, because others may be longer, or take other ways.
        alike = [self._calls_of([0] * number) for number in (size, count)]
        if alike[0] is not None and alike[1] is not None:
            first, others = alike[0], alike[1]
        for recorder, whole, part in zip(self.recorders, first, others, strict=True):
            for name in recorder.samples:
                module = module_of(name)
                times, fewer = whole.get(module, 0), part.get(module, 0)
                if times != fewer and recorder.options.axis_of(name) is None:
                    reason = f"it runs {times} times with {size} examples and {fewer} times with {count}"
                    recorder.found.contradicted[name] = Objection(reason)

    def _calls_of(self, order: Sequence[int]) -> list[dict[str, int]] | None:
        """Count how often modules run for examples in some order; None where the model does not take them."""
        ran = self.run(order, look=False) is not None
        return [recorder.calls.tried for recorder in self.recorders] if ran else None

    def note_mixing(self, order: Sequence[int], found: list[Tried] | None) -> None:
        """Note the layers that have other values without most of the examples: quantised by the largest value of the batch."""
        for recorder, name, sample, rows in [] if found is None else self._rows(found):
            expected = self._sampled(sample, order)
            # As part of their own size: the spread of all rows is that of an outlier.
            apart = (
                rows.shape == expected.shape and differences(expected, rows).max() > self.part * np.abs(expected).max()
            )
            if bool(apart) and name not in recorder.found.mixing:
                recorder.found.mixing.append(name)

    def _sampled(self, sample: Sample, order: Sequence[int]) -> np.ndarray:
        """Return the rows of the examples that are in some order."""
        each = len(sample.rows) // len(self.index)
        return np.concatenate([sample.rows[k * each : (k + 1) * each] for k, i in enumerate(self.index) if i in order])

    def any_other_shape(self, found: list[Tried]) -> bool:
        """Say whether any layer has other features or positions for part of the batch."""
        return any(rows.shape != sample.rows.shape for _, _, sample, rows in self._rows(found))

    def any_difference(self, found: list[Tried]) -> bool:
        """Say whether any layer of the same shape has other values."""
        return any(
            rows.shape == sample.rows.shape and self._differs(recorder, name, rows)
            for recorder, name, sample, rows in self._rows(found)
        )

    def _rows(self, found: list[Tried]) -> Iterator[tuple[Recorder, str, Sample, np.ndarray]]:
        for recorder, tried in zip(self.recorders, found, strict=True):
            for name, sample in recorder.samples.items():
                rows = tried.get(name)
                if isinstance(rows, np.ndarray):
                    yield recorder, name, sample, rows

    def _differs(self, recorder: Recorder, name: str, rows: np.ndarray, expected: np.ndarray | None = None) -> bool:
        sample = recorder.samples[name]
        allowed = self.part * sample.spread + self.spacing * sample.largest
        return not are_within(sample.rows if expected is None else expected, rows, allowed)

    def _differs_in(self, recorder: Recorder, name: str, order: Sequence[int], rows: Any) -> bool:
        """Say whether a layer has other values, of the same shape, for examples in some order."""
        expected = self._sampled(recorder.samples[name], order)
        alike = isinstance(rows, np.ndarray) and rows.shape == expected.shape
        return alike and self._differs(recorder, name, rows, expected)

    def judge(
        self,
        recorder: Recorder,
        name: str,
        part: Any,
        turned: Any,
        repeated: Any,
        others: Sequence[tuple[list[int], Any]],
    ) -> None:
        """Say of one layer whether it follows the examples, as far as it could be tried; `others` are orders, and their rows."""
        reason = self._against(recorder, name, part, turned)
        if not reason and any(self._differs_in(recorder, name, order, rows) for order, rows in others):
            reason = _OTHER_VALUES
        asserted = (
            recorder.options.axis_of(name) is not None
        )  # that examples depend on each other is then as it should be
        if (
            reason == _OTHER_VALUES
            and isinstance(repeated, np.ndarray)
            and isinstance(part, np.ndarray)
            and part.shape == repeated.shape
            and bool((differences(part, repeated) > 0).any())
        ):
            recorder.found.random += [] if name in recorder.found.random else [name]
        elif reason and not (asserted and not isinstance(part, UnfitError)):
            recorder.found.contradicted[name] = (
                self.unfit(recorder, name, part, len(self.order))
                if isinstance(part, UnfitError)
                else Objection(reason, mixes=True)
            )
            return
        if reason is not None or asserted:
            recorder.found.proved.add(name)

    def unfit(self, recorder: Recorder, name: str, problem: UnfitError, count: int) -> Objection:
        """Say how a layer does not fit for so many examples, and which axis follows their number."""
        axis = axis_of(recorder.found.shapes.get(name, ()), self.batch.size, problem.shape, count)
        return Objection(f"with {count} examples it has {problem.reason}", axis)

    def _against(self, recorder: Recorder, name: str, part: Any, turned: Any) -> str | None:
        """Return what speaks against a layer, "" for nothing, None where nothing is known."""
        if isinstance(part, UnfitError):
            return f"with {len(self.order)} examples it has {part.reason}"
        shape, width = recorder.samples[name].rows.shape, recorder.samples[name].width
        if isinstance(part, np.ndarray):
            if part.shape == shape:
                return _OTHER_VALUES if self._differs(recorder, name, part) else ""
            if part.shape[1] != shape[1] and part.shape[1] * self.batch.size == width * len(self.order):
                return "it has more features the more examples there are"
        if isinstance(turned, np.ndarray) and turned.shape == shape:
            return "its rows do not follow the examples" if self._differs(recorder, name, turned) else ""
        return "its features change with the examples" if isinstance(part, np.ndarray) else None


_OTHER_VALUES = "its rows change with the other examples of the batch"


def _listener(
    recorder: Recorder, into: dict[str, Any], tried: Batch, places: Sequence[int]
) -> Callable[[str, Any, Maker], None]:
    masks = recorder.masks.of(tried)

    def listen(name: str, output: Any, maker: Maker) -> None:
        if name not in recorder.samples:
            return
        try:
            rows = recorder.reduced(name, output, maker, masks)
            recorder.found.note_length(name, rows, tried)
            into[name] = tried_rows(recorder.samples[name], rows, places) if places else None
        except UnfitError as problem:
            into[name] = problem
        except Exception:  # a reduction of the user's own: what it says of a part proves nothing either way
            into[name] = None

    return listen
