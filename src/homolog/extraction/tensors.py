"""Tensors of whatever library: what is one, and its numbers as an array of NumPy's. PyTorch is never imported here."""

from __future__ import annotations

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
    if isinstance(value, np.ndarray | np.generic) or is_torch(value) or isinstance(value, type):
        return False
    described = hasattr(value, "shape") and hasattr(value, "dtype") and hasattr(value, "ndim")
    return described and any(hasattr(value, way) for way in ("__dlpack__", "__array__"))


def is_tensor(value: Any) -> bool:
    """Say whether a value holds numbers along axes: a tensor, or an array that is not of text or objects."""
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "biufc"
    return is_torch(value) or is_foreign(value)


def is_plain(value: Any) -> bool:
    """Say whether a value is a tensor with axes whose numbers can be read at once: not nested, sparse or without values."""
    if not is_tensor(value):
        return False
    return not is_torch(value) or not (value.is_nested or value.is_meta or value.layout != loaded_torch().strided)


def is_floating(value: Any) -> bool:
    """Say whether a tensor holds real floating numbers."""
    if is_torch(value):
        return bool(value.is_floating_point())
    return is_tensor(value) and (
        value.dtype.kind == "f" if isinstance(value, np.ndarray) else "float" in str(value.dtype)
    )


def is_complex(value: Any) -> bool:
    """Say whether a tensor holds complex numbers."""
    return "complex" in str(getattr(value, "dtype", ""))


def is_boolean(value: Any) -> bool:
    """Say whether a tensor holds true and false."""
    return "bool" in str(getattr(value, "dtype", ""))


def numbers_of(value: Any) -> np.ndarray:
    """Return the numbers of a tensor as an array of NumPy's; it may share memory. Small floats come as float32."""
    if not is_torch(value):
        array = np.asarray(value)
        return array.astype(np.float32) if array.dtype.kind == "V" else array  # bfloat16 and float8 of ml_dtypes
    torch = loaded_torch()
    tensor = value.detach()
    if tensor.is_nested:
        tensor = torch.nested.to_padded_tensor(tensor, 0.0)
    elif tensor.is_quantized:
        tensor = tensor.dequantize()
    elif tensor.layout != torch.strided:
        tensor = tensor.to_dense()
    tensor = tensor.resolve_conj().resolve_neg().cpu()
    if tensor.is_floating_point() and tensor.dtype not in (torch.float16, torch.float32, torch.float64):
        tensor = tensor.float()
    return tensor.numpy()  # type: ignore[no-any-return]


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
