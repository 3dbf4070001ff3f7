"""Texts as data: a model that brings its tokenizer is given them as it reads them, and what is padding is known from there."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

from homolog.arrays import described
from homolog.extraction.batch_contents import is_texts, map_leaves
from homolog.extraction.options import Options
from homolog.extraction.tensors import is_of_torch, is_torch
from homolog.extraction.wrappers import HOOKED, classes_of, unwrapped

SENTENCE_MODELS = ("sentence_transformers.SentenceTransformer", "sentence_transformers.BaseModel")
PAIRS = "sentence_transformers.CrossEncoder"
FED_BY_TOKENIZER = ("nnsight.Envoy", "transformers.Pipeline", PAIRS)
"""Models that are called with what a tokenizer gives; those of pairs too, before sentence-transformers 6."""


@dataclass(eq=False)
class Reader:
    """Calls a model with texts."""

    tokenizer: Any
    tokens_of: Callable[[list[Any]], Mapping[str, Any]]
    """Texts → what the model is called with, and "attention_mask" where positions may be padding."""
    call: Callable[[Any, list[Any], Mapping[str, Any]], Any]
    """call(model, texts, tokens)."""
    alone: bool = False
    """Whether the model is called in this way with tokens too."""
    _last: tuple[list[Any], Mapping[str, Any]] | None = field(default=None, repr=False)

    def __reduce__(self) -> tuple[str, tuple[str]]:
        settings = _settings_of(self.tokenizer)
        return type(self).__name__, (settings,)  # what must be the same for a store to be continued

    def __call__(self, model: Any, batch: Any) -> Any:
        """Run the model on a list of texts, or on what a tokenizer made of them."""
        if not isinstance(batch, list):
            return self.call(model, [], batch)
        device = next((weight.device for weight in model.parameters()), None)
        moved = map_leaves(lambda leaf: leaf.to(device) if is_torch(leaf) else leaf, self.read(batch))
        return self.call(model, batch, moved)

    def read(self, texts: list[Any]) -> Mapping[str, Any]:
        """Return what is made of texts; of the same ones as before without making it again, as each layer asks for the mask."""
        last = self._last
        if last is None or len(last[0]) != len(texts) or any(a is not b for a, b in zip(last[0], texts, strict=True)):
            self._last = last = texts, self.tokens_of(texts)
        return last[1]

    def mask(self, batch: Any) -> Any:
        """Return (examples, positions), true where a position counts."""
        return (self.read(batch) if isinstance(batch, list) else batch).get("attention_mask")

    def ids(self, batch: Any) -> Any:
        """Return the ids of the tokens (examples, positions)."""
        return (self.read(batch) if isinstance(batch, list) else batch)["input_ids"]


def _settings_of(tokenizer: Any) -> str:
    """Write what a tokenizer makes of texts, without the padding of its last batch."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    written = (
        repr(tokenizer) if backend is None else json.loads(backend.to_str()) | {"padding": None, "truncation": None}
    )
    return f"{getattr(tokenizer, 'model_max_length', None)} {getattr(tokenizer, 'padding_side', None)} {written}"


def reading_texts(model: Any, data: Any, options: Options) -> tuple[Any, Options]:
    """Return data and options by which a model that brings its tokenizer takes texts; others as they are."""
    data = _listed(data, pairs=PAIRS in classes_of(model))
    _refuse_gaps(data)
    if options.forward is not None:
        return data, options
    reader = reader_of(model) or reader_of(unwrapped(model))
    if reader is None:
        return data, options
    first, data = _first_of(data)
    if is_texts(data) or is_texts(first):
        return data, replace(options, forward=reader, mask=_with_rest(options.mask, reader.mask), ids=reader.ids)
    return data, replace(options, forward=reader) if reader.alone else options


def _with_rest(mask: Any, rest: Any) -> Any:
    """Return the masks of the caller, and `rest` for the layers of which they say nothing."""
    if mask is None:
        return rest
    return {**mask, "**": mask.get("**", rest)} if isinstance(mask, Mapping) else mask


def _listed(data: Any, *, pairs: bool) -> Any:
    """Return texts of an array, a tuple or a column as a list; with `pairs`, lists of two texts as tuples."""
    if pairs and isinstance(data, list) and all(isinstance(item, list) and is_texts(item) for item in data):
        return [tuple(item) for item in data]
    column = any(hasattr(data, way) for way in ("tolist", "to_list")) and getattr(data, "ndim", 1) == 1
    if isinstance(data, list | str | bytes) or is_torch(data) or not (isinstance(data, Sequence) or column):
        return data
    if not len(data) or not isinstance(next(iter(data)), str):
        return data
    return list(data)


def _refuse_gaps(data: Any) -> None:
    if isinstance(data, list) and data and isinstance(data[0], str) and not is_texts(data):
        row = next(i for i, item in enumerate(data) if not isinstance(item, str))
        raise TypeError(
            f"data that begin with a text must be texts throughout, got {described(data[row])} in row {row}: leave out what has "
            f"no text."
        )


def _first_of(data: Any) -> tuple[Any, Any]:
    """Return what the first batch holds, where that can be known, and the data."""
    if isinstance(data, Iterator):
        first = next(data, None)
        return first, data if first is None else chain([first], data)
    if is_of_torch(data, "utils.data.DataLoader") and hasattr(data.dataset, "__len__") and len(data.dataset):
        return [data.dataset[0]], data
    return (data[0] if isinstance(data, list | tuple) and data else None), data


def _is_sentence_model(model: Any) -> bool:
    return not classes_of(model).isdisjoint(SENTENCE_MODELS)


def reader_of(model: Any) -> Reader | None:
    """Return how a model reads texts; None of a model that has no tokenizer."""
    classes = classes_of(model)
    if classes.isdisjoint((*SENTENCE_MODELS, *HOOKED, *FED_BY_TOKENIZER)):
        return None
    tokenizer = getattr(model, "tokenizer", None)
    if _is_sentence_model(model):
        return Reader(
            tokenizer,
            lambda texts: _sentence_tokens(model, texts),
            lambda model, texts, tokens: model(tokens),
            alone=True,
        )
    if tokenizer is None:
        return None
    if not classes.isdisjoint(HOOKED):
        return Reader(tokenizer, lambda texts: _hooked_tokens(model, texts), lambda model, texts, tokens: model(texts))
    return Reader(
        tokenizer,
        # On the right, where padding moves no position of those that models count from the left.
        lambda texts: dict(tokenizer(texts, padding=True, padding_side="right", return_tensors="pt")),
        lambda model, texts, tokens: model(**tokens),
    )


def _sentence_tokens(model: Any, texts: list[Any]) -> Mapping[str, Any]:
    """Return the features that sentence-transformers makes of texts, with the prompt that its models put before them."""
    prompt = (getattr(model, "prompts", None) or {}).get(getattr(model, "default_prompt_name", None) or "")
    if hasattr(model, "preprocess"):
        return dict(model.preprocess(texts, prompt=prompt))
    return dict(model.tokenize([prompt + text for text in texts] if prompt else texts))


def _hooked_tokens(model: Any, texts: list[Any]) -> Mapping[str, Any]:
    """Return the tokens of TransformerLens; padding by lengths, because it may be the token that begins every text."""
    tokens = model.to_tokens(texts)
    lengths = tokens.new_tensor([model.to_tokens(text).shape[1] for text in texts])[:, None]
    places = tokens.new_ones(tokens.shape[1]).cumsum(0)[None]  # 1, 2, 3 …
    left = getattr(model.tokenizer, "padding_side", "right") == "left"
    kept = places > tokens.shape[1] - lengths if left else places <= lengths
    return {"attention_mask": kept, "input_ids": tokens}
