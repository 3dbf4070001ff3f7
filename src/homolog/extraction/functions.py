"""What a function computes, as far as it can be written down, so that a later process can tell it from another one.

A function is digested through its bytecode and everything that it reaches: constants, defaults, closure, the global names that it
reads, and what they reach in turn. Functions of installed libraries are known by their names.
"""

from __future__ import annotations

import dis
import functools
import hashlib
import logging
import math
import platform
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import nn

MOST_OBJECTS = 200_000
"""Objects that a function may reach; a data set in a closure is no part of a function."""
_PLAIN = (bool, int, float, complex, str, bytes, type(None), type(Ellipsis), type(NotImplemented), range)
_LIBRARIES = tuple(
    str(Path(place).resolve())
    for name, place in sysconfig.get_paths().items()
    if name in ("stdlib", "platstdlib", "purelib", "platlib")
)
_INTERNAL = set(nn.Module().__dict__)
"""What every module of PyTorch has: parameters, hooks and flags, which are no options of its computation."""


class IncomparableError(Exception):
    """Something cannot be told from another object of its type."""


def described_function(function: Callable[..., Any]) -> str:
    """Write a function so that equal texts mean the same computation; `comparable` says whether they do.

    Bytecode is that of one version of Python, which is therefore named.
    """
    # The code says what is computed, wherever it was written.
    name = (getattr(function, "__qualname__", None) or type(function).__name__).rsplit(".", 1)[-1]
    try:
        digest = Digest().of(function).hex()
    except RecursionError:
        return f"{name}, which {_UNKNOWN} because it holds what holds it"
    except IncomparableError as error:
        return f"{name}, which {_UNKNOWN} because it holds {error}"
    return f"{name} of code {digest} (Python {'.'.join(platform.python_version_tuple()[:2])})"


_UNKNOWN = "cannot be compared"


def comparable(text: str) -> bool:
    """Say whether a function that was written like this can be told from another."""
    return f", which {_UNKNOWN} because" not in text


def code_of_model(model: nn.Module) -> str:
    """Digest the code and the plain options of a model's modules, which their names and weights do not show.

    What cannot be compared is left out here: the weights tell models apart as well.
    """
    state, digest = hashlib.blake2b(digest_size=8), Digest()
    for name, module in model.named_modules():
        kind = type(module)
        state.update(f"{name}\0{kind.__module__}.{kind.__qualname__}".encode())
        for part in (kind, *_options_of(module)):
            try:
                state.update(digest.of(part))
            except (IncomparableError, RecursionError):
                continue
    return f"{state.hexdigest()} (Python {'.'.join(platform.python_version_tuple()[:2])})"


def _options_of(module: nn.Module) -> Iterator[Any]:
    """Yield the plain attributes and functions of a module; other libraries keep paths and dates in text."""
    foreign = _is_library(type(module)) and not type(module).__module__.startswith("torch.")
    kinds: tuple[type, ...] = (bool, int, float) if foreign else (bool, int, float, str, type(None))
    for key, value in sorted(vars(module).items()):
        if key in _INTERNAL or key.startswith("_") or isinstance(value, nn.Module):
            continue
        settings = vars(value) if isinstance(value, SimpleNamespace) else value
        items: list[Any] = list(value) if isinstance(value, tuple | list) else [value]
        if isinstance(settings, dict):
            value, items = settings, [*settings, *settings.values()]
        # A tensor of one number is an option; larger ones may be what a module keeps of its last call.
        single = isinstance(value, torch.Tensor | np.ndarray) and math.prod(value.shape) == 1
        if single or callable(value) or all(isinstance(item, kinds) for item in items):
            yield key, value
    for key in sorted(module._non_persistent_buffers_set):  # which are no part of the state that is saved
        yield key, getattr(module, key)


def _is_library(thing: Any) -> bool:
    """Say whether a function or class belongs to Python or an installed package, not to the user's own files."""
    module = _module_of(thing)
    if module is None:
        return False
    file = getattr(module, "__file__", None)
    if file is None:  # built in, or the module of a notebook or a prompt
        return module.__name__ != "__main__"
    return str(Path(file).resolve()).startswith(_LIBRARIES)


def _module_of(thing: Any) -> ModuleType | None:
    return sys.modules.get(getattr(thing, "__module__", None) or "")


class Digest:
    """Digests of objects and of what they reach; each object is digested once."""

    def __init__(self) -> None:
        self._known: dict[int, bytes] = {}
        self._open: list[int] = []
        self._kept: list[Any] = []
        """Objects made on the way, whose numbers must not be given to others."""

    def of(self, value: Any) -> bytes:
        """Return the digest of an object."""
        if isinstance(value, _PLAIN):
            return _hash(type(value).__name__, repr(value))
        if id(value) in self._known:
            return self._known[id(value)]
        if id(value) in self._open:  # an object that reaches itself
            return _hash("above", str(len(self._open) - self._open.index(id(value))))
        if len(self._known) > MOST_OBJECTS or len(self._open) > 200:
            raise IncomparableError("more objects than can be followed")
        self._open.append(id(value))
        try:
            found = _hash(*self._parts(value))
        finally:
            self._open.pop()
        self._known[id(value)] = found
        self._kept.append(value)
        return found

    def _parts(self, value: Any) -> Iterator[str | bytes]:
        """Yield what makes an object what it is."""
        yield type(value).__qualname__
        if isinstance(value, CodeType):
            yield from self._code(value)
        elif isinstance(value, FunctionType):
            yield from self._function(value)
        elif isinstance(value, MethodType | functools.partial | staticmethod | classmethod | property):
            yield from map(self.of, _parts_of_wrapper(value))
        elif isinstance(value, type):
            yield from self._class(value)
        elif isinstance(value, BuiltinFunctionType):
            yield f"{value.__module__}.{value.__qualname__}"
            if not isinstance(value.__self__, ModuleType | type | None):
                yield self.of(value.__self__)
        elif isinstance(value, ModuleType | logging.Logger):
            yield str(getattr(value, "__name__", None) or getattr(value, "name", ""))
        elif isinstance(value, torch.Tensor | np.ndarray | np.generic):
            yield from _numbers(value)
        elif isinstance(value, nn.Module):
            yield from self._module(value)
        else:
            yield from self._container(value)

    def _code(self, code: CodeType) -> Iterator[str | bytes]:
        yield code.co_code
        yield code.co_exceptiontable
        yield " ".join((*code.co_names, "|", *code.co_freevars, "|", *code.co_varnames[: code.co_argcount]))
        for constant in code.co_consts:
            yield self.of(constant)

    def _function(self, function: FunctionType) -> Iterator[str | bytes]:
        if _is_library(function) and function.__closure__ is None and "<" not in function.__qualname__:
            yield f"{function.__module__}.{function.__qualname__}"
            return
        yield self.of(function.__code__)
        yield self.of(function.__defaults__)
        yield self.of(function.__kwdefaults__)
        for cell in function.__closure__ or ():
            yield self.of(_content(cell))
        for name, value in _globals_of(function):
            yield name
            yield self.of(value)

    def _class(self, kind: type) -> Iterator[str | bytes]:
        yield f"{kind.__module__}.{kind.__qualname__}"
        if _is_library(kind):
            return
        for base in kind.__mro__[1:]:
            yield self.of(base)
        for name, value in sorted(vars(kind).items()):
            if name not in _ABOUT and not name.startswith("_abc") and type(value).__name__ not in _SLOTS:
                yield name
                yield self.of(value)

    def _module(self, module: nn.Module) -> Iterator[str | bytes]:
        yield code_of_model(module)
        for name, tensor in sorted(module.state_dict().items()):
            yield name
            yield self.of(tensor)

    def _container(self, value: Any) -> Iterator[str | bytes]:
        if isinstance(value, set | frozenset):
            yield from sorted(map(self.of, value))
        elif type(value) in (tuple, list):
            yield from map(self.of, value)
        elif isinstance(value, Mapping) and type(value) is dict:
            for key, item in value.items():
                yield self.of(key)
                yield self.of(item)
        else:
            yield from self._object(value)

    def _object(self, value: Any) -> Iterator[str | bytes]:
        """Yield what pickle would keep of any other object, and what it keeps of a function that wraps another."""
        wrapped = getattr(value, "__wrapped__", None)
        if callable(wrapped):
            yield self.of(wrapped)
            return
        if type(value).__name__ in _DESCRIPTORS or isinstance(value, np.ufunc):
            yield f"{getattr(value, '__objclass__', '')}{value.__name__}"
            return
        try:
            reduced = value.__reduce_ex__(4)
        except Exception as error:
            raise IncomparableError(f"an object of type {type(value).__name__}") from error
        if isinstance(reduced, str):
            yield f"{type(value).__module__}.{reduced}"
            return
        parts = [list(part) if isinstance(part, Iterator) else part for part in reduced]
        self._kept.append(parts)
        yield from map(self.of, parts)


_ABOUT = {"__dict__", "__weakref__", "__doc__", "__module__", "__annotations__", "__abstractmethods__"}
"""What a class says of itself that changes nothing it computes."""
_SLOTS = ("member_descriptor", "getset_descriptor")
_DESCRIPTORS = ("method_descriptor", "wrapper_descriptor", "method-wrapper", *_SLOTS)


def _hash(*parts: str | bytes) -> bytes:
    state = hashlib.blake2b(digest_size=8)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        state.update(len(data).to_bytes(8, "little"))
        state.update(data)
    return state.digest()


def _numbers(value: Any) -> Iterator[str | bytes]:
    if isinstance(value, torch.Tensor):
        if value.is_meta or value.layout != torch.strided or value.is_quantized:
            raise IncomparableError(f"a tensor of layout {value.layout} on {value.device}")
        value = value.detach().cpu().resolve_conj().resolve_neg().contiguous()
        yield f"{value.dtype} {tuple(value.shape)}"
        yield value.reshape(-1).view(torch.uint8).numpy().tobytes()
        return
    array = np.asarray(value)
    if array.dtype.hasobject:
        raise IncomparableError("an array of objects")
    yield f"{array.dtype} {array.shape}"
    yield array.tobytes()


def _parts_of_wrapper(value: Any) -> tuple[Any, ...]:
    if isinstance(value, MethodType):
        return value.__func__, value.__self__
    if isinstance(value, functools.partial):
        return value.func, value.args, value.keywords
    if isinstance(value, property):
        return value.fget, value.fset
    return (value.__func__,)


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


def _globals_of(function: FunctionType) -> list[tuple[str, Any]]:
    """Return the global names that a function reads, and the functions inside it, with what they stand for now."""
    found: dict[str, Any] = {}
    codes = [function.__code__]
    for code in codes:
        codes += [constant for constant in code.co_consts if isinstance(constant, CodeType)]
        steps = list(dis.get_instructions(code))
        for at, step in enumerate(steps):
            if step.opname not in ("LOAD_GLOBAL", "LOAD_NAME") or step.argval not in function.__globals__:
                continue
            name, value = str(step.argval), function.__globals__[step.argval]
            # Of a module only what is read of it counts.
            for following in steps[at + 1 :]:
                if not isinstance(value, ModuleType) or following.opname not in ("LOAD_ATTR", "LOAD_METHOD"):
                    break
                name, value = f"{name}.{following.argval}", getattr(value, following.argval, None)
            found[name] = value
    return sorted(found.items(), key=lambda item: item[0])
