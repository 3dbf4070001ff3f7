"""The command that says whether a change of a network changed its layers."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

import homolog
from homolog.analysis.junit import junit_xml
from homolog.cli import loading, output
from homolog.cli.inputs import CommonRows, Ids, Workspace, opened


def check(
    before: Annotated[Path, typer.Argument(help="Activations of the network before the change.")],
    after: Annotated[Path, typer.Argument(help="Activations of the network after it, of the same examples.")],
    at_least: Annotated[
        list[str] | None,
        typer.Option(
            help='What a similarity must reach: MEASURE=NUMBER, such as "cka(estimator=debiased)=0.98", or '
            'MEASURE=NUMBER@LAYERS for some layers, such as "cka=0.9@head"; may repeat.'
        ),
    ] = None,
    at_most: Annotated[
        list[str] | None, typer.Option(help="The same for a distance, which must stay below; may repeat.")
    ] = None,
    layers: Annotated[
        list[str] | None,
        typer.Option("--layers", "-l", help='Layers of BEFORE to check, names or globs such as "encoder.*".'),
    ] = None,
    pairs: Annotated[
        str, typer.Option(help="same_name, or all: every layer with the most alike one of AFTER, whatever its name.")
    ] = "same_name",
    confidence: Annotated[
        float | None, typer.Option(help="Such as 0.95: the end of the interval of that level must hold, too.")
    ] = None,
    junit: Annotated[Path | None, typer.Option(help="Write the result for continuous integration here (.xml).")] = None,
    common_rows: CommonRows = False,
    ids: Ids = None,
    memory: Workspace = "2GiB",
) -> None:
    """Check that quantisation, pruning, an export or a refactoring left the layers as they were; exits 0 if so, 1 if not.

    Example:  homolog check before.zarr after.zarr --at-least "cka(estimator=debiased)=0.98" --confidence 0.95
    """
    output.check_target(junit, "--junit", (".xml",))
    began, clock = datetime.now(), time.perf_counter()
    first, second = opened([before, after], [None], common_rows, ids).values()
    if all(
        list(side) == [path.stem] for side, path in ((first, before), (second, after))
    ):  # one layer, called after its file
        first, second = (activations.rename(lambda _: "layer") for activations in (first, second))
    found = homolog.check(
        first,
        second,
        loading.thresholds(at_least),
        at_most=loading.thresholds(at_most),
        layers=layers or None,
        pairs=pairs,
        confidence=confidence,
        memory=memory,
    )
    output.print_check(found)
    if junit is not None:
        written = junit_xml(found, time.perf_counter() - clock, began)
        output.write_file(junit, lambda unfinished: Path(unfinished).write_bytes(written))
    if not found:
        raise typer.Exit(1)
