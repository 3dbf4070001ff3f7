"""What code reads: names of attributes, global names, and modules that it imports as it runs."""

from __future__ import annotations

import dis
import functools
import importlib.util
import os
import site
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any, NamedTuple

from homolog.extraction.tensors import is_module

MOST_OBJECTS = 200_000
"""Objects that a function may reach; a data set in a closure is no part of a function."""
_SITES = tuple(
    f"{Path(place).resolve()}/"
    for place in (
        *(
            place
            for name, place in sysconfig.get_paths().items()
            if name in ("stdlib", "platstdlib", "purelib", "platlib")
        ),
        *site.getsitepackages(),
        site.getusersitepackages(),
    )
)
_BY_ANY_NAME = {"vars", "eval", "exec", "dir", "asdict", "astuple", "fields", "getmembers"}
"""Functions through which code reads attributes whose names do not stand in it."""
_NEVER_READ = {"__init__", "__new__", "__post_init__", "__repr__", "__str__", "__format__", "__doc__", "__module__"}
_NEVER_READ |= {"__annotations__", "__dict__", "__weakref__", "__slots__", "__match_args__", "__abstractmethods__"}
_NEVER_READ |= {"__dataclass_fields__", "__dataclass_params__", "__firstlineno__", "__static_attributes__", "__del__"}
_NEVER_READ |= {"__annotate__", "__annotate_func__", "__annotations_cache__", "__orig_bases__", "__parameters__"}
_NEVER_READ |= {"__getstate__", "__setstate__", "__reduce__", "__reduce_ex__", "__init_subclass__", "__replace__"}
"""Special names of a class that change nothing an object computes once it is there."""
_MODULE = ("torch.nn.modules.module", "Module")
"""The class of all modules of PyTorch."""
_ABOUT_THE_FILE = {"__file__", "__name__", "__doc__", "__spec__", "__loader__", "__package__", "__builtins__"}
MADE_BY = ("__new__", "__init__", "__post_init__")


def is_library(thing: Any) -> bool:
    """Say whether a function or class belongs to Python or an installed package, not to the user's own files."""
    name = getattr(thing, "__module__", None)
    module = sys.modules.get(name or "")
    return name != "__main__" and module is not None and is_library_module(module)


def is_library_module(module: ModuleType) -> bool:
    """Say whether a module is Python's or an installed package's."""
    if module.__name__ == "__main__":  # a script, a notebook or a prompt, also where a profiler or debugger runs it
        return False
    file = getattr(module, "__file__", None)
    return file is None or _is_library_file(file)  # without a file: built in


@functools.lru_cache(maxsize=4096)
def _is_library_file(file: str) -> bool:
    place = Path(file).resolve()
    return str(place).startswith(_SITES) or not {"site-packages", "dist-packages"}.isdisjoint(place.parts)


class CodeFacts(NamedTuple):
    """What one piece of code reads, without the functions inside it."""

    attributes: frozenset[str]
    """Names of attributes, and texts that may be some."""
    chains: tuple[tuple[str, ...], ...]
    """Global names, each with the attributes that are read of it at once."""
    imports: tuple[tuple[str, int, tuple[str, ...]], ...]
    """Modules that are imported: name, dots before it, and what is taken from them."""
    any_attribute: bool
    """Whether attributes are read whose names do not stand in the code."""
    any_global: bool
    texts: tuple[str, ...]


@functools.lru_cache(maxsize=8192)
def facts_of(code: CodeType) -> CodeFacts:
    """Read what a piece of code reads."""
    steps = list(dis.get_instructions(code))
    texts = tuple(constant for constant in code.co_consts if isinstance(constant, str))
    attributes = {part for text in texts if len(text) < 200 for part in text.split(".")}
    chains, imports, by_any_name = [], [], False
    for at, step in enumerate(steps):
        if step.opname in ("LOAD_ATTR", "LOAD_METHOD", "LOAD_SUPER_ATTR", "DELETE_ATTR"):
            attributes.add(str(step.argval))
            by_any_name |= step.argval in ("__dict__", "asdict", "astuple", "fields", "getmembers")
        elif step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            chains.append(_chain(steps, at))
            by_any_name |= step.argval in _BY_ANY_NAME or (step.argval == "getattr" and not _is_written_name(steps, at))
        elif step.opname == "IMPORT_NAME":
            dots, wanted = steps[at - 2].argval, steps[at - 1].argval
            imports.append((str(step.argval), int(dots or 0), tuple(wanted or ())))
    names = {chain[0] for chain in chains}
    any_global = "globals" in names or "__globals__" in attributes
    return CodeFacts(frozenset(attributes), tuple(chains), tuple(imports), by_any_name, any_global, texts)


def _chain(steps: list[dis.Instruction], at: int) -> tuple[str, ...]:
    found = [str(steps[at].argval)]
    for step in steps[at + 1 :]:
        if step.opname not in ("LOAD_ATTR", "LOAD_METHOD"):
            break
        found.append(str(step.argval))
    return tuple(found)


def _is_written_name(steps: list[dis.Instruction], at: int) -> bool:
    """Say whether the name that a call of getattr reads stands in the code."""
    end = next((i for i in range(at, len(steps)) if steps[i].opname.startswith(("PRECALL", "CALL"))), len(steps))
    arguments = [step for step in steps[at + 2 : end] if step.opname not in ("LOAD_ATTR", "LOAD_METHOD")]
    composed = any(step.opname.startswith(("BUILD", "BINARY", "FORMAT")) for step in arguments)
    return (
        bool(arguments)
        and arguments[0].opname == "LOAD_CONST"
        and isinstance(arguments[0].argval, str)
        and not composed
    )


def codes_of(function: FunctionType | CodeType) -> list[CodeType]:
    """Return the code of a function and of the functions inside it."""
    codes = [function if isinstance(function, CodeType) else function.__code__]
    for code in codes:
        codes += [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return codes


def globals_of(function: FunctionType) -> list[tuple[str, Any]]:
    """Return the global names that a function reads, and the functions inside it, with what they stand for now."""
    found: dict[str, Any] = {}
    namespace = function.__globals__
    for facts in map(facts_of, codes_of(function)):
        for name, *attributes in facts.chains:
            if name not in namespace or name in _ABOUT_THE_FILE:
                continue
            path, value = _followed(name, namespace[name], attributes)
            found[path] = value
        if {"environ", "getenv"} & ({part for chain in facts.chains for part in chain}):
            found |= {
                f"environment variable {text}": os.environ.get(text) for text in facts.texts if text in os.environ
            }
        if facts.any_global:
            found |= {text: namespace[text] for text in facts.texts if text in namespace}
    return sorted(found.items(), key=lambda item: item[0])


def _followed(path: str, value: Any, attributes: Iterable[str]) -> tuple[str, Any]:
    """Return what is read of a module, which is all that counts of it; of a library's no values, which are its own concern."""
    library = False
    for attribute in attributes:
        if not isinstance(value, ModuleType):
            break
        library = is_library_module(value)
        path, value = f"{path}.{attribute}", getattr(value, attribute, None)
    if value is os.environ or (library and not isinstance(value, FunctionType | type | ModuleType)):
        return path, None
    return path, value


def content_of(cell: Any) -> Any:
    """Return what a variable of a closure holds."""
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


def imported_files(code: CodeType, package: str | None) -> Iterator[tuple[str, Path | None]]:
    """Yield the modules that a function imports in its body: name, and file where it is the user's own."""
    facts = facts_of(code)
    imports = list(facts.imports)
    if {chain[0] for chain in facts.chains} & {"importlib", "import_module", "__import__"} or (
        "import_module" in facts.attributes
    ):
        imports += [
            (text, 0, ()) for text in facts.texts if text and all(part.isidentifier() for part in text.split("."))
        ]
    for name, dots, wanted in imports:
        if dots:
            above = (package or "").split(".")
            name = ".".join([*above[: len(above) - dots + 1], *([name] if name else [])])
        for module in (name, *(f"{name}.{part}" for part in wanted)):
            yield module, own_file(module)


def own_file(name: str) -> Path | None:
    """Return the file of a module of the user's own, without running it."""
    module = sys.modules.get(name)
    if module is None:
        top, *parts = name.split(".")
        try:
            spec = importlib.util.find_spec(top) if top else None
        except (ImportError, ValueError, AttributeError):
            return None
        if spec is None or spec.origin in ("built-in", "frozen"):
            return None
        if not parts:
            file = spec.origin
        else:
            places = [Path(place).joinpath(*parts) for place in spec.submodule_search_locations or ()]
            files = [file for place in places for file in (place / "__init__.py", place.with_suffix(".py"))]
            file = next((str(candidate) for candidate in files if candidate.is_file()), None)
    else:
        file = getattr(module, "__file__", None)
    return None if file is None or _is_library_file(file) else Path(file)


def own_bases(kind: type) -> list[type]:
    """Return a class and those above it that are no library's."""
    return [base for base in kind.__mro__ if not is_library(base)]


def parts_of_wrapper(value: Any) -> tuple[Any, ...] | None:
    """Return what a method, partial function, property or decorated function is made of; None for anything else."""
    if isinstance(value, MethodType):
        return value.__func__, value.__self__
    if isinstance(value, functools.partial | functools.partialmethod):
        return value.func, value.args, value.keywords
    if isinstance(value, property):
        return value.fget, value.fset
    if isinstance(value, functools.cached_property):
        return (value.func,)
    if isinstance(value, staticmethod | classmethod):
        return (value.__func__,)
    if isinstance(value, type):
        return None
    for name in ("_torchdynamo_orig_callable", "__wrapped__"):
        inner = vars(value).get(name) if hasattr(value, "__dict__") else None
        if callable(inner) and (name != "__wrapped__" or not isinstance(value, FunctionType)):
            return (inner,)
    return None


def is_ours(thing: Any) -> bool:
    """Say whether something is a hook of homolog, which listens to the model while it runs."""
    module = getattr(thing if isinstance(thing, FunctionType | type) else type(thing), "__module__", None)
    return str(module).startswith("homolog.")


class NamesRead:
    """The names that a computation reads of the objects it reaches; found by following calls by their names."""

    def __init__(self, roots: Iterable[Any] = ()) -> None:
        self.names: set[str] = set()
        self.everything = False
        self._methods: dict[str, list[Any]] = {}
        self._classes: set[type] = set()
        self._visited: dict[int, Any] = {}
        self._waiting = list(roots)
        while self._waiting:
            thing = self._waiting.pop()
            if id(thing) in self._visited:
                continue
            self._visited[id(thing)] = thing
            if len(self._visited) > MOST_OBJECTS:
                self.everything = True
                return
            try:
                self._visit(thing)
            except Exception:  # an object may do anything when it is looked at
                self.everything = True

    def counts(self, name: str) -> bool:
        """Say whether an attribute of this name may be read."""
        if name.startswith("__") and name.endswith("__"):
            return name not in _NEVER_READ
        return self.everything or name in self.names or name == "forward"

    def _visit(self, thing: Any) -> None:
        if is_ours(thing):
            return
        inner = parts_of_wrapper(thing)
        if inner is not None:
            self._waiting += inner
        elif isinstance(thing, FunctionType):
            self._function(thing)
        elif isinstance(thing, type):
            self._class(thing)
            if not is_library(thing):  # it may be called
                self._waiting += [
                    vars(kind)[name] for kind in own_bases(thing) for name in MADE_BY if name in vars(kind)
                ]
        elif is_module(thing):
            for module in thing.modules():
                self._class(type(module))
                self._waiting += [value for value in vars(module).values() if not isinstance(value, bool | int | str)]
        elif isinstance(thing, list | tuple | set | frozenset):
            self._waiting += thing
        elif isinstance(thing, Mapping):
            self._waiting += thing.values()
        elif not isinstance(thing, ModuleType) and type(thing).__module__ != "builtins":
            self._class(type(thing))
            self._waiting += getattr(thing, "__dict__", {}).values() if not is_library(type(thing)) else []

    def _function(self, function: FunctionType) -> None:
        own = not is_library(function)
        if function.__name__.startswith("__") and function.__code__.co_filename.startswith(("<string>", "<attrs")):
            return  # written by dataclasses and their like, which compare and print all attributes
        for facts in map(facts_of, codes_of(function)):
            self._learn(facts.attributes)
            self.everything |= own and facts.any_attribute
        self._waiting += [content_of(cell) for cell in function.__closure__ or ()]
        self._waiting += [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
        if own:
            self._waiting += [value for _, value in globals_of(function)]

    def _class(self, kind: type) -> None:
        if kind in self._classes:
            return
        self._classes.add(kind)
        for base in kind.__mro__:
            if base is object or (base.__module__, base.__name__) == _MODULE:
                continue
            for name, value in vars(base).items():
                self._methods.setdefault(name, []).append(value)
                if self.counts(name):
                    self._waiting.append(value)

    def _learn(self, names: Iterable[str]) -> None:
        for name in set(names) - self.names:
            self.names.add(name)
            self._waiting += self._methods.get(name, ())
