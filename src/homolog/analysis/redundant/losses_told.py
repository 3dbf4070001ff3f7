"""What the caller's own loss says of blocks, in sentences."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from homolog.analysis.redundant.reading import forms_of, number, told_spans
from homolog.analysis.redundant.tabulating import last_block
from homolog.diagnostics import listed
from homolog.names import shown

if TYPE_CHECKING:
    import xarray

FEW = 3
"""Blocks and runs that are told by name."""
HIGH = 0.75
"""Share of the blocks that have a lower loss than a block of which the summary says that its loss is high."""
CLEARLY = 2.0
"""Times the median rise of the loss that a high one is above."""
MOST_DIGITS = 6


def losses_told(result: xarray.Dataset) -> list[str]:
    """Return what is lost without blocks, where the caller's loss was measured."""
    if "loss" not in result:
        return []
    return [_least(result), *_order(result), *_misleading(result), *_runs(result)]


def written(values: Iterable[float]) -> dict[float, str]:
    """Return number → text, with as many digits as tell them apart.

    >>> list(written([5.10, 5.14]).values()), list(written([0.5, 0.25]).values())
    (['5.1', '5.14'], ['0.5', '0.25'])
    >>> list(written([5.1004, 5.1044, 5.1]).values())
    ['5.1004', '5.1044', '5.1']
    """
    known = [value for value in dict.fromkeys(values) if not math.isnan(value)]
    for digits in range(3, MOST_DIGITS + 1):
        texts = [number(value, digits) for value in known]
        if len(set(texts)) == len(texts):
            break
    return dict(zip(known, texts, strict=True)) if known else {}


def _text(value: float, others: dict[float, str]) -> str:
    return "NaN" if math.isnan(value) else others[value]


def _least(result: xarray.Dataset) -> str:
    """Say the loss of the whole network, without the block of least influence, and without that of which it is lowest."""
    base, single = float(result.attrs["baseline_loss"]), result.loss.values
    influence, blocks = result.influence.values, [shown(str(name)) for name in result.block.values]
    least = int(np.nanargmin(influence)) if np.isfinite(influence).any() else 0
    lowest = int(np.nanargmin(single)) if np.isfinite(single).any() else least
    texts = written([base, single[least], single[lowest]])
    found = (
        f"Your loss is {_text(base, texts)} for the whole network, and {_text(single[least], texts)} without {blocks[least]}, "
        f"the block of least influence"
    )
    if np.isfinite(single[lowest]) and not single[lowest] >= single[least]:
        found += f"; it is lowest without {blocks[lowest]} ({_text(single[lowest], texts)})"
    return f"{found}."


def _order(result: xarray.Dataset) -> list[str]:
    influence, single = result.influence.values, result.loss.values
    if len(single) <= FEW or not np.isfinite([influence, single]).all() or not (np.ptp(single) and np.ptp(influence)):
        return []
    from scipy.stats import spearmanr

    agreement = float(spearmanr(influence, single).statistic)
    return [f"The orders of influence and of loss have a rank correlation of {agreement:.2f} over single blocks."]


def _misleading(result: xarray.Dataset) -> list[str]:
    """Name blocks of small influence, in any form, without which much is lost."""
    single = result.loss.values
    if len(single) <= FEW or not np.isfinite(single).all():
        return []
    told: dict[int, str] = {}
    texts, rise = written(single), single - float(result.attrs["baseline_loss"])
    large = (single > np.quantile(single, HIGH)) & (rise > CLEARLY * max(float(np.median(rise)), 0.0))
    for suffix, meaning in forms_of(result).items():
        values = result[f"influence{suffix}"].values
        small = values <= np.nanmedian(values) if np.isfinite(values).any() else np.zeros(len(values), dtype=bool)
        for place in np.flatnonzero(small & large):
            how = f" {meaning}" if suffix else ""
            name = shown(str(result.block.values[place]))
            told.setdefault(
                int(place), f"{name} (influence {number(values[place])}{how}, loss {texts[float(single[place])]})"
            )
    if not told:
        return []
    worst = sorted(told, key=lambda place: -single[place])
    return [
        f"Small influence is misleading here: in the lower half by influence, but among the quarter of the blocks without which "
        f"your loss is highest: {listed((told[place] for place in worst), FEW)}."
    ]


def _runs(result: xarray.Dataset) -> list[str]:
    """Say the loss without the first candidates for removal, each by its name, in every form."""
    spans = told_spans(result.span.values.tolist())
    forms = {suffix: words for suffix, words in forms_of(result).items() if f"best_loss{suffix}" in result}
    base = float(result.attrs["baseline_loss"])
    texts = written(
        [base, *(value for suffix in forms for value in result[f"best_loss{suffix}"].sel(span=spans).values)]
    )
    told: list[str] = []
    known: set[str] = set()
    for suffix, meaning in forms.items():
        runs = []
        for span in spans:
            start, loss = (result[f"{what}{suffix}"].sel(span=span).item() for what in ("best_start", "best_loss"))
            if start and not math.isnan(loss):
                last = f" to {shown(last_block(result, start, span))}" if span > 1 else ""
                runs.append(f"{shown(start)}{last} {texts[loss]}")
        new = [run for run in runs if run not in known]
        known |= set(new)
        if new:
            told.append(f"{f'of those chosen {meaning}: ' if suffix else ''}{', '.join(new)}")
    found = (
        f"Your loss without the first candidates for removal ({_text(base, texts)} with all blocks): {'; '.join(told)}."
    )
    return [found] if told else []
