"""What a function computes, as far as it can be written down, so that a later process can tell it from another one.

A function is digested through its bytecode and everything that it reaches: constants, defaults, closure, the global names that it
reads, and what they reach in turn. Functions of installed libraries are known by their names.
"""

from __future__ import annotations

import argparse
import contextvars
import enum
import functools
import io
import logging
import random
import re
import weakref
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from homolog.extraction.code_reading import (
    MADE_BY,
    MOST_OBJECTS,
    NamesRead,
    codes_of,
    content_of,
    facts_of,
    globals_of,
    imported_files,
    is_library,
    is_library_module,
    own_bases,
    own_file,
    parts_of_wrapper,
)
from homolog.extraction.digests import IncomparableError, hashed, numbers, reduced, written_digest
from homolog.extraction.model_code import attributes_of, hooks_of
from homolog.extraction.tensors import is_module, is_of_torch, is_torch

_PLAIN = (bool, int, float, complex, str, bytes, type(None), type(Ellipsis), type(NotImplemented), range)
_WRAPPERS = (MethodType, functools.partial, functools.partialmethod, staticmethod, classmethod, property)
_CODE = (FunctionType, type, ModuleType, CodeType, BuiltinFunctionType, *_WRAPPERS, functools.cached_property)
"""What is code, not a value that code reads."""
_NAMESPACES = (SimpleNamespace, argparse.Namespace)
_WITHOUT_NUMBERS = (
    "_thread",
    "threading",
    "multiprocessing.synchronize",
    "concurrent.futures.thread",
    "logging",
    "tqdm",
)
"""Modules of locks, threads, loggers and progress bars, which take part in no computation: known by their types."""
_DEVICE = re.compile(r"(cpu|cuda|mps|xpu)(:\d+)?")
_EVERYBODYS = (random._inst, np.random.mtrand._rand)
"""Random generators of the libraries: their state is that of the process."""
_SLOTS = ("member_descriptor", "getset_descriptor")
_DESCRIPTORS = ("method_descriptor", "wrapper_descriptor", "method-wrapper", "classmethod_descriptor", *_SLOTS)


class CodeDigest:
    """Digests of objects and of what they reach; each object is digested once.

    With `values_read`, values that code reads go there, under names that a reader knows, instead of into the digest of the code.
    `names_read` says which attributes of objects count.
    """

    def __init__(self, names_read: NamesRead, values_read: dict[str, list[str]] | None = None) -> None:
        self._names_read, self._values_read = names_read, values_read
        self._value_digest = self if values_read is None else CodeDigest(names_read)
        self._known: dict[tuple[int, bool], bytes] = {}
        self._open: list[tuple[int, bool]] = []
        self._kept: list[Any] = []
        """Objects made on the way, whose numbers must not be given to others."""

    def of(self, value: Any, *, made: bool = True) -> bytes:
        """Return the digest of an object; of a class as code that makes objects, or only as what its objects do."""
        if isinstance(value, _PLAIN):
            return hashed(type(value).__name__, repr(value))
        key = (id(value), made)
        if key in self._known:
            return self._known[key]
        if key in self._open:  # an object that reaches itself
            return hashed("above", str(len(self._open) - self._open.index(key)))
        if len(self._known) > MOST_OBJECTS or len(self._open) > 200:
            raise IncomparableError("more objects than can be followed")
        self._open.append(key)
        try:
            found = hashed(*self._parts(value, made))
        finally:
            self._open.pop()
        self._known[key] = found
        self._kept.append(value)
        return found

    def part(self, name: str, value: Any) -> bytes:
        """Digest what code reads under some name: code into its own digest, values apart."""
        if self._values_read is None or self._is_code(value):
            return self.of(value)
        if _has_own_code(value):
            return self._parts_of_own(name, value)
        self._values_read.setdefault(name, []).append(self._value_digest.written(value))
        return b""

    def _is_code(self, value: Any) -> bool:
        return isinstance(value, _CODE) or parts_of_wrapper(value) is not None

    def named(self, label: str, name: str, value: Any) -> Iterator[str | bytes]:
        """Yield a name and the digest of what code reads under it; nothing where that goes apart: it may come and go."""
        found = self.part(label, value)
        if found:
            yield name
            yield found

    def placed(self, place: str, name: str, hook: Any) -> bytes:
        """Digest a hook and where it is."""
        return hashed(place, self.part(name, hook))

    def attribute(self, name: str, value: Any) -> bytes:
        """Digest an attribute of a module: a part of its own, code or not."""
        if self._is_code(value):
            return self.separate(name, lambda: self.part(name, value))
        return self.part(name, value)

    def separate(self, name: str, of: Callable[[], bytes]) -> bytes:
        """Digest a part of its own; with `values_read` it goes there, so that a refusal can name it."""
        if self._values_read is None:
            return of()
        self._values_read.setdefault(name, []).append(written_digest(of))
        return b""

    def written(self, value: Any) -> str:
        """Write a value so that equal texts mean equal values; `comparable` says whether they do."""
        if is_of_torch(value, "device") or (isinstance(value, str) and _DEVICE.fullmatch(value)):
            return "a device"  # whose rounding is its own
        if isinstance(value, _PLAIN) and len(repr(value)) <= 40:
            return repr(value)
        return written_digest(lambda: self.of(value), f"a {type(value).__name__}")

    def _parts_of_own(self, name: str, value: Any) -> bytes:
        """Digest the class of an object of the user's own as code, and its attributes apart."""
        key = (id(value), True)
        if key in self._known or key in self._open:
            return self._known.get(key, b"above")
        self._open.append(key)
        try:
            parts: list[str | bytes] = [self.of(type(value), made=False)]
            owner = name if type(value) in _NAMESPACES else type(value).__name__
            for attribute, item in sorted(vars(value).items()):
                if self._names_read.counts(attribute):
                    parts += self.named(f"{owner}.{attribute}", attribute, item)
        finally:
            self._open.pop()
        self._known[key] = hashed(name, *parts)
        self._kept.append(value)
        return self._known[key]

    def _parts(self, value: Any, made: bool) -> Iterator[str | bytes]:
        """Yield what makes an object what it is."""
        yield type(value).__qualname__
        inner = parts_of_wrapper(value)
        if inner is not None:
            for item in inner:
                yield self.part(f"what {name_of(value)} holds", item)
        elif isinstance(value, CodeType):
            yield from self._code(value)
        elif isinstance(value, FunctionType):
            yield from self._function(value)
        elif isinstance(value, type):
            yield from self._class(value, made)
        elif isinstance(value, BuiltinFunctionType):
            yield f"{value.__module__}.{value.__qualname__}"
            if not isinstance(value.__self__, ModuleType | type | None):
                yield self.part(f"what {value.__name__} holds", value.__self__)
        elif isinstance(value, ModuleType):
            yield from self._source(value.__name__, None if is_library_module(value) else own_file(value.__name__))
        elif is_torch(value) or isinstance(value, np.ndarray | np.generic):
            yield from numbers(value)
        elif is_module(value):
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
        if is_library(function) and function.__closure__ is None and "<" not in function.__qualname__:
            yield f"{function.__module__}.{function.__qualname__}"
            return
        yield self.of(function.__code__)
        arguments = function.__code__.co_varnames[: function.__code__.co_argcount]
        defaults = function.__defaults__ or ()
        named = [*zip(arguments[len(arguments) - len(defaults) :], defaults, strict=True)]
        named += [*(function.__kwdefaults__ or {}).items()]
        named += [*zip(function.__code__.co_freevars, map(content_of, function.__closure__ or ()), strict=True)]
        for name, value in [*named, *globals_of(function)]:
            yield from self.named(f"{name} of {name_of(function)}", name, value)
        package = function.__globals__.get("__package__")
        for code in codes_of(function.__code__):
            if facts_of(code).any_global:
                yield from self._source(function.__module__, own_file(function.__module__))
            for name, file in imported_files(code, package):
                yield from self._source(name, file)

    def _source(self, name: str, file: Path | None) -> Iterator[str | bytes]:
        """Yield the name of a module; of the user's own also its code as a whole, and of those that it imports."""
        yield name
        key = (hash(("source", name)), True)
        if file is None or key in self._known:
            return
        self._known[key] = b""
        data = file.read_bytes()
        try:
            code = compile(data, name, "exec", dont_inherit=True)
        except (SyntaxError, ValueError):  # a library of machine code
            yield data
            return
        yield self.of(code)
        package = name if file.name == "__init__.py" else name.rpartition(".")[0]
        for part in codes_of(code):
            for inner, its in imported_files(part, package):
                yield from self._source(inner, its)

    def _class(self, kind: type, made: bool) -> Iterator[str | bytes]:
        yield f"{kind.__module__}.{kind.__qualname__}"
        if is_library(kind):
            return
        for base in kind.__mro__[1:]:
            yield f"{base.__module__}.{base.__qualname__}"
        for base in own_bases(kind):
            for name, value in sorted(vars(base).items()):
                counts = self._names_read.counts(name) or (made and name in MADE_BY)
                if counts and not name.startswith("_abc") and type(value).__name__ not in _SLOTS:
                    yield from self.named(f"{base.__name__}.{name}", name, value)

    def parts_of_model(self, model: Any) -> Iterator[str | bytes]:
        """Yield what modules compute, without their weights."""
        for name, module in model.named_modules():
            kind = type(module)
            yield f"{name}\0{kind.__module__}.{kind.__qualname__}"
            if is_of_torch(module, "jit.ScriptModule"):
                yield str(getattr(module, "code", ""))
                continue
            if hasattr(module, "_orig_mod"):  # compiled: the module inside is listed too
                continue
            yield self.separate(f"code of {kind.__name__}", partial(self.of, kind, made=False))
            for place, hook in hooks_of(module):
                label = f"hook of {kind.__name__}"
                yield self.separate(label, partial(self.placed, f"{name} {place}", label, hook))
            for attribute, value in attributes_of(module, self._names_read):
                yield attribute if self._values_read is None else ""
                yield self.attribute(f"{kind.__name__}.{attribute}", value)

    def _module(self, module: Any) -> Iterator[str | bytes]:
        yield from self.parts_of_model(module)
        for name, value in sorted(module.state_dict().items()):
            yield name
            yield self.of(value)

    def _container(self, value: Any) -> Iterator[str | bytes]:
        if isinstance(value, set | frozenset | weakref.WeakSet):
            yield from sorted(map(self.of, value))
        elif type(value) in (tuple, list):
            yield from map(self.of, value)
        elif isinstance(value, Mapping) and type(value) in (
            dict,
            weakref.WeakValueDictionary,
            weakref.WeakKeyDictionary,
        ):
            for key, item in value.items():
                yield self.of(key)
                yield self.of(item)
        elif isinstance(value, weakref.ref):
            yield self.of(value())
        elif isinstance(value, contextvars.ContextVar):
            yield from (value.name, self.of(value.get(None)))
        elif isinstance(value, enum.Enum):
            yield from (f"{type(value).__module__}.{type(value).__qualname__}", value.name, self.of(value.value))
        elif is_of_torch(value, "jit.ScriptFunction"):
            yield str(value.code)
        elif is_of_torch(value, "Generator"):
            yield self.of(value.get_state())
        elif not _is_without_numbers(value):
            yield from self._object(value)

    def _object(self, value: Any) -> Iterator[str | bytes]:
        """Yield what pickle would keep of any other object; of one of the user's own, what code reads of it."""
        if type(value).__name__ in _DESCRIPTORS or isinstance(value, np.ufunc):
            yield f"{getattr(value, '__objclass__', '')}{value.__name__}"
            return
        if _has_own_code(value):
            yield self.of(type(value), made=False)
            for name, item in sorted(vars(value).items()):
                if self._names_read.counts(name):
                    yield name
                    yield self.of(item)
            return
        try:
            kept = reduced(value)
        except Exception as error:
            raise IncomparableError(f"an object of type {type(value).__name__}") from error
        if isinstance(kept, str):
            yield f"{type(value).__module__}.{kept}"
            return
        parts = [list(part) if isinstance(part, Iterator) else part for part in kept]
        self._kept.append(parts)
        if len(parts) > 2 and is_library(type(value)):
            parts[2] = _without_places(parts[2])
            self._kept.append(parts[2])
        yield from map(self.of, parts)


def name_of(function: Any) -> str:
    """Return the name of a function, or of the type of an object that is called."""
    return (getattr(function, "__qualname__", None) or type(function).__name__).replace(".<locals>", "")


def _has_own_code(value: Any) -> bool:
    """Say whether a value is an object of a class of the user's own, which says nothing of how it is to be kept."""
    kind = type(value)
    if kind in _NAMESPACES:
        return True
    if (
        is_library(kind)
        or isinstance(value, enum.Enum | type)
        or is_module(value)
        or is_torch(value)
        or not hasattr(value, "__dict__")
    ):
        return False
    ways = ("__reduce__", "__reduce_ex__", "__getstate__")
    usual = all(getattr(kind, way, None) is getattr(object, way, None) for way in ways)
    return usual and kind.__basicsize__ == _Plain.__basicsize__


class _Plain:
    """As large as objects that hold nothing but their attributes."""


def _is_without_numbers(value: Any) -> bool:
    """Say whether a value takes part in no computation: a lock, a logger, a progress bar, a file that is only written."""
    if isinstance(value, io.IOBase):
        return value.closed or not value.readable()
    if any(value is generator for generator in _EVERYBODYS) or is_of_torch(value, "device"):
        return True
    return isinstance(value, logging.Logger) or type(value).__module__.startswith(_WITHOUT_NUMBERS)


_OF_THE_PROCESS = ("_original_object_hash",)
"""What libraries keep that is another number in every process: Python's hash of a text, in transformers' GenerationConfig."""


def _without_places(state: Any) -> Any:
    """Leave out of what an object of a library keeps what differs between folders, as texts that name files, or processes."""
    if type(state) is not dict:
        return state
    return {
        key: item
        for key, item in state.items()
        if not (isinstance(item, str) and ("/" in item or "\\" in item)) and key not in _OF_THE_PROCESS
    }
