"""The command that compares the checkpoints of a training."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

import homolog
from homolog.analysis.settling_told import written_step
from homolog.analysis.summary_cautions import WHY
from homolog.analysis.trajectory_summary import settling_table
from homolog.cli import loading, output, summary_output
from homolog.cli.inputs import BatchSize, ChosenLayers, Device, MaxExamples, Out, Reductions, Report, Workspace
from homolog.cli.output import print_table


def trajectory(
    model: Annotated[
        str,
        typer.Argument(
            help="module:factory or file.py:factory, a function that makes the network, whose weights are then loaded."
        ),
    ],
    checkpoints: Annotated[
        list[str],
        typer.Option(
            "--checkpoints",
            "-c",
            help='A folder, a glob in quotes, such as "run/*.safetensors", or a file; may repeat.',
        ),
    ],
    data: Annotated[
        str,
        typer.Option(help="module:factory, a function that returns examples or a list of batches; or an .npy or .npz."),
    ],
    against: Annotated[
        list[str] | None,
        typer.Option(
            help="What each checkpoint is compared with: first, previous or last; may repeat; all by default."
        ),
    ] = None,
    measure: Annotated[
        list[str] | None, typer.Option("--measure", "-m", help="A measure, as for `homolog compare`; may repeat.")
    ] = None,
    layers: ChosenLayers = None,
    reduce: Reductions = None,
    steps: Annotated[
        list[float] | None,
        typer.Option("--step", help="The step of each checkpoint, in order; may repeat; by default from their names."),
    ] = None,
    batch_size: BatchSize = 64,
    max_examples: MaxExamples = None,
    device: Device = None,
    rows: Annotated[
        Path | None, typer.Option(help="Keep what is finished in this file, line by line (.jsonl), for --resume.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with --rows; begin where there is no such file.")
    ] = False,
    out: Out = None,
    plot: Annotated[Path | None, typer.Option(help="Draw every layer over training here (.png, .pdf or .svg).")] = None,
    report: Report = None,
    memory: Workspace = "2GiB",
) -> None:
    """Compare each layer over training with itself in the first, the previous and the last checkpoint.

    The network is made once, and the weights of one checkpoint after the other are loaded into it (.safetensors, or .pt, .pth,
    .ckpt and .bin, of which no code is run). Steps come from the names of the files.

    Prints from which step on each layer stays within 1 % of its final value, and what the checkpoints say in a few sentences.

    Example:  homolog trajectory mynets:resnet --checkpoints "run/*.safetensors" --data mynets:images --report page.html
    """
    output.check_target(out, "--out", (".nc",))
    output.check_target(plot, "--plot", (".png", ".pdf", ".svg"))
    output.check_target(report, "--report", (".html",))
    output.check_target(rows, "--rows", (".jsonl",))
    if resume and rows is None:
        raise ValueError("--resume needs --rows, the file that keeps what is finished, got none.")
    chosen: dict[str, Any] = {"measures": loading.chosen_measures(measure)} if measure else {}
    chosen |= {"against": against} if against else {}
    with output.interruptible(lambda: _how_to_go_on(rows)):
        result = homolog.compare_checkpoints(
            loading.factory(model),
            checkpoints[0] if len(checkpoints) == 1 else checkpoints,
            loading.data(data),
            layers=layers or None,
            reduce=loading.reductions(reduce or ["flatten"]),
            steps=steps or None,
            batch_size=batch_size,
            max_examples=max_examples,
            device=device,
            out=rows,
            resume=resume,
            memory=memory,
            **chosen,
        )
    _print(result, plot, report)
    if out is not None:
        output.write_file(out, partial(result.to_netcdf, engine=output.netcdf_engine()))
    if plot is not None:
        output.draw(plot, lambda: homolog.plot.trajectory(result).figure)
    if report is not None:
        output.write_file(report, lambda unfinished: homolog.report(result, unfinished))


def _how_to_go_on(rows: Path | None) -> str:
    if rows is None:
        return "nothing was written; with --rows FILE.jsonl and --resume the same command goes on where it was interrupted."
    return f"what is finished is safe in {str(rows)!r}; the same command with --resume goes on from there."


def _print(result: Any, plot: Path | None, report: Path | None) -> None:
    """Print when layers settle, and below it what the result says."""
    if "last" in result["against"].values:
        table = settling_table(result)
        rows = [
            [str(layer), _written(first), "" if step != step else written_step(step)]
            for layer, first, step in table.itertuples(index=False)
        ]
        print_table(list(table.columns), rows)
    summary_output.print_sentences(result, lambda step, result: _next(plot, report))


def _next(plot: Path | None, report: Path | None) -> str:
    """Say what to do next that was not done."""
    more = ["--plot curves.png"] * (plot is None) + ["--report page.html"] * (report is None)
    if more:
        return f"Next, {WHY['trajectory']}: add {' or '.join(more)}"
    return (
        "Next, to see whether another training gives the same: train with another seed, and compare its checkpoints too"
    )


def _written(value: float) -> str:
    return "" if value != value else f"{value:.4g}"
