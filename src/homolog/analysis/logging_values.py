"""A result as numbers under short names, for tools that draw curves over training."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from homolog.results import arranged, between, chosen_measure, marks, measure_names, models_in

if TYPE_CHECKING:
    import xarray

Matches = Literal["same_name", "best"]


def log_dict(
    result: xarray.Dataset,
    measures: Sequence[str] | str | None = None,
    *,
    matches: Matches | None = None,
    prefix: str = "",
) -> dict[str, float]:
    """Return the values of a result as a flat dict, for TensorBoard, Weights & Biases and other tools that log numbers.

    Parameters
    ----------
    result
        what `homolog.compare` returned.
    measures
        which of its measures; all by default.
    matches
        "same_name": the value of each layer of a with the layer of b of the same name. "best": the value of each layer of a
        with its best match, whichever that is. By default same names, or best matches where no name is in both models or where
        a model is compared with itself.
    prefix
        put before every key, such as "similarity/".

    Returns
    -------
    dict
        "measure/layer" → float, layers in the order of a; NaN where a pair has no value. Of many models
        "measure/model_a_model_b/layer", for each pair of different models once. Keys have only letters, digits and underscores,
        and "/" between their parts, by whose first part both tools group their charts. (Weights & Biases sorts runs by names
        without "/" alone: replace it where you need that.)
        So "cka(estimator=debiased)" and "encoder.layer.0" become "cka_estimator_debiased/encoder_layer_0". Names that become
        equal get "_2", "_3" and so on, in the order of the layers.

    Raises
    ------
    KeyError, ValueError
        If the result lacks a measure, or is not one; if `matches` is neither of the two, or no name is in both models.

    Notes
    -----
    Keys depend on the names alone, not on the values, so that the points of one curve stay together over training. Logging is one
    line: `wandb.log(hl.log_dict(result), step=step)`, or with TensorBoard
    `for key, value in hl.log_dict(result).items(): writer.add_scalar(key, value, step)`.

    Examples
    --------
    >>> import numpy as np, homolog as hl
    >>> x = np.random.default_rng(0).normal(size=(50, 4))
    >>> result = hl.compare({"block.0": x, "head": x[:, :2]}, {"block.0": 2 * x}, measures="cka")
    >>> {key: round(value, 6) for key, value in hl.log_dict(result, prefix="train/").items()}
    {'train/cka/block_0': 1.0}
    """
    if matches not in (None, "same_name", "best"):
        raise ValueError(f"matches must be 'same_name', 'best' or None, got {matches!r}.")
    result = arranged(result)
    asked = [measures] if isinstance(measures, str) else measures
    names = measure_names(result) if asked is None else [chosen_measure(result, name) for name in asked]
    found: dict[str, float] = {}
    for name in names:
        for models, part in _parts(result):
            for layer, value in _values(part, name, matches):
                key = prefix + "/".join(_word(piece) for piece in (name, *models, layer))
                found[_free(key, found)] = value
    return found


def _parts(result: xarray.Dataset) -> Iterator[tuple[list[str], xarray.Dataset]]:
    """Yield what is written of the models, and the result of two."""
    if "a" not in result.dims:
        yield [], result
        return
    models = models_in(result)
    for place, first in enumerate(models):
        for second in models[place + 1 :]:
            yield [f"{first}_{second}"], between(result, first, second)


def _values(result: xarray.Dataset, name: str, matches: Matches | None) -> list[tuple[str, float]]:
    """Return the layers of a and their values, those that have a match."""
    layers, others = (result[f"layer_{side}"].values.astype(str).tolist() for side in "ab")
    shared = [layer for layer in layers if layer in others]
    values = np.asarray(result[name].values, dtype=float)
    if matches == "best" or (matches is None and (not shared or int(result.attrs.get("same_model", 0)))):
        best = marks(result, name)
        return [(layer, float(values[i, best[i]]) if best[i] >= 0 else float("nan")) for i, layer in enumerate(layers)]
    if not shared:
        raise ValueError(
            "matches='same_name' needs layers of the same name in both models, got none: take matches='best'."
        )
    return [(layer, float(values[layers.index(layer), others.index(layer)])) for layer in shared]


def _word(name: str) -> str:
    """Return a name of letters, digits and underscores alone."""
    return re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_") or "_"


def _free(key: str, taken: dict[str, float]) -> str:
    count, found = 1, key
    while found in taken:
        count += 1
        found = f"{key}_{count}"
    return found
