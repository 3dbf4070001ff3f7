"""The record of a computation: what must be the same for a store to be continued, and what is different.

A record is text → text. The code of the model and of functions is one digest each; the values that this code reads stand apart,
by name, so that a refusal can name them and one that the computation itself changes need not be the same.
"""

from __future__ import annotations

import json
import platform
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from homolog.extraction.code_digests import CodeDigest, name_of
from homolog.extraction.code_reading import NamesRead
from homolog.extraction.digests import comparable, hashed, written_digest
from homolog.extraction.model_code import hooks_of
from homolog.extraction.options import Options
from homolog.extraction.provenance import as_text
from homolog.extraction.tensors import is_module, is_torch, loaded_torch

FUNCTIONS = ("layers", "reduce", "forward", "mask", "skip")
VALUES = "values"
"""Key of the values that code reads, as JSON."""
CHANGES = "changed by the computation"


def record_of(model: Any, options: Options) -> dict[str, str]:
    """Record the code of a model and of the functions given, and the values that they read.

    The model is a module of PyTorch's or a function; None for one whose digest says all.
    """
    functions = {what: getattr(options, what) for what in FUNCTIONS}
    names_read = NamesRead([model, *functions.values()])
    record: dict[str, str] = {}
    values: dict[str, str] = dict(_settings()) if is_module(model) else {}
    values_read: dict[str, list[str]] = {}
    code_of = _code_of_model if is_module(model) else _code_of_function
    record["code of the model"] = _written_code(lambda: code_of(model, CodeDigest(names_read, values_read)))
    values |= _text_by_name(values_read)
    for what, function in functions.items():
        values_read = {}

        def written(one: Any, what: str = what, values_read: dict[str, list[str]] = values_read) -> str:
            code = _written_code(lambda: CodeDigest(names_read, values_read).part(name_of(one), one))
            return f"{name_of(one).rsplit('.', 1)[-1]} of {code}"

        record[what] = as_text(function, written)
        values |= {f"{what}: {name}": text for name, text in _text_by_name(values_read).items()}
    return record | {VALUES: json.dumps(values, sort_keys=True)}


def _code_of_function(model: Any, digest: CodeDigest) -> bytes:
    return b"" if model is None else digest.part(name_of(model), model)


def _code_of_model(model: Any, digest: CodeDigest) -> bytes:
    for place, hook in hooks_of(None):
        digest.separate("hook of all modules", partial(digest.placed, place, "hook of all modules", hook))
    for name, value in sorted(model.state_dict().items()):
        if not has_plain_bytes(value):
            digest.part(f"{type(model).__name__}.{name}", value)
    # What went apart is empty here, and may come and go.
    return hashed(*(part for part in digest.parts_of_model(model) if part))


def has_plain_bytes(value: Any) -> bool:
    """Say whether part of a model's state is digested with its weights."""
    return is_torch(value) and value.layout == loaded_torch().strided and not value.is_quantized and not value.is_meta


def _written_code(digested: Callable[[], bytes]) -> str:
    digest = written_digest(digested)
    # Bytecode is that of one version of Python.
    return f"code {digest} (Python {'.'.join(platform.python_version_tuple()[:2])})"


def _text_by_name(values_read: Mapping[str, list[str]]) -> dict[str, str]:
    """Write all values of one name as one text."""
    return {name: _one_text(texts) for name, texts in values_read.items()}


def _one_text(texts: list[str]) -> str:
    unknown = next((text for text in texts if not comparable(text)), None)
    if unknown is not None or len(set(texts)) == 1:
        return unknown or texts[0]
    return hashed(*texts).hex()


def _settings() -> Iterator[tuple[str, str]]:
    """Yield what PyTorch itself was told that changes more than rounding: precision and types."""
    torch = loaded_torch()
    for device in ("cpu", "cuda"):
        yield f"autocast on {device}", str(torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device))
    yield "default dtype", str(torch.get_default_dtype())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield "float32_matmul_precision", torch.get_float32_matmul_precision()
            yield "allow_tf32", f"{torch.backends.cuda.matmul.allow_tf32} {torch.backends.cudnn.allow_tf32}"
        except RuntimeError:  # set through older and newer names
            return


def values_of(record: Mapping[str, str]) -> dict[str, str]:
    """Return the values of a record; none where an earlier version wrote it."""
    try:
        found = json.loads(record.get(VALUES, "{}"))
    except ValueError:
        return {}
    return {str(name): str(text) for name, text in found.items()} if isinstance(found, dict) else {}


def first_difference(begun: Mapping[str, str], now: Mapping[str, str]) -> tuple[str, str, str] | None:
    """Return the first value that is another: its name, what it was and what it is."""
    before, after = values_of(begun), values_of(now)
    for name in sorted({*before, *after}):
        old, new = before.get(name, "none"), after.get(name, "none")
        if old != new and CHANGES not in (old, new):
            return name, old, new
    return None


def without_changes(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, str]:
    """Return a record with a note at each value that is another than before, since the computation changed it."""
    first, second = values_of(before), values_of(after)
    kept = {
        name: text if text == second.get(name) else CHANGES
        for name, text in {**dict.fromkeys(second, CHANGES), **first}.items()
    }
    return {**before, VALUES: json.dumps(kept, sort_keys=True)}


def with_notes(begun: Mapping[str, str], now: Mapping[str, str]) -> dict[str, str]:
    """Return a record with the notes of the one that it continues."""
    notes = {name: text for name, text in values_of(begun).items() if text == CHANGES}
    return {**now, VALUES: json.dumps(values_of(now) | notes, sort_keys=True)}


def incomparable_in(record: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return what cannot be compared: of the functions given, and of the model."""
    texts = {
        **{what: record[what] for what in (*FUNCTIONS, "code of the model") if what in record},
        **values_of(record),
    }
    found = {name: text for name, text in texts.items() if not comparable(text)}
    given = {name: text for name, text in found.items() if name.split(":")[0] in FUNCTIONS}
    return given, {name: text for name, text in found.items() if name not in given}
