"""The commands: what they take, and how wrong use is told."""

from __future__ import annotations

import re
import warnings
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

import homolog
from homolog.cli import (
    check_command,
    loading,
    measure_tables,
    output,
    paper_command,
    redundancy_command,
    summary_output,
    trajectory_command,
)
from homolog.cli.inputs import (
    BatchSize,
    Channels,
    ChosenLayers,
    CommonRows,
    Device,
    DType,
    Ids,
    LayersOfAll,
    MaxExamples,
    Out,
    Reductions,
    Report,
    Seed,
    Sketches,
    SkipFirst,
    Workspace,
    opened,
)
from homolog.diagnostics import HomologWarning
from homolog.files.netcdf import holds_activations
from homolog.machine import optional
from homolog.renamed import sentence
from homolog.result_kinds import MODEL_CLUSTERS, MODEL_MAP, kind_of
from homolog.store.layout import contents_of

# Click's UsageError, wherever this version of typer keeps it.
UsageError: Any = typer.BadParameter.__bases__[0]

INTERRUPTED = 130
"""Exit status after Ctrl-C."""
FORMER = {
    "--limit": "--max-examples",
    "--interval jackknife": "--interval --method jackknife",
    "--interval subsample": "--interval --method subsample",
}
"""Options as they were in the release before → as they are."""

app = typer.Typer(
    help="Find which layers of two neural networks correspond, how alike they are, and how sure one may be of it.",
    epilog='Start with `homolog demo`, which needs `pip install "homolog[demo]"`; or with files of your own: '
    "`homolog compare --help`.",
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)


def run(arguments: list[str]) -> int:
    """Run the command line and return the exit status; wrong use is one sentence and status 2."""
    command = _without_types_of_flags(typer.main.get_command(app))
    with warnings.catch_warnings():
        warnings.simplefilter("always", HomologWarning)
        warnings.showwarning = output.show_warning
        try:
            given = _present(arguments)
            given = paper_command.with_columns(given) if given[:1] == ["paper"] else given
            status = command.main(args=given, prog_name="homolog", standalone_mode=False, obj=given)
        except UsageError as error:
            context = error.ctx
            where = f"{context.command_path} --help" if context is not None else "homolog --help"
            told = error.format_message()
            if "unexpected extra argument" in told and "--checkpoints" in given:  # the shell wrote out the names
                told = f'{told}: put a glob of checkpoints in quotes, "run/*.pt"'
            return output.fail(f"{output.sentence(told)} See `{where}`.")
        except output.Interruption as stop:
            return output.fail(str(stop), status=130)
        except (typer.Abort, KeyboardInterrupt):
            status = INTERRUPTED
        except ImportError as error:
            return output.fail(str(error), status=1)
        except (ValueError, TypeError, KeyError, OSError) as error:
            return output.fail(output.error_sentence(error))
        except MemoryError as error:
            return output.fail(output.out_of_memory(error), status=1)
    if status == INTERRUPTED:  # some versions of typer return it, and say nothing
        return output.fail("interrupted.", status=INTERRUPTED)
    return status if isinstance(status, int) else 0


def _without_types_of_flags(command: Any) -> Any:
    """Return a command whose help shows flags as flags: some versions of typer call them BOOLEAN, as if they took a value."""
    for each in (command, *command.commands.values()):
        for option in (*each.params, each.get_help_option(typer.Context(each))):
            if getattr(option, "is_flag", False):
                option.metavar = ""
    return command


def _present(arguments: list[str]) -> list[str]:
    """Return arguments with options that were called otherwise in the release before by their present names."""
    text = "\0".join(arguments)
    for former, present in FORMER.items():
        words = former.replace(" ", "[\0=]")
        text, count = re.subn(rf"(?<![^\0]){words}(?![^\0=])", present.replace(" ", "\0"), text)
        if count:
            output.show_warning(sentence(former, present))
    return text.split("\0") if arguments else []


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Find which layers of two neural networks correspond."""
    if version:
        print(f"homolog {homolog.__version__}")
    elif context.invoked_subcommand is None:
        print(context.get_help())


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for report.html, heatmap.png and result.nc.")] = Path(
        "homolog-demo"
    ),
) -> None:
    """Train four small networks on digits and see which measure finds their corresponding layers (a minute or two).

    Needs: pip install "homolog[demo]"
    """
    for module in ("torch", "sklearn", "matplotlib", "jinja2"):
        optional(module, "demo", "the demonstration")
    from homolog.paper import demo as demonstration

    demonstration.run(out, lambda line: print(line, flush=True))


@app.command()
def measures(
    names: Annotated[
        list[str] | None, typer.Argument(help="Say everything about these; all in short by default.")
    ] = None,
    module: Annotated[
        list[str] | None, typer.Option(help="A module or file.py that registers measures of your own; may repeat.")
    ] = None,
) -> None:
    """List the measures by subject, and which to start with; piped, or by name, with range, invariances, options and formula."""
    for where in module or []:
        loading.import_module(where)
    measure_tables.print_measures(names or [])


@app.command()
def extract(
    model: Annotated[
        str,
        typer.Argument(
            help="module:factory or file.py:factory, a function that returns the model; or an .onnx or .keras file."
        ),
    ],
    data: Annotated[
        str,
        typer.Option(
            help="module:factory, a function that returns examples or an iterable of batches; or an .npy or .npz."
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="Write the activations here: .npz, .safetensors, .parquet, .nc, or the folder .zarr.")
    ],
    layers: ChosenLayers = None,
    reduce: Reductions = None,
    sketch: Sketches = None,
    seed: Seed = 0,
    skip_first: SkipFirst = 0,
    channels: Channels = None,
    batch_size: BatchSize = 64,
    max_examples: MaxExamples = None,
    dtype: DType = None,
    device: Device = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a .zarr that was not finished; begin where there is none.")
    ] = False,
    memory: Annotated[str, typer.Option(help="Most memory for the activations, unless they go to a .zarr.")] = "8GiB",
) -> None:
    """Run a model and write what its layers put out; to a .zarr as batches come, so that nothing need fit in memory.

    Example:  homolog extract mynets:resnet --data mynets:images --layers "layer*" --reduce mean --out a.zarr

    Example:  homolog extract model.onnx --data images.npy --out b.npz
    """
    output.check_target(out, "--out", (".npz", ".safetensors", ".parquet", ".nc", ".zarr"))
    into_store = out.suffix == ".zarr"
    if resume and not into_store:
        raise ValueError(f"--resume needs --out with a .zarr, which is written as batches come, got {out.name!r}.")
    with output.interruptible(lambda: _how_to_go_on(out, resume)):
        extracted = homolog.extract(
            loading.model(model),
            loading.data(data),
            layers=layers or None,
            reduce=loading.reductions(reduce or ["flatten"]),
            sketch=loading.sketches(sketch),
            rng=seed,
            skip_first=skip_first,
            channels=channels,  # type: ignore[arg-type]  # the library checks the text and says what it takes
            batch_size=batch_size,
            max_examples=max_examples,
            dtype=dtype,
            device=device,
            memory=memory,
            out=out if into_store else None,
            resume=resume,
        )
    if not into_store:
        output.write_file(out, lambda unfinished: homolog.save(extracted, unfinished))
    output.print_activations(extracted)


def _how_to_go_on(out: Path, resume: bool) -> str:
    """Say what is left of an extraction that was interrupted, and which command goes on."""
    if out.suffix != ".zarr":
        return "nothing was written; an extraction into a .zarr (--out) goes on where it was interrupted."
    begun = contents_of(out)
    if begun is None:
        return "nothing was written yet."
    command = "the same command" if resume else "the same command with --resume"
    if not begun.rows:
        return f"no row of {str(out)!r} was safe yet; {command} begins again."
    return f"{begun.rows} rows are safe in {str(out)!r}; {command} goes on from there."


@app.command(epilog="See `homolog measures` for what --measure takes.")
def compare(
    context: typer.Context,
    files: Annotated[
        list[Path],
        typer.Argument(
            help="Activations of each model: any file that homolog.open reads (.npz, .zarr, .parquet, .h5, .mat, .csv …), or "
            "FILE::NAME for one of several in it. One is compared with itself."
        ),
    ],
    measure: Annotated[
        list[str] | None,
        typer.Option(
            "--measure",
            "-m",
            help='A measure, such as cka or "cka(kernel=rbf,median_fraction=0.4)", or your own module:function; may repeat.',
        ),
    ] = None,
    pairs: Annotated[str, typer.Option(help="Pairs of layers to compare: all, or same_name.")] = "all",
    layers: LayersOfAll = None,
    layers_a: Annotated[list[str] | None, typer.Option(help="Layers of the first file instead.")] = None,
    layers_b: Annotated[list[str] | None, typer.Option(help="Layers of the second file instead.")] = None,
    common_rows: CommonRows = False,
    ids: Ids = None,
    out: Out = None,
    plot: Annotated[Path | None, typer.Option(help="Draw heatmaps here (.png, .pdf or .svg).")] = None,
    report: Report = None,
    permutations: Annotated[
        int | None,
        typer.Option(min=1, help="Test every pair against this many random orders of the examples, such as 999."),
    ] = None,
    calibrate: Annotated[
        bool,
        typer.Option(
            "--calibrate",
            help="Add scores that are 0 for what 95 % of random orders of the examples reach, and 1 for equal layers; "
            "--permutations says how many orders, 999 without it.",
        ),
    ] = False,
    interval: Annotated[
        bool, typer.Option("--interval", help="Add standard errors and 95 % intervals over examples.")
    ] = False,
    method: Annotated[
        str | None, typer.Option(help="How --interval finds them: jackknife, which is the default, or subsample.")
    ] = None,
    diagnosed: Annotated[
        bool, typer.Option("--diagnose", help="Put what `homolog diagnose` finds into the page; for one or two files.")
    ] = False,
    memory: Workspace = "2GiB",
) -> None:
    """Compare the layers of two models, of one with itself, or of many with each other, from files of activations.

    A file holds one array (examples, features) per layer, or a column of vectors; row i of every array in all files is the same
    example, or is made to be by --common-rows.

    Prints the best match of every layer, and last what the comparison says in a few sentences; where the output goes into a
    pipe or a file, the sentences go to standard error.

    Example:  homolog compare a.npz b.npz -m cka -m "cka(estimator=debiased)" --out result.nc --report report.html
    """
    output.check_target(out, "--out", (".nc",))
    output.check_target(plot, "--plot", (".png", ".pdf", ".svg"))
    output.check_target(report, "--report", (".html",))
    models = opened(files, [layers_a or layers, layers_b or layers, layers], common_rows, ids)
    if len(files) == 1 and pairs == "same_name":
        raise ValueError("--pairs same_name needs two files, got one: name a second file, or leave --pairs out.")
    if len(files) == 1 and len(next(iter(models.values()))) == 1:
        raise ValueError(
            f"one file must hold several layers to compare, got one in {str(files[0])!r}: name a second file."
        )
    chosen: dict[str, Any] = {"pairs": pairs, "memory": memory}
    if measure:
        chosen["measures"] = loading.chosen_measures(measure)
    if diagnosed and (report is None or len(files) > 2):
        raise ValueError("--diagnose needs --report and one or two files: or use `homolog diagnose`.")
    if permutations is not None:
        chosen |= {"null": "permutation", "n_permutations": permutations}
    if calibrate:
        chosen["calibrate"] = True
    if method is not None and not interval:
        raise ValueError(f"--method is for intervals, got no --interval with --method {method}: pass it too.")
    if interval:
        chosen |= {"interval": True, "method": method or "jackknife"}
    result = homolog.compare(*models.values(), **chosen) if len(files) <= 2 else homolog.compare(models, **chosen)
    output.print_result(result)
    if out is not None:
        output.write_file(out, partial(result.to_netcdf, engine=output.netcdf_engine()))
    if plot is not None:
        output.draw_heatmaps(plot, result)
    if report is not None:
        found = homolog.diagnose(*models.values(), memory=memory) if diagnosed else None
        output.write_file(report, lambda unfinished: homolog.report(result, unfinished, diagnosis=found))
    summary_output.print_sentences(result, summary_output.after_comparing(context.obj, files, report))


check = app.command()(check_command.check)
redundancy = app.command()(redundancy_command.redundancy)
trajectory = app.command()(trajectory_command.trajectory)


@app.command()
def diagnose(
    files: Annotated[
        list[Path], typer.Argument(help="Activations of one model or more, in any file that homolog.open reads.")
    ],
    layers: LayersOfAll = None,
    common_rows: CommonRows = False,
    ids: Ids = None,
    out: Annotated[Path | None, typer.Option(help="Write values, null levels and p-values here (.nc).")] = None,
    permutations: Annotated[
        int | None,
        typer.Option(min=1, help="Random orders of the examples. [default: 199; of more than two models by formula]"),
    ] = None,
    every: Annotated[
        bool, typer.Option("--every", help="One line for every place, instead of one for every kind of finding.")
    ] = False,
    memory: Workspace = "2GiB",
) -> None:
    """Say what may be wrong with a comparison before you believe its numbers, and what to do about it.

    One line for every kind of finding, the most serious first.

    Of more than two files every two are looked at, by layers of the same name.

    Example:  homolog diagnose a.npz b.npz
    """
    output.check_target(out, "--out", (".nc",))
    models = opened(files, [layers, layers], common_rows, ids)
    given = models.values() if len(models) <= 2 else [models]
    found = homolog.diagnose(*given, n_permutations=permutations, memory=memory)
    output.print_diagnosis(found, every=every)
    if out is not None:
        output.write_file(out, partial(found.result.to_netcdf, engine=output.netcdf_engine()))


@app.command()
def report(
    result: Annotated[Path, typer.Argument(help="A result that `homolog compare --out` or xarray wrote (.nc).")],
    out: Annotated[Path, typer.Option(help="Where to write the page (.html).")] = Path("report.html"),
) -> None:
    """Write a result as one HTML page that opens anywhere, offline."""
    output.check_target(out, "--out", (".html",))
    loaded = loading.result(result)
    output.write_file(out, lambda unfinished: homolog.report(loaded, unfinished))


@app.command()
def info(file: Annotated[Path, typer.Argument(help="Activations, a result (.nc), or a model.")]) -> None:
    """Say what a file holds, and what a result says; of a model (.onnx, .keras) which layers it has, without running it."""
    layers = loading.layers_of_model(file)
    if layers is not None:
        output.print_layers_of_model(layers)
        return
    if file.suffix == ".nc" and not holds_activations(file):
        result = loading.result(file)
        if kind_of(result) in (MODEL_MAP, MODEL_CLUSTERS):
            output.print_made_of_similarities(result)
            return
        output.print_contents(result)
        summary_output.print_sentences(result, summary_output.for_a_file(file))
        return
    begun = contents_of(file) if file.suffix == ".zarr" else None
    if begun is not None and not begun.complete:
        output.print_unfinished(file, begun)
    else:
        output.print_activations(homolog.open(file))


app.command()(paper_command.paper)
