"""Tensors of whatever library: what is one, and its numbers as an array of NumPy's. PyTorch is never imported here."""

from __future__ import annotations

import functools
import sys
from typing import Any

import numpy as np


def loaded_torch() -> Any:
    """Return PyTorch where somebody has imported it; else None, and then nothing is one of its tensors."""
    return sys.modules.get("torch")


def is_torch(value: Any) -> bool:
    """Say whether a value is a tensor of PyTorch's."""
    torch = loaded_torch()
    return torch is not None and isinstance(value, torch.Tensor)


def is_module(value: Any) -> bool:
    """Say whether a value is a module of PyTorch's."""
    torch = loaded_torch()
    return torch is not None and isinstance(value, torch.nn.Module)


def is_of_torch(value: Any, *names: str) -> bool:
    """Say whether a value is of one of the classes of PyTorch with these names, such as "jit.ScriptModule"."""
    torch = loaded_torch()
    if torch is None:
        return False
    return isinstance(value, tuple(functools.reduce(getattr, name.split("."), torch) for name in names))


def is_packed(value: Any) -> bool:
    """Say whether a value is PyTorch's packed sequences."""
    torch = loaded_torch()
    return torch is not None and isinstance(value, torch.nn.utils.rnn.PackedSequence)


def is_masked_tensor(value: Any) -> bool:
    """Say whether a value is one of PyTorch's tensors with a mask."""
    masked = sys.modules.get("torch.masked")
    return masked is not None and isinstance(value, masked.MaskedTensor)


def is_foreign(value: Any) -> bool:
    """Say whether a value is an array of another library than NumPy and PyTorch, such as JAX or TensorFlow."""
    made_by = type(value)
    if isinstance(value, np.ndarray | np.generic | type) or is_torch(value):
        return False
    if made_by.__module__.split(".")[0] in TABLES:
        return False
    readable = any(hasattr(made_by, way) for way in ("__dlpack__", "__array__"))
    return readable and hasattr(value, "shape") and hasattr(value, "dtype") and hasattr(value, "ndim")


TABLES = ("pandas", "polars", "pyarrow", "scipy")
"""Where tables and sparse matrices are made, which have rows but are no arrays."""


def is_tensor(value: Any) -> bool:
    """Say whether a value holds numbers along axes: a tensor, or an array that is not of text or objects."""
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "biufc" or value.dtype.type.__module__ == "ml_dtypes"  # bfloat16 and float8
    return is_torch(value) or is_foreign(value)


def is_plain(value: Any) -> bool:
    """Say whether a value is a tensor with axes whose numbers can be read at once: not nested, sparse or without values."""
    if not is_tensor(value):
        return False
    return not is_torch(value) or not (value.is_nested or value.is_meta or value.layout != loaded_torch().strided)


def is_nested(value: Any) -> bool:
    """Say whether a value is one of PyTorch's tensors of rows of unequal lengths."""
    return is_torch(value) and bool(value.is_nested)


def dtype_name(value: Any) -> str:
    """Return what the type of the numbers of a tensor is called, in whatever order its bytes are: "float32"."""
    return getattr(value.dtype, "name", None) or str(value.dtype).removeprefix("torch.")


def is_floating(value: Any) -> bool:
    """Say whether a tensor holds real floating numbers."""
    if is_torch(value):
        return bool(value.is_floating_point())
    return is_tensor(value) and "float" in dtype_name(value)


def is_whole(value: Any) -> bool:
    """Say whether a tensor holds whole numbers, true and false not being any."""
    return is_tensor(value) and dtype_name(value).startswith(("int", "uint"))


def is_complex(value: Any) -> bool:
    """Say whether a tensor holds complex numbers."""
    return is_tensor(value) and "complex" in dtype_name(value)


def is_boolean(value: Any) -> bool:
    """Say whether a tensor holds true and false."""
    return "bool" in str(getattr(value, "dtype", ""))


def array_of(value: Any) -> np.ndarray:
    """Return an array of whatever library but PyTorch as one of NumPy's, with the same bytes; it may share memory."""
    try:
        return np.asarray(value)
    except TypeError:  # CuPy leaves its device only when it is asked to
        return np.from_dlpack(value, device="cpu")


def numbers_of(value: Any) -> np.ndarray:
    """Return the numbers of a tensor as an array of NumPy's; it may share memory. Small floats come as float32."""
    if not is_torch(value):
        array = array_of(value)
        return array.astype(np.float32) if array.dtype.kind == "V" else array  # bfloat16 and float8 of ml_dtypes
    torch = loaded_torch()
    tensor = plain_tensor(value).cpu()
    if tensor.is_floating_point() and tensor.dtype not in (torch.float16, torch.float32, torch.float64):
        tensor = tensor.float()
    return tensor.numpy()


def plain_tensor(value: Any) -> Any:
    """Return a tensor of PyTorch's of any kind as one whose numbers lie side by side, where it is; it may share memory."""
    torch = loaded_torch()
    tensor = value.detach()
    if tensor.is_nested:
        tensor = torch.nested.to_padded_tensor(tensor, 0.0)
    elif tensor.is_quantized:
        tensor = tensor.dequantize()
    elif tensor.layout != torch.strided:
        tensor = tensor.to_dense()
    return tensor.resolve_conj().resolve_neg()


def like(value: Any, numbers: np.ndarray) -> Any:
    """Return numbers as a tensor of the library, device and type of another."""
    if is_torch(value):
        torch = loaded_torch()
        return torch.from_numpy(np.ascontiguousarray(numbers)).to(value.device, value.dtype)
    if isinstance(value, np.ndarray):
        return numbers.astype(value.dtype, copy=False)
    return _of_library(value, numbers)


def _of_library(value: Any, numbers: np.ndarray) -> Any:
    """Return numbers as an array of the library of another one."""
    namespace = getattr(value, "__array_namespace__", None)
    if namespace is not None:
        return namespace().asarray(numbers, dtype=value.dtype)
    return numbers.astype(np.asarray(value).dtype, copy=False)
