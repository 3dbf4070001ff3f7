"""The command that reruns the paper's experiments."""

from __future__ import annotations

import shlex
import sys
from itertools import zip_longest
from pathlib import Path
from typing import Annotated, Any

import typer

from homolog.cli import loading, output
from homolog.machine import optional, usable_cores, whole_memory
from homolog.sketching import check_columns

COLUMNS = 512
"""Of sketches, where no number is given."""


def with_columns(arguments: list[str]) -> list[str]:
    """Return the arguments of `homolog paper` with the number of --sketch, which may be left out."""
    found: list[str] = []
    for word, following in zip_longest(arguments, arguments[1:], fillvalue=""):
        found += [word, str(COLUMNS)] if word == "--sketch" and not following.isdecimal() else [word]
    return found


def paper(
    experiment: Annotated[
        str,
        typer.Argument(
            help="table2, fig1 … fig8, untrained, batchnorm, within-class, svcca-thresholds, tiny-resnet, tableF1, or all."
        ),
    ],
    data: Annotated[
        str | None, typer.Option(help="digits (the default), fashion-mnist, mnist, cifar10 or cifar100.")
    ] = None,
    scale: Annotated[
        str,
        typer.Option(
            help="tiny (a minute or two each), small (minutes to an hour on two cores) or full (the paper's, for a GPU)."
        ),
    ] = "tiny",
    seeds: Annotated[int | None, typer.Option(min=2, help="Networks that differ in their seed alone.")] = None,
    out: Annotated[
        Path, typer.Option(help="Folder for networks, results and pictures; what it holds is not computed again.")
    ] = Path("homolog-paper"),
    measure: Annotated[
        list[str] | None,
        typer.Option(
            "--measure",
            "-m",
            help="For table2, fig2, untrained, tableF1: these, not the paper's indexes; such as cka or your own module:function.",
        ),
    ] = None,
    data_folder: Annotated[Path | None, typer.Option(help="Where the files of the data set lie.")] = None,
    second_data: Annotated[str | None, typer.Option(help="For fig7: the other data set.")] = None,
    second_folder: Annotated[Path | None, typer.Option(help="For fig7: where its files lie.")] = None,
    sentences: Annotated[
        Path | None,
        typer.Option(
            help="For tableF1: a folder of German message catalogues (.mo) or of two aligned text files; else they are invented."
        ),
    ] = None,
    download: Annotated[
        bool, typer.Option("--download", help="Let scikit-learn fetch a missing data set from OpenML.")
    ] = False,
    image_size: Annotated[int | None, typer.Option(min=1, help="Average images down to this size.")] = None,
    width: Annotated[float | None, typer.Option(min=0.01, help="Factor on Tiny-10's numbers of channels.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the training images or sentences.")] = None,
    train_images: Annotated[int | None, typer.Option(min=1, help="Training images or sentences, at most.")] = None,
    examples: Annotated[
        int | None, typer.Option(min=4, help="Images, or tokens for tableF1, over which layers are compared, at most.")
    ] = None,
    sketch: Annotated[
        int | None,
        typer.Option(
            help=f"For table2, fig2, untrained: keep two random projections of so many columns ({COLUMNS} where no number is "
            "given), a multiple of 16, of every layer of more than twice as many features, in little memory; for cka and hsic."
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, help="Seed of the sketches of the first network; the next one's is one more.")
    ] = 0,
    test_images: Annotated[
        bool, typer.Option("--test-images", help="For table2, fig2, untrained: compare over test images.")
    ] = False,
) -> None:
    """Rerun an experiment of the paper: Kornblith et al. (2019), Similarity of Neural Network Representations Revisited.

    An interrupted run goes on where it was. Needs: pip install "homolog[paper]"

    Example:  homolog paper table2 --data fashion-mnist --scale small
    """
    optional("safetensors", "paper", "homolog paper")
    optional("matplotlib", "paper", "homolog paper").use("Agg")
    from homolog.paper import experiments
    from homolog.paper.indexes import tried
    from homolog.paper.kept_layers import Sketches
    from homolog.paper.scale import scaled
    from homolog.paper.study import Study

    chosen = experiments.named(experiment)
    experiments.check_data(chosen, data, sentences)
    if measure:
        experiments.check_measures(chosen)
    measures = loading.chosen_measures(measure) if measure else None
    if sketch is not None:
        optional("zarr", "store", "--sketch")
        experiments.check_sketches(chosen, measures)
        check_columns(sketch)
    if test_images:
        experiments.check_held_out(chosen)
    changes: dict[str, Any] = {
        "image_size": image_size,
        "width": width,
        "epochs": epochs,
        "deep_epochs": epochs,
        "n_train": train_images,
        "translator_epochs": epochs,
        "n_examples": examples,
        "n_tokens": examples,
        "seeds": seeds,
    }
    run_on = Study(
        data=data or "digits",
        scale=scaled(scale, **changes),
        out=out,
        folder=data_folder,
        second_data=second_data,
        second_folder=second_folder,
        sentence_folder=sentences,
        download=download,
        measures=None if measures is None else tried(measures),
        sketches=None if sketch is None else Sketches(sketch, seed),
        held_out=test_images,
        memory=whole_memory(),
        processes=usable_cores(),
        command=shlex.join(["homolog", *sys.argv[1:]]),
        say=lambda line: print(line, flush=True),
    )
    with output.interruptible(lambda: "the same command goes on from there."):
        for each in chosen:
            experiments.perform(each, run_on)
