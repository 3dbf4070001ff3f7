"""The only room that knows array libraries: namespace, dtype, device, validation, and the error sentences.

Everything above works on whatever follows the array API (NumPy, PyTorch, JAX, CuPy, array-api-strict), through the
namespace found here. No library is imported that the caller has not imported.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np
from array_api_compat import array_namespace, is_array_api_obj, is_jax_array, is_torch_array
from array_api_compat import device as device_of

from homolog.devices import HOST, is_elsewhere
from homolog.rows import Mapped, Rows, is_whole_map

Array = Any
EXACT = 2**53
"""Integers up to this are exact in float64."""
LOST = 1e-9
"""Rounding beyond this share of what a column varies by would change values."""


def namespace(*arrays: Array) -> ModuleType:
    """Return the array API namespace of arrays that have been validated."""
    return array_namespace(*arrays)


def has_float64(xp: ModuleType, device: Any) -> bool:
    """Say whether a device computes in float64 (Apple's MPS does not)."""
    kind = getattr(device, "type", str(device))
    if kind in ("cpu", "cuda") and xp.__name__.endswith("torch"):  # asking PyTorch makes an array of every dtype
        return True
    if str(device).startswith("mps"):
        return False
    return "float64" in xp.__array_namespace_info__().dtypes(device=device)


def working_dtype(x: Array) -> Any:
    """Return the dtype to compute in: float64 where the device has it, else float32."""
    xp = namespace(x)
    return xp.float64 if has_float64(xp, device_of(x)) else xp.float32


def precise(x: Array) -> Array:
    """Return an array in the dtype in which sums are accumulated: float64 where the device has it."""
    return namespace(x).astype(x, working_dtype(x), copy=False)


def detached(x: Array) -> Array:
    """Return an array outside any gradient; the array itself where its library has none."""
    if is_torch_array(x):
        return x.detach()
    return sys.modules["jax"].lax.stop_gradient(x) if is_traced(x) else x


def is_known(x: Array) -> bool:
    """Say whether the values of an array can be looked at; inside jax.jit they cannot."""
    return not is_traced(detached(x))


def carries_gradient(x: Array) -> bool:
    """Say whether somebody may ask for the gradient of what is computed from an array."""
    if not is_torch_array(x):
        return is_traced(x)
    # Backwards, or forwards through dual numbers.
    return bool(x.requires_grad) or sys.modules["torch"].autograd.forward_ad.unpack_dual(x).tangent is not None


def needs_gradient(x: Any) -> bool:
    """Say whether a gradient is being taken of what is computed from an array; inside jax.jit alone nobody knows."""
    if is_torch_array(x):
        return carries_gradient(x) and bool(sys.modules["torch"].is_grad_enabled() or not x.requires_grad)
    return is_traced(x) and is_known(x)


def kept_dtype(value: Array, x: Array, y: Array, *, bounded: bool) -> Array:
    """Return the value of two tensors or JAX arrays in the wider of their dtypes, but float32 for narrower floats.

    It stays as it is for arrays of NumPy's, for integers, and where float32 could not hold a value without bounds.
    """
    if not (is_torch_array(value) or is_jax_array(value)):
        return value
    xp = namespace(value)
    floats = [side.dtype for side in (x, y) if is_array_api_obj(side) and xp.isdtype(side.dtype, "real floating")]
    if value.dtype == xp.float32 or not floats or xp.float64 in floats:
        return value
    narrow = xp.astype(value, xp.float32)
    if bounded or not is_known(value):
        return narrow
    wide, held = scalar(value), scalar(narrow)
    return value if math.isfinite(wide) and (math.isinf(held) or (held == 0) != (wide == 0)) else narrow


def machine_epsilon(x: Array) -> float:
    """Return the spacing of floats at 1 in the array's dtype."""
    return float(namespace(x).finfo(x.dtype).eps)


def is_array(x: Any) -> bool:
    """Say whether an object is an array of a library that follows the array API, or a representation on disk."""
    return isinstance(x, Rows) or bool(is_array_api_obj(x))


def constant_like(value: Any, x: Array) -> Array:
    """Return a 0-d array with the library, dtype and device of x."""
    return namespace(x).asarray(value, dtype=x.dtype, device=device_of(x))


def identity_like(x: Array) -> Array:
    """Return the identity matrix with as many rows as x, on its device and in its dtype."""
    return namespace(x).eye(x.shape[0], dtype=x.dtype, device=device_of(x))


def to_numpy(x: Array) -> np.ndarray:
    """Copy an array of any library to NumPy on the host, outside any gradient."""
    x = detached(x)
    if is_torch_array(x):
        x = x.cpu()
        small = x.is_floating_point() and str(x.dtype) not in ("torch.float16", "torch.float32", "torch.float64")
        return np.asarray(x.float() if small else x)
    # Arrays of other libraries may live on a device that only DLPack knows how to leave.
    foreign = is_array_api_obj(x) and not isinstance(x, np.ndarray | np.generic)
    if foreign and str(x.dtype) == "bfloat16":
        x = namespace(x).astype(x, namespace(x).float32)
    return np.from_dlpack(x, device="cpu") if foreign else widened(np.asarray(x))


def all_to_numpy(arrays: Sequence[Array]) -> np.ndarray:
    """Copy arrays of one shape to NumPy along a new first axis: those of a device together, since each copy waits for it."""
    if all(map(is_elsewhere, arrays)):
        return to_numpy(namespace(*arrays).stack(list(arrays)))
    return np.stack([to_numpy(x) for x in arrays])


def scalar(x: Array) -> float:
    """Return a 0-d array as a float, outside any gradient."""
    return float(to_numpy(x))


def count(flags: Array) -> int:
    """Count the true entries of a boolean array."""
    return int(to_numpy(flags).sum())


def is_traced(x: Array) -> bool:
    """Say whether an array stands for values that JAX does not know yet, inside jit or grad."""
    return is_jax_array(x) and isinstance(x, sys.modules["jax"].core.Tracer)


def from_numpy(values: np.ndarray, like: Array) -> Array:
    """Put a NumPy array on the library and device of another array, in the given dtype."""
    return namespace(like).asarray(values, device=device_of(like))


def representation(x: Array, name: str, *, single: bool = False, shifted: bool = False) -> Array:
    """Validate a representation (n, p) and return it in the working dtype; the input is never written to.

    With `single`, floating input of at most 32 bits is returned in float32, whose large products are faster. With `shifted`,
    for measures that no offset changes, integers too large for float64 are returned less their first row, without loss.
    """
    check_representation(x, name)
    return converted(x, name, single=single, shifted=shifted)


def converted(x: Array, name: str, *, single: bool = False, shifted: bool = False) -> Array:
    """Return a valid representation in the working dtype."""
    x = loaded(x)
    xp = namespace(x)
    if is_long(x) and not is_traced(x) and beyond_float64(to_numpy(x[:1, :])):
        less = less_row(to_numpy(x), to_numpy(x[:1, :]))
        if shifted:
            return xp.astype(from_numpy(less, x), working_dtype(x), copy=False)
        check_digits(to_numpy(x), less, name)
    return xp.astype(x, xp.float32 if single and itemsize(x, single=True) == 4 else working_dtype(x), copy=False)


def is_long(x: Array) -> bool:
    """Say whether an array, or what is on disk, holds integers of 64 bits."""
    if isinstance(x, Rows | np.ndarray):
        return x.dtype.kind in "iu" and x.dtype.itemsize == 8
    xp = namespace(x)
    return bool(xp.isdtype(x.dtype, "integral")) and xp.iinfo(x.dtype).bits == 64


def beyond_float64(row: np.ndarray) -> bool:
    """Say whether float64 rounds integers of this size. The first row tells of all: where others are larger, they vary."""
    return any(abs(value) > EXACT for value in row.reshape(-1).tolist())


def less_row(x: np.ndarray, row: np.ndarray) -> np.ndarray:
    """Return integers of 64 bits less one row of them, in float64: rounded once, and never overflowing."""
    # Both halves of 32 bits are exact in float64, and so are their differences.
    upper = (x >> 32).astype(float) - (row >> 32).astype(float)
    lower = (x & 0xFFFFFFFF).astype(float) - (row & 0xFFFFFFFF).astype(float)
    less: np.ndarray = upper * 2.0**32 + lower
    return less


def check_digits(x: np.ndarray, less: np.ndarray, name: str) -> None:
    """Raise where float64 would round away what tells the values of a column apart, given the same less their first row."""
    spread = less.max(axis=0) - less.min(axis=0)
    size = np.abs(x.astype(float)).max(axis=0)
    lost = (spread > 0) & (size * (np.finfo(float).eps / 2) > LOST * spread)
    if lost.any():
        column = int(np.argmax(lost))
        raise ValueError(
            f"{name} must hold integers whose differences float64 can tell for a measure that an offset changes, got column "
            f"{column}, of size {size[column]:.3g}, which varies by {spread[column]:.3g}: subtract what its values share first."
        )


def loaded(x: Array) -> Array:
    """Return what is on disk as an array of NumPy's, any array as it is but for types that no library computes in."""
    return x.whole() if isinstance(x, Rows) else widened(x)


def is_small(dtype: Any) -> bool:
    """Say whether a dtype of NumPy's is one of ml_dtypes: bfloat16, float8 and others that no array API knows."""
    return isinstance(dtype, np.dtype) and (dtype.type.__module__ or "").startswith("ml_dtypes")


def widened(x: Array) -> Array:
    """Return an array of bfloat16, float8 and the like in float32, which holds them without loss; any other as it is."""
    if isinstance(x, np.ndarray) and is_small(x.dtype):
        return x.astype(np.float32)
    if is_torch_array(x) and str(x.dtype).startswith("torch.float8"):
        return x.float()
    return x


def on_disk(x: Array) -> Rows | None:
    """Return a representation that is on disk, or is a file mapped as it is, as rows to read; None for any other."""
    if isinstance(x, Rows):
        return x
    rows = Mapped.of(x) if is_whole_map(x) else None
    return rows if rows is not None and rows.holds(x) else None


def itemsize(x: Array, *, single: bool) -> int:
    """Return the bytes per number in which `representation` returns an array."""
    if isinstance(x, Rows):
        x = np.empty(0, dtype=x.dtype)
    if isinstance(x, np.ndarray) and is_small(x.dtype):
        return 4 if single else 8
    xp = namespace(x)
    small = single and xp.isdtype(x.dtype, "real floating") and xp.finfo(x.dtype).bits <= 32
    return 4 if small or working_dtype(x) == xp.float32 else 8


def is_numpy(x: Array) -> bool:
    """Say whether an array is NumPy's."""
    return isinstance(x, np.ndarray)


def on_host(x: Array) -> Array:
    """Return an array whose memory NumPy can share as NumPy's, without its gradient; any other as it is."""
    if is_torch_array(x) and x.device.type in HOST:
        return to_numpy(x)
    return np.asarray(x) if is_jax_array(x) and device_of(x).platform == "cpu" else detached(x)


def check_representation(x: Array, name: str) -> None:
    """Raise unless x is a real array of shape (n, p) with n >= 2 and p >= 1."""
    if isinstance(x, Rows):
        x = np.broadcast_to(np.zeros((), dtype=x.dtype), x.shape)  # checked by its shape and dtype
    if not is_array_api_obj(x):
        raise TypeError(
            f"{name} must be an array of shape (examples, features), got {described(x)}: {array_remedy(x)}."
        )
    if isinstance(x, np.ma.MaskedArray):
        raise TypeError(
            f"{name} must be an array without gaps, got a masked array, whose mask would be ignored: leave the masked "
            f"examples out on both sides, or fill the mask."
        )
    if is_torch_array(x) and x.layout != sys.modules["torch"].strided:
        raise TypeError(f"{name} must be a dense tensor, got layout {x.layout}: convert it with .to_dense().")
    if type(x).__module__.split(".")[0] == "sparse":
        raise TypeError(f"{name} must be a dense array, got {described(x)}: convert it with .todense().")
    if isinstance(x, np.ndarray) and x.dtype.kind == "O":
        raise TypeError(f"{name} must hold real numbers, got {x.dtype}: {_real_remedy(x)}.")
    if isinstance(x, np.ndarray) and x.dtype.names:
        raise TypeError(
            f"{name} must hold real numbers, got a structured array of fields {', '.join(map(str, x.dtype.names[:5]))}: make "
            f"columns of them, structured_to_unstructured(x) from numpy.lib.recfunctions."
        )
    if x.ndim != 2:
        raise ValueError(
            f"{name} must have two axes (examples, features), got shape {tuple(x.shape)}: {_reshape_remedy(x.shape)}"
        )
    n, p = x.shape
    if n < 2 or p < 1:
        raise ValueError(
            f"{name} must hold at least 2 examples and 1 feature, got shape {(n, p)}: "
            f"check what selected its rows and columns."
        )
    xp = namespace(x)
    if not _is_real(xp, x):
        raise TypeError(f"{name} must hold real numbers, got {x.dtype}: {_real_remedy(x)}.")


def described(x: Any) -> str:
    """Say in a word or two what an object is, for an error sentence.

    >>> described(3), described([]), described(None)
    ('an int', 'a list', 'None')
    """
    name = type(x).__name__
    return "None" if x is None else f"{'an' if name[0] in 'AEIOaeio' else 'a'} {name}"


def array_remedy(x: Any) -> str:
    """Say what makes an array of something that is none; each of these works."""
    home = type(x).__module__.split(".")[0]
    if home == "scipy" and hasattr(x, "toarray"):
        return "a sparse matrix is made dense with .toarray()"
    if home == "xarray":
        return "take its numbers, .values"
    if home in ("pandas", "polars") and getattr(x, "ndim", 2 if hasattr(x, "columns") else 1) == 2:
        return "take its numbers, .to_numpy()"
    if home in ("pandas", "polars", "pyarrow"):
        return "stack its vectors, one row each, numpy.stack(column.to_numpy()), or make its numbers a column, .reshape(-1, 1)"
    leaf = x
    while isinstance(leaf, Mapping | tuple | list) and len(leaf):
        leaf = next(iter(leaf.values() if isinstance(leaf, Mapping) else leaf))
    if leaf is not x and is_jax_array(leaf):
        return (
            "flatten what was captured, {jax.tree_util.keystr(at): array for at, array in "
            "jax.tree_util.tree_leaves_with_path(captured)}"
        )
    if isinstance(x, Mapping) and not isinstance(x, dict) and len(x) and is_array_api_obj(next(iter(x.values()))):
        return f"take one layer out of it by its name, x[{next(iter(x))!r}]"
    if isinstance(x, Mapping):
        return "take the layers out of it by their names, {'block.out': x['block']['out']}"
    if isinstance(x, tuple | list) and is_array_api_obj(leaf):
        return "take the array out of it, x[0], or join the batches, numpy.concatenate(x)"
    return "pass a NumPy array, a PyTorch tensor, or what numpy.asarray makes of it"


_OF_SKETCHES = (
    "if these are the two sketches of a layer, which are no features, pass the layer as homolog.extract or homolog.open gives "
    "it"
)


def _real_remedy(x: Array) -> str:
    kind = x.dtype.kind if isinstance(x, np.ndarray) else ""
    if kind == "O" and x.ndim == 2 and x.shape[1] == 2:
        return f"{_OF_SKETCHES}; if every entry is a number, .astype(float)"
    if kind == "O":
        return "if every entry is a vector, numpy.stack(x.ravel()); if every entry is a number, .astype(float)"
    if kind == "V":
        return (
            "numpy.save forgets the name of bfloat16 and its kin: if it was that, .view('bfloat16') after import ml_dtypes, or "
            "write it as float32"
        )
    return "convert it first, for instance to float32 (a complex array: its real part, or real and imaginary parts side by side)"


def _reshape_remedy(shape: tuple[int, ...]) -> str:
    if len(shape) < 2:
        return "a single feature is a column, .reshape(-1, 1)."
    if len(shape) == 3 and shape[1] == 2 and shape[2] and shape[2] % 16 == 0:
        return f"{_OF_SKETCHES}; if not, flatten or average the axes after the first."
    return "flatten or average the axes after the first, for instance .reshape(n, -1)."


def _is_real(xp: ModuleType, x: Array) -> bool:
    if isinstance(x, np.ndarray) and is_small(x.dtype):
        return "complex" not in x.dtype.name
    if isinstance(x, np.ndarray) and x.dtype.kind not in "iuf":
        return False
    return bool(xp.isdtype(x.dtype, ("integral", "real floating")))


def same_library(x: Array, y: Array, names: tuple[str, str] = ("x", "y")) -> None:
    """Raise unless both arrays belong to one library and one device; what is on disk belongs to NumPy's."""
    x, y = (side.like if isinstance(side, Rows) else side for side in (x, y))
    if namespace(x) is not namespace(y):
        raise TypeError(
            f"{names[1]} must come from the same array library as {names[0]} ({_library(x)}), got {_library(y)}: "
            f"convert one of them, for instance with numpy.asarray or torch.as_tensor."
        )
    if not (is_traced(x) or is_traced(y)) and device_of(x) != device_of(y):
        raise ValueError(
            f"{names[1]} must be on the same device as {names[0]} ({device_of(x)}), got {device_of(y)}: "
            f"move one of them."
        )


def _library(x: Array) -> str:
    return type(x).__module__.split(".")[0]


def same_rows(x: Array, y: Array, names: tuple[str, str] = ("x", "y")) -> None:
    """Raise unless both representations have as many rows."""
    if x.shape[0] != y.shape[0]:
        raise ValueError(
            f"{names[1]} must have as many rows as {names[0]} ({x.shape[0]}), got {y.shape[0]}: "
            f"both must hold the same examples in the same order."
        )


def enough_rows(x: Array, minimum: int, measure: str) -> None:
    """Raise when a measure needs more examples than there are."""
    if x.shape[0] < minimum:
        raise ValueError(
            f"{measure} needs at least {minimum} examples, got {x.shape[0]}: pass more rows, or use a measure that "
            f"needs fewer (homolog.measures() lists them)."
        )


def surely_finite(arrays: Sequence[Array]) -> bool:
    """Say whether arrays on one device have finite sums, and so no NaN and no infinity; one copy tells it of all."""
    floats = [detached(x) for x in arrays if namespace(x).isdtype(x.dtype, "real floating")]
    return not floats or bool(np.isfinite(all_to_numpy([precise(namespace(x).sum(x)) for x in floats])).all())


def check_finite(x: Array, name: str) -> None:
    """Raise when an array holds NaN or an infinity, naming the first row that does; values not known yet pass."""
    x = loaded(x)
    xp = namespace(x)
    if is_traced(x) or not xp.isdtype(x.dtype, "real floating"):
        return
    with np.errstate(all="ignore"):
        # The sum of finite numbers is finite unless it overflows: one pass, and no array of flags.
        total = xp.sum(x)
        # Inside jax.jit the sum of known numbers is not known either.
        if is_traced(total) or math.isfinite(scalar(total)):
            return
    bad = to_numpy(~xp.all(xp.isfinite(x), axis=1))
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(
            f"{name} must be finite, got NaN or infinity first in row {row} ({int(bad.sum())} of {x.shape[0]} rows): "
            f"leave these examples out on both sides, or look for an overflow in the model."
        )
