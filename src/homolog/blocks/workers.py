"""Who does the work: threads of this process, or the workers of an executor."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from threading import Semaphore
from typing import TYPE_CHECKING, Any, Protocol

from threadpoolctl import threadpool_limits

from homolog.machine import usable_cores

if TYPE_CHECKING:
    computed_once = cached_property
else:

    class computed_once:
        """A property that is computed when it is first asked for, and kept.

        Unlike functools.cached_property, which until Python 3.12 has one lock for the property of all objects: threads that
        decompose a layer each would wait for one another. Two threads that ask the same object may both compute it.
        """

        def __init__(self, compute: Callable[[Any], Any]) -> None:
            self._compute, self.__doc__ = compute, compute.__doc__

        def __set_name__(self, owner: type, name: str) -> None:
            self._name = name

        def __get__(self, instance: Any, owner: type | None = None) -> Any:
            if instance is None:
                return self
            found = vars(instance)[self._name] = self._compute(instance)
            return found


@contextmanager
def pooled(shared: bool) -> Iterator[Callable[..., Any]]:
    """Give a map over layers or pairs: in threads with one BLAS thread each where arrays are NumPy's, else one by one.

    Decompositions of matrices of a layer's size hardly gain from threads of their own, and often lose.
    """
    workers = usable_cores()
    if not shared or workers == 1:
        yield map
        return
    with threadpool_limits(limits=1, user_api="blas"), ThreadPoolExecutor(workers) as pool:
        yield pool.map


def at_most(each: Callable[..., Any], count: int) -> Callable[..., Any]:
    """Return a map that works on so many items at a time and no more, since each takes its share of the memory."""
    if count <= 1 or each is map:
        return map
    gate = Semaphore(count)

    def gated(work: Callable[[Any], Any], items: Iterable[Any]) -> Any:
        def one(item: Any) -> Any:
            with gate:
                return work(item)

        return each(one, items)

    return gated


class Workers(Protocol):
    """Who does the work."""

    here: bool
    """Whether it is done in this process, where it can be told how far it is."""

    def items(self, work: Callable[[Any], Any], items: Iterable[Any], at_once: int | None = None) -> Iterator[Any]:
        """Yield work(item) in order; `at_once` is how many fit into the memory of one process."""

    def parts(self, work: Callable[[Any, Any], Any], parts: Iterable[Any]) -> Iterator[Any]:
        """Yield work(part, map) in order, the parts being as much as one process should do at a time."""


class ThreadWorkers:
    """Threads of this process: they share every part."""

    here = True

    def __init__(self, each: Any = map) -> None:
        self._each = each

    def items(self, work: Callable[[Any], Any], items: Iterable[Any], at_once: int | None = None) -> Iterator[Any]:
        """Yield work(item) in order."""
        yield from (self._each if at_once is None else at_most(self._each, at_once))(work, items)

    def parts(self, work: Callable[[Any, Any], Any], parts: Iterable[Any]) -> Iterator[Any]:
        """Yield work(part, map) in order."""
        for part in parts:
            yield work(part, self._each)


class ExecutorWorkers:
    """An executor: every item and every part is a task of its own, with one BLAS thread."""

    here = False

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    def items(self, work: Callable[[Any], Any], items: Iterable[Any], at_once: int | None = None) -> Iterator[Any]:
        """Yield work(item) in order."""
        return self._results(_one, work, items)

    def parts(self, work: Callable[[Any, Any], Any], parts: Iterable[Any]) -> Iterator[Any]:
        """Yield work(part, map) in order."""
        return self._results(_part, work, parts)

    def _results(self, door: Any, work: Any, items: Iterable[Any]) -> Iterator[Any]:
        try:
            futures = [self._executor.submit(door, work, item) for item in items]
        except RuntimeError as error:
            raise ValueError(f"executor must take tasks, got one that does not ({error}): make a new one.") from error
        try:
            while futures:
                yield _result(futures.pop(0))
        finally:
            for future in futures:
                future.cancel()


def _result(future: Future[Any]) -> Any:
    """Return the result of a task, or say that its worker is gone."""
    try:
        return future.result()
    except Exception as error:
        # Dask's own error has no common parent with those of concurrent.futures.
        if not isinstance(error, BrokenExecutor) and type(error).__name__ != "KilledWorker":
            raise
        raise BrokenExecutor(
            "executor must keep its workers, got one that ended before its task did, as when the system kills it for want of "
            "memory: make a new executor, with fewer workers or a smaller memory=, and compare again."
        ) from error


def _one(work: Callable[[Any], Any], item: Any) -> Any:
    with threadpool_limits(limits=1, user_api="blas"):
        return work(item)


def _part(work: Callable[[Any, Any], Any], part: Any) -> Any:
    with threadpool_limits(limits=1, user_api="blas"):
        return work(part, map)
