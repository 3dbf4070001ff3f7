"""Devices of PyTorch's beside the host: which tensors lie there, how much more fits, and products of float32 that are exact."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from typing import Any

HOST = {"cpu"}
"""Kinds of devices whose memory is that of NumPy. Without any, tensors take the way of a GPU on the processor, as tests do."""
SHARE = 0.9
"""Of the free memory of a device that may be taken: its allocator loses some between blocks."""
EXACT = ("ieee", "none")
"""What PyTorch calls products of float32 that are not rounded to fewer bits before they are formed."""

_lock = threading.Lock()
_inside = 0
_before: list[tuple[Any, str]] = []


def is_elsewhere(x: Any) -> bool:
    """Say whether something is a tensor of PyTorch's on a device other than the host."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(x, torch.Tensor) and x.device.type not in HOST


def free_memory(device: Any) -> int | None:
    """Return the bytes that may be taken on a device of PyTorch's now; None where it does not say."""
    torch = sys.modules["torch"]
    if torch.device(device).type != "cuda":
        return None
    free, _ = torch.cuda.mem_get_info(device)
    # The allocator keeps blocks that no tensor needs any more.
    idle = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(SHARE * (free + idle))


def sent(tensor: Any, device: Any, dtype: Any = None) -> Any:
    """Return a tensor on a device. What comes from the host is copied to a GPU beside what that is doing, and nobody waits.

    Only memory that the system cannot move is copied by the GPU itself, and the copies have a queue of their own.
    """
    torch = sys.modules["torch"]
    plain = tensor.layout == torch.strided and not tensor.is_quantized and not tensor.is_nested
    if device.type != "cuda" or tensor.device.type != "cpu" or not plain:
        return tensor.to(device, dtype)
    cuda, queue = torch.cuda, _queue_of(device, "there")
    given = tensor.is_pinned()
    with cuda.stream(queue):
        there = (tensor if given else tensor.pin_memory()).to(device, non_blocking=True).to(dtype or tensor.dtype)
    if given:
        queue.synchronize()  # whoever made it may use its memory again
    own = cuda.current_stream(device)
    own.wait_stream(queue)
    there.record_stream(own)  # its memory is not given to another copy while the model reads it
    return there


def fetched(tensor: Any) -> Any:
    """Begin to copy a tensor from a GPU, and return it on the host: its numbers are there after `arrived`.

    Nothing may change the tensor until then: it must be a copy of its own.
    """
    cuda, queue = sys.modules["torch"].cuda, _queue_of(tensor.device, "here")
    here = _fixed_like(tensor)
    queue.wait_stream(cuda.current_stream(tensor.device))
    with cuda.stream(queue):
        here.copy_(tensor, non_blocking=True)
    tensor.record_stream(queue)
    return here


def arrived(device: Any) -> None:
    """Wait for what is copied from a GPU."""
    _queue_of(device, "here").synchronize()


def _fixed_like(tensor: Any) -> Any:
    return sys.modules["torch"].empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)


@cache
def _queue_of(device: Any, direction: str) -> Any:
    """Return the queue of copies in one direction: a GPU has an engine for each."""
    return sys.modules["torch"].cuda.Stream(device)


def out_of_memory() -> tuple[type[Exception], ...]:
    """Return the errors by which PyTorch says that a device has no memory left."""
    torch = sys.modules.get("torch")
    return () if torch is None else (torch.cuda.OutOfMemoryError,)


@contextmanager
def explained_shortage() -> Iterator[None]:
    """Say what to do where a device has less memory than it said it had."""
    try:
        yield
    except out_of_memory() as error:
        error.add_note(
            "the device has less memory than it said before: pass a smaller memory=, and what does not fit is compared on the "
            "host."
        )
        raise


@contextmanager
def exact_products() -> Iterator[None]:
    """Form products of float32 tensors in float32, whatever PyTorch was told: no TF32, no bfloat16, no autocast.

    The settings belong to the whole process. They are put back when the last of all threads is through.
    """
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    with ExitStack() as stack:
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        _enter(torch)
        stack.callback(_leave, torch)
        yield


def _enter(torch: Any) -> None:
    global _inside
    with _lock:
        _inside += 1
        if _inside > 1:
            return
        for place in _places(torch):
            if (told := place.fp32_precision) not in EXACT:
                _before.append((place, told))
                place.fp32_precision = "ieee"
        if not _places(torch) and (told := torch.get_float32_matmul_precision()) != "highest":
            _before.append((None, told))
            torch.set_float32_matmul_precision("highest")


def _leave(torch: Any) -> None:
    global _inside
    with _lock:
        _inside -= 1
        while not _inside and _before:
            place, told = _before.pop()
            if place is None:
                torch.set_float32_matmul_precision(told)
            else:
                place.fp32_precision = told


def _places(torch: Any) -> list[Any]:
    """Return where PyTorch keeps the precision of products, one for each library; none before version 2.9."""
    found = []
    with suppress(AttributeError):
        for place in (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul):
            if isinstance(place.fp32_precision, str):
                found.append(place)
    return found
