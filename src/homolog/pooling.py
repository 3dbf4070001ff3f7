"""Threads that share work on arrays of NumPy's."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from threadpoolctl import threadpool_limits


@contextmanager
def pooled(shared: bool) -> Iterator[Callable[..., Any]]:
    """Give a map over layers or pairs: in threads with one BLAS thread each where arrays are NumPy's, else one by one.

    Decompositions of matrices of a layer's size hardly gain from threads of their own, and often lose.
    """
    workers = os.cpu_count() or 1
    if not shared or workers == 1:
        yield map
        return
    with threadpool_limits(limits=1, user_api="blas"), ThreadPoolExecutor(workers) as pool:
        yield pool.map
