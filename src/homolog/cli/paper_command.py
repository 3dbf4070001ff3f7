"""The command that reruns the paper's experiments."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from homolog.cli import loading, output
from homolog.machine import optional, usable_cores, whole_memory


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
) -> None:
    """Rerun an experiment of the paper: Kornblith et al. (2019), Similarity of Neural Network Representations Revisited.

    An interrupted run goes on where it was. Needs: pip install "homolog[paper]"

    Example:  homolog paper table2 --data fashion-mnist --scale small
    """
    optional("safetensors", "paper", "homolog paper")
    optional("matplotlib", "paper", "homolog paper").use("Agg")
    from homolog.paper import experiments
    from homolog.paper.indexes import tried
    from homolog.paper.scale import scaled
    from homolog.paper.study import Study

    chosen = experiments.named(experiment)
    experiments.check_data(chosen, data, sentences)
    if measure:
        experiments.check_measures(chosen)
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
        measures=tried(loading.chosen_measures(measure)) if measure else None,
        memory=whole_memory(),
        processes=usable_cores(),
        command=shlex.join(["homolog", *sys.argv[1:]]),
        say=lambda line: print(line, flush=True),
    )
    with output.interruptible(lambda: "the same command goes on from there."):
        for each in chosen:
            experiments.perform(each, run_on)
