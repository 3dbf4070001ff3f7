"""Compiled parts of a model run as they were written: a compiled graph knows no hooks that came after it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch


@contextmanager
def uncompiled() -> Iterator[None]:
    """Run everything as it was written, also what a model compiles while it runs.

    Where PyTorch's compiler is not loaded, nothing is compiled yet. Loading it takes a second, so that this is left to the first
    call of `torch.compile`.
    """
    with ExitStack() as stances:
        if "torch._dynamo" in sys.modules:
            _enter(stances)
            yield
            return
        compiled, lasts = torch.compile, True

        def compiled_later(*args: Any, **kwargs: Any) -> Any:
            nonlocal lasts
            if lasts:
                _enter(stances)
                lasts = False
            return compiled(*args, **kwargs)

        torch.compile = compiled_later
        try:
            yield
        finally:
            torch.compile, lasts = compiled, False  # somebody may have kept the other one


def _enter(stances: ExitStack) -> None:
    stance = getattr(torch.compiler, "set_stance", None)  # new in PyTorch 2.6
    if stance is not None:
        stances.enter_context(stance("force_eager"))
