"""The page of a trajectory: a picture for each reference, and when each layer settles."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from homolog.analysis.trajectory_summary import checked, settling_table, trajectory_table
from homolog.plot.trajectories import trajectory
from homolog.reporting.sections import Section

if TYPE_CHECKING:
    import pandas
    import xarray

_READ = {
    "first": "How far each layer has gone from where it started.",
    "previous": "How much each layer changed since the checkpoint before: low where training moves it, 1 where it rests.",
    "last": "How near each layer is to its final form. All lines end where the last checkpoint is compared with itself.",
}


def sections_of(result: xarray.Dataset, groups: Any = None) -> tuple[str, list[Section]]:
    """Return what stands below the heading of the page, and its sections."""
    if groups is not None:
        raise ValueError("groups are of many models, got some beside a trajectory, which is of one: leave groups out.")
    compared = f"{result.sizes['step']} checkpoints of {result.attrs['model']}, {result.sizes['layer']} layers"
    return compared, list(_sections(result))


def _sections(result: xarray.Dataset) -> Iterator[Section]:
    name = checked(result, None)
    held = [each for each in ("last", "first", "previous") if each in result["against"].values]
    for against in held:
        figure: Any = trajectory(result, name, against=against).figure
        yield Section(
            f"Against the {against} checkpoint",
            (_READ[against],),
            figure,
            f"{name} of each layer with the {against} checkpoint, over training steps",
        )
    if "last" in held:
        yield Section(
            "When layers settle",
            ("A layer has settled at the step from which on it stays within 1 % of its final value.",),
            table=settling_table(result, name),
        )
    yield Section("Checkpoints", ("In the order of training.",), table=_checkpoints(result))
    yield Section("All values", (), table=trajectory_table(result, name))


def _checkpoints(result: xarray.Dataset) -> pandas.DataFrame:
    import pandas

    columns = {"step": "step", "checkpoint": "checkpoint", "same_as": "same network as", "same_by": "by its"}
    return pandas.DataFrame({title: result[name].values for name, title in columns.items()})
