"""Files of activations as several commands take them: their options, and how they are opened."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from homolog.activations import Activations
from homolog.cli import loading, output

CommonRows = Annotated[
    bool,
    typer.Option(
        "--common-rows",
        help="Keep only the rows that all files hold, matched by example ids or else by digests of inputs, in one order; "
        "layers of a .zarr are read into memory.",
    ),
]

Ids = Annotated[
    list[str] | None,
    typer.Option(
        "--ids",
        help="The column or array that says whose the rows are, such as doc_id; may repeat: in each file the first that it has.",
    ),
]

LayersOfAll = Annotated[
    list[str] | None, typer.Option("--layers", "-l", help='Layers of every file, names or globs such as "blocks.*".')
]

Workspace = Annotated[str, typer.Option(help="Workspace for what is formed and thrown away.")]

ChosenLayers = Annotated[
    list[str] | None, typer.Option("--layers", "-l", help='A layer or a glob, such as "blocks.*"; may repeat.')
]

Reductions = Annotated[
    list[str] | None,
    typer.Option(
        "--reduce", help="flatten, mean, first, last or positions; or GLOB=REDUCTION for some layers; may repeat."
    ),
]

Sketches = Annotated[
    list[str] | None,
    typer.Option(
        "--sketch",
        help="Keep two random projections of so many columns, a multiple of 16 such as 512, of every layer of more than twice as "
        "many features; or GLOB=COLUMNS for some layers; may repeat.",
    ),
]

Seed = Annotated[int, typer.Option(help="Seed of the sketches.")]

SkipFirst = Annotated[
    int, typer.Option(help="Tokens at the beginning of each example that mean, first, last and positions leave out.")
]

Channels = Annotated[str | None, typer.Option(help="Where maps keep their channels: first or last.")]

BatchSize = Annotated[int, typer.Option(help="Examples per batch, where the data are one array.")]

MaxExamples = Annotated[int | None, typer.Option(help="Most examples to take.")]

DType = Annotated[str | None, typer.Option(help="float16, float32 or float64 to store.")]

Device = Annotated[str | None, typer.Option(help="Where to run, such as cuda; the model's own by default.")]

Out = Annotated[Path | None, typer.Option(help="Write the result here (.nc, for xarray.load_dataset).")]

Report = Annotated[Path | None, typer.Option(help="Write a page to send to a colleague here (.html).")]


def opened(
    files: list[Path], layers: list[list[str] | None], common_rows: bool, ids: list[str] | None
) -> dict[str, Activations]:
    """Open files of activations, and keep their common rows if asked."""
    models = loading.activations(files, layers, ids or [])
    if not common_rows:
        return models
    kept = loading.with_common_rows(models)
    output.tell_common_rows(models, next(iter(kept.values())).n)
    return kept
