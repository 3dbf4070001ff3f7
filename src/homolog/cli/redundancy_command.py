"""The command that says which blocks of a deep network change little."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

import homolog
from homolog.analysis.redundant.reading import forms_of
from homolog.cli import loading, output
from homolog.cli.inputs import Ids, Out, Report, Workspace
from homolog.machine import optional

if TYPE_CHECKING:
    import xarray


def redundancy(
    file: Annotated[
        Path,
        typer.Argument(
            help="Activations of one model: the input of the first block, then the output of each block, of equal width."
        ),
    ],
    blocks: Annotated[
        list[str] | None,
        typer.Option(
            "--blocks",
            "-b",
            help='These layers, names or globs such as "model.layers.*", the input of the first block first; may repeat.',
        ),
    ] = None,
    measure: Annotated[
        str, typer.Option("--measure", "-m", help="What all layers are compared by, beside cosines.")
    ] = "cka(estimator=debiased)",
    keep_features: Annotated[
        bool, typer.Option("--keep-features", help="Give no numbers without massive features.")
    ] = False,
    ids: Ids = None,
    out: Out = None,
    plot: Annotated[Path | None, typer.Option(help="Draw it here (.png, .pdf or .svg).")] = None,
    report: Report = None,
    memory: Workspace = "2GiB",
) -> None:
    """Say how much each block of a deep network changes what goes through it, and which run of blocks changes least.

    Prints a table of the blocks, and what the numbers say in a few sentences; where the output goes into a pipe or a file, the
    sentences go to standard error. What is lost without a block only your own loss says: homolog.redundancy takes it.

    Example:  homolog redundancy tokens.zarr --blocks model.embed_tokens --blocks "model.layers.*" --report report.html
    """
    output.check_target(out, "--out", (".nc",))
    output.check_target(plot, "--plot", (".png", ".pdf", ".svg"))
    output.check_target(report, "--report", (".html",))
    (activations,) = loading.activations([file], [None], ids or []).values()
    result = homolog.redundancy(
        activations,
        blocks=blocks or None,
        measure=measure,
        remove_features=None if keep_features else "massive",
        memory=memory,
    )
    print_blocks(result)
    if out is not None:
        output.write_file(out, partial(result.to_netcdf, engine=output.netcdf_engine()))
    if plot is not None:
        optional("matplotlib", "plot", "--plot").use("Agg")
        figure = homolog.plot.redundancy(result)
        output.write_file(plot, lambda target: figure.savefig(target, dpi=150))
    if report is not None:
        output.write_file(report, lambda unfinished: homolog.report(result, unfinished))
    print_lines(result)


def print_blocks(result: xarray.Dataset) -> None:
    """Print what each block changes, and below it the best run of each length."""
    forms = forms_of(result)
    names = [f"influence{suffix}" for suffix in forms]
    heads = [
        "block",
        *(f"influence{', ' if suffix else ''}{meaning if suffix else ''}" for suffix, meaning in forms.items()),
    ]
    rows = [
        [
            str(block),
            *(_number(result[name].values[place]) for name in names),
            _number(result.norm_growth.values[place]),
        ]
        for place, block in enumerate(result.block.values)
    ]
    runs = homolog.table(result)
    about = {f"{row['blocks']} of the blocks": _run(row, forms) for row in runs.to_dict("records") if row["first"]}
    output.print_table([*heads, "norm growth"], rows, f"n = {int(result.attrs['n_examples'])}", about)


def _run(row: dict[str, Any], forms: dict[str, str]) -> str:
    told = []
    for suffix, meaning in forms.items():
        first, last = row[f"first{suffix}"], row[f"last{suffix}"]
        run = first if first == last else f"{first} to {last}"
        told.append(
            f"{meaning + ': ' if suffix else ''}{run}, angular distance {_number(row[f'angular_distance{suffix}'])}"
        )
    return "; ".join(told)


def _number(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.4g}"


def print_lines(result: xarray.Dataset) -> None:
    """Print the summary below the table in a terminal, to standard error beside a pipe."""
    found = homolog.summary(result)
    terminal = sys.stdout.isatty()
    print(f"\n{found}" if terminal else found, file=sys.stdout if terminal else sys.stderr)
