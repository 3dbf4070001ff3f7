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
from homolog.analysis.redundant.telling import NEXT_LOSS
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
    result = homolog.redundancy(
        loading.activations([file], [None], ids or []),  # by the name of its file, which errors repeat
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
    print_lines(result, reported=report is not None)


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
    output.print_table([*heads, "norm growth"], rows, f"n = {int(result.attrs['n_examples'])}")
    print()
    _print_runs(result, forms)


def _print_runs(result: xarray.Dataset, forms: dict[str, str]) -> None:
    """Print the run of least angular distance of each number of blocks, one column for every form."""
    heads = [f"least angular distance{f', {meaning}' if suffix else ''}" for suffix, meaning in forms.items()]
    rows = [
        [f"{row['blocks']} block{'s' * (row['blocks'] > 1)}", *(_run(row, suffix) for suffix in forms)]
        for row in homolog.table(result).to_dict("records")
    ]
    output.print_table(["run of", *heads], rows)


def _run(row: dict[str, Any], suffix: str) -> str:
    first, last = row[f"first{suffix}"], row[f"last{suffix}"]
    if not first:
        return ""
    return f"{first if first == last else f'{first} to {last}'} ({_number(row[f'angular_distance{suffix}'])})"


def _number(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.4g}"


def print_lines(result: xarray.Dataset, reported: bool = True) -> None:
    """Print the summary below the table in a terminal, to standard error beside a pipe."""
    told = [line for line in homolog.summary(result) if not line.startswith("Next, ")]
    pages = "" if reported else "; --report report.html shows all numbers"
    found = "\n".join([*told, f"{NEXT_LOSS}, in Python{pages}"] if "loss" not in result else told)
    terminal = sys.stdout.isatty()
    print(f"\n{found}" if terminal else found, file=sys.stdout if terminal else sys.stderr)
