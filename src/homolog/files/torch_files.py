"""Tensors in files of PyTorch's, read with `weights_only=True`: nothing in them runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from homolog.arrays import described, to_numpy
from homolog.files.contents import WEIGHTS, Contents, Entry, Refusal, entry_of, look_like_weights
from homolog.machine import optional
from homolog.names import quoted, writable


def read_torch(path: Path) -> Contents:
    """Read a tensor, or tensors in mappings and lists, whose names are joined by dots."""
    torch = optional("torch", "torch", f"reading {path.suffix}")
    content = torch.load(path, map_location="cpu", weights_only=True)
    if isinstance(content, torch.Tensor):
        content = {writable(path.stem): content}
    if not isinstance(content, Mapping | list | tuple):
        raise ValueError(f"{described(content)} instead of a tensor or a mapping of tensors")
    found: dict[str, Entry] = {}
    for name, value in _leaves(content, "") if len(content) else ():
        if name in found:
            raise Refusal(f"names must differ, got {quoted(name)} twice: rename one.")
        found[name] = _entry(torch, name, value)
    other = [name for name, entry in found.items() if entry.kind == "refused"]
    if other and look_like_weights(found):
        raise Refusal(f"the file must hold activations, got {quoted(other[0])} and more; {WEIGHTS}.")
    return Contents(found)


def _leaves(content: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Yield what is no mapping and no list, each with the names on the way to it."""
    dot = f"{name}." if name else ""
    if isinstance(content, Mapping) and content:
        for key, value in content.items():
            yield from _leaves(value, f"{dot}{key}")
    elif isinstance(content, list | tuple) and content and not _is_column(content):
        for place, value in enumerate(content):
            yield from _leaves(value, f"{dot}{place}")
    else:
        yield name, content


def _is_column(content: Any) -> bool:
    """Say whether a list holds one entry per row, such as ids."""
    return all(isinstance(value, str) for value in content) or all(type(value) in (int, float) for value in content)


def _entry(torch: Any, name: str, value: Any) -> Entry:
    if isinstance(value, list | tuple) and len(value):
        return Entry("text" if isinstance(value[0], str) else "numbers", lambda: list(value))
    if value is None or isinstance(value, Mapping | list | tuple):
        return Entry("other", what="nothing")
    if isinstance(value, str | int | float):
        return Entry("other", what="one text" if isinstance(value, str) else "one number")
    if not isinstance(value, torch.Tensor):
        return Entry("refused", what=f"must be a tensor, got {described(value)}: take it out")
    if value.layout != torch.strided or value.is_quantized or value.is_meta:
        return Entry(
            "refused",
            what=f"must be a dense tensor, got layout {value.layout} on {value.device}: convert it with .to_dense(), or "
            f".dequantize()",
        )
    # Arrays of files are NumPy's, so that files of every kind can be compared.
    dtype = to_numpy(value[:0] if value.ndim else value).dtype
    return entry_of(name, tuple(value.shape), dtype, lambda: to_numpy(value))
