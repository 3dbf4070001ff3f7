"""Networks trained side by side, each in a process with one thread, to the same bits as one after the other."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from pathlib import Path

from homolog.paper.checkpoints import Trained, Work, trained
from homolog.paper.training import Step


def all_trained(work: Mapping[str, Work], folder: Path, step: Step, processes: int) -> Iterator[tuple[str, Trained]]:
    """Yield networks by name as they are ready: those of checkpoints first, then what is trained now.

    So many at a time are trained of those that use one thread. A script that asks for more than one must do so under
    `if __name__ == "__main__":`, because the processes import it.
    """
    apart = {name: each for name, each in work.items() if each.threads == 1 and not each.path(folder).is_file()}
    processes = min(processes, len(apart))
    if processes < 2:
        apart = {}
    for name, each in work.items():
        if name not in apart:
            yield name, trained(each, folder, step)
    for name in _finished(apart, folder, step, processes):
        yield name, replace(trained(work[name], folder, lambda n: None), from_checkpoint=False)


def _finished(work: Mapping[str, Work], folder: Path, step: Step, processes: int) -> Iterator[str]:
    """Train in processes, and yield the name of each network when its checkpoint is written."""
    waiting = list(work)
    busy: dict[Connection, str] = {}
    with ExitStack() as stack:
        idle = [stack.enter_context(_process(folder)) for _ in range(processes if work else 0)]
        while waiting or busy:
            while waiting and idle:
                end, name = idle.pop(), waiting.pop(0)
                busy[end] = name
                with suppress(ConnectionError):  # of a process that is gone, as its answer will show
                    end.send(work[name])
            ready = wait(list(busy))
            for end in [end for end in busy if end in ready]:
                answer = _answer(end, busy[end])
                if isinstance(answer, Exception):
                    raise answer
                if answer is None:
                    idle.append(end)
                    yield busy.pop(end)
                else:
                    step(answer)


@contextmanager
def _process(folder: Path) -> Iterator[Connection]:
    """Give the near end of a pipe to a process that trains; afterwards it is gone, whatever it was doing."""
    # Spawned: a fork of a process whose libraries run threads may hang.
    context = multiprocessing.get_context("spawn")
    near, far = context.Pipe()
    process = context.Process(target=_serve, args=(far, folder), daemon=True)
    process.start()
    far.close()
    try:
        yield near
    finally:
        near.close()
        process.terminate()
        process.join()


def _answer(end: Connection, name: str) -> int | Exception | None:
    """Return how many examples were seen, None where a network is finished, or what went wrong."""
    try:
        answer: int | Exception | None = end.recv()
    except (EOFError, ConnectionError):
        return RuntimeError(
            f"the process that trained the network {name} must live until it is finished, got its end, as where memory is "
            f"full: run the same again, which goes on from there."
        )
    return answer


def _serve(end: Connection, folder: Path) -> None:
    """Train the networks that come through a pipe, and answer as they make progress."""
    # The process that started this one decides what an interruption means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(EOFError, ConnectionError):  # it is gone
        while True:
            work = end.recv()
            try:
                trained(work, folder, end.send)
                end.send(None)
            except Exception as error:
                end.send(error)
