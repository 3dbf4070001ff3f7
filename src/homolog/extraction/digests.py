"""Digests of bytes and numbers as text, and what cannot be digested."""

from __future__ import annotations

import copyreg
import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from homolog.extraction.tensors import is_torch, loaded_torch


class IncomparableError(Exception):
    """Something cannot be told from another object of its type."""


UNKNOWN = "cannot be compared"


def comparable(text: str) -> bool:
    """Say whether what was written like this can be told from another."""
    return f"which {UNKNOWN} because" not in text


def written_digest(of: Callable[[], bytes], name: str = "code") -> str:
    """Write a digest as text, or why there is none."""
    try:
        return of().hex()
    except RecursionError:
        return f"{name}, which {UNKNOWN} because it goes too deep"
    except IncomparableError as error:
        return f"{name}, which {UNKNOWN} because it holds {error}"
    except Exception as error:  # an object may do anything when it is looked at
        return f"{name}, which {UNKNOWN} because looking at it raised {type(error).__name__}"


def reduced(value: Any) -> Any:
    """Return what pickle would keep of an object."""
    special = copyreg.dispatch_table.get(type(value))
    return special(value) if special else value.__reduce_ex__(4)


def hashed(*parts: str | bytes) -> bytes:
    """Digest texts and bytes, with their lengths."""
    state = hashlib.blake2b(digest_size=8)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        state.update(len(data).to_bytes(8, "little"))
        state.update(data)
    return state.digest()


def numbers(value: Any) -> Iterator[str | bytes]:
    """Yield the type, shape and bytes of an array."""
    if is_torch(value):
        yield from _numbers_of_tensor(value.detach())
        return
    array = np.asarray(value)
    if array.dtype.hasobject:
        raise IncomparableError("an array of objects")
    yield f"{array.dtype} {array.shape}"
    yield array.tobytes()


def _numbers_of_tensor(value: Any) -> Iterator[str | bytes]:
    torch = loaded_torch()
    if value.is_meta:
        raise IncomparableError("a tensor without values")
    yield f"{value.dtype} {value.layout} {tuple(value.shape) if not value.is_nested else ''}"
    if value.is_nested:
        parts = list(value.unbind())
    elif value.is_quantized:
        parts = [value.int_repr()]
        yield str(value.qscheme())
        if value.qscheme() in (torch.per_tensor_affine, torch.per_tensor_symmetric):
            yield f"{value.q_scale()} {value.q_zero_point()}"
        else:
            parts += [value.q_per_channel_scales(), value.q_per_channel_zero_points()]
    elif value.layout == torch.strided:
        host = value.cpu().resolve_conj().resolve_neg().contiguous()
        yield host.reshape(-1).view(torch.uint8).numpy().tobytes()
        return
    else:
        coordinates = value.to_sparse_coo().coalesce()
        parts = [coordinates.indices(), coordinates.values()]
    for part in parts:
        yield from _numbers_of_tensor(part)
