"""What a result of `redundancy` says, as tables: one row per run of blocks, per block, or per layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from homolog.activations import unknown_among
from homolog.analysis.redundant.reading import FORMS, checked
from homolog.result_kinds import REDUNDANCY, check_kind

if TYPE_CHECKING:
    import pandas
    import xarray


def redundancy_table(result: xarray.Dataset, variable: str | None = None) -> pandas.DataFrame:
    """Return the best runs of blocks, or the values of one variable with the names that belong to them."""
    if variable is None:
        return runs_table(checked(result))
    check_kind(result, REDUNDANCY)
    if variable not in result.data_vars:
        raise KeyError(unknown_among("variable", variable, list(map(str, result.data_vars))))
    table = result[variable].to_dataframe().reset_index()
    return table.dropna(subset=[variable]).reset_index(drop=True)


def runs_table(result: xarray.Dataset) -> pandas.DataFrame:
    """Return for each number of blocks the run of least angular distance, and the loss without it where it was measured."""
    import pandas

    spans = result.span.values
    found: dict[str, Any] = {"blocks": spans}
    for suffix in FORMS:
        if f"best_start{suffix}" in result:
            starts = [str(start) for start in result[f"best_start{suffix}"].values]
            found[f"first{suffix}"] = starts
            found[f"last{suffix}"] = [
                last_block(result, start, span) for start, span in zip(starts, spans, strict=True)
            ]
            found[f"angular_distance{suffix}"] = result[f"best_value{suffix}"].values
            found[f"ties{suffix}"] = result[f"best_ties{suffix}"].values
    if "best_loss" in result:
        found["loss"] = result.best_loss.values
        found["loss_change"] = result.best_loss.values - float(result.attrs["baseline_loss"])
    return pandas.DataFrame(found)


def last_block(result: xarray.Dataset, start: str, span: int) -> str:
    """Return the last block of a run."""
    if not start:
        return ""
    names = [str(name) for name in result.block.values]
    return names[names.index(start) + int(span) - 1]


def blocks_table(result: xarray.Dataset) -> pandas.DataFrame:
    """Return what is known of each block."""
    import pandas

    found = {"block": result.block.values, "input": result.input.values}
    found |= _columns(result, ("influence", "norm_growth", "loss"))
    if "loss" in found:
        found["loss_change"] = found["loss"] - float(result.attrs["baseline_loss"])
    return pandas.DataFrame(found)


def layers_table(result: xarray.Dataset) -> pandas.DataFrame:
    """Return what is known of each layer."""
    import pandas

    found = {"layer": result.layer.values}
    names = ("norm", "norm_median", "effective_rank", "participation_ratio", "mean_share")
    found |= _columns(result, names)
    found |= {"top_feature": result.top_feature.values[:, 0], "top_share": result.top_share.values[:, 0]}
    return pandas.DataFrame(found | _columns(result, ("top_position", "top_position_share", "accuracy")))


def _columns(result: xarray.Dataset, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    return {
        name + suffix: result[name + suffix].values for name in names for suffix in FORMS if name + suffix in result
    }
