"""The commands: what they take, and how wrong use is told."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from homolog import __version__
from homolog.cautions import HomologWarning
from homolog.cli import output

# Click's UsageError, wherever this version of typer keeps it.
UsageError: Any = typer.BadParameter.__bases__[0]

app = typer.Typer(
    help="Find which layers of two neural networks correspond, how alike they are, and how sure one may be of it.",
    epilog="Start with `homolog demo`; then `homolog compare --help`.",
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)


def run(arguments: list[str]) -> int:
    """Run the command line and return the exit status; wrong use is one sentence and status 2."""
    command = typer.main.get_command(app)
    with warnings.catch_warnings():
        warnings.simplefilter("always", HomologWarning)
        warnings.showwarning = output.show_warning
        try:
            status = command.main(args=arguments, prog_name="homolog", standalone_mode=False)
        except UsageError as error:
            context = error.ctx
            where = f"{context.command_path} --help" if context is not None else "homolog --help"
            return output.fail(f"{output.sentence(error.format_message())} See `{where}`.")
        except (typer.Abort, KeyboardInterrupt):
            print("homolog: interrupted.", file=sys.stderr)
            return 130
        except ImportError as error:
            return output.fail(str(error), status=1)
        except (ValueError, TypeError, KeyError, OSError) as error:
            return output.fail(output.told(error))
    return status if isinstance(status, int) else 0


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Find which layers of two neural networks correspond."""
    if version:
        print(f"homolog {__version__}")
    elif context.invoked_subcommand is None:
        print(context.get_help())


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for heatmap.png and result.nc.")] = Path("homolog-demo"),
) -> None:
    """Train four small networks on digits and see which index finds their corresponding layers (a minute).

    Needs: pip install "homolog[demo]"
    """
    from homolog import demo as demonstration
    from homolog.arrays import optional

    for module in ("torch", "sklearn", "matplotlib"):
        optional(module, "demo", "the demonstration")
    demonstration.run(out, lambda line: print(line, flush=True))


@app.command()
def measures() -> None:
    """List every measure: kind, range, invariances, options, formula."""
    output.print_measures()


@app.command(epilog="See `homolog measures` for what --measure takes.")
def compare(
    a: Annotated[
        Path, typer.Argument(help="Activations of one model: .npz, .safetensors, .pt (layers by name) or .npy.")
    ],
    b: Annotated[
        Path | None, typer.Argument(help="Activations of another model; without it A is compared with itself.")
    ] = None,
    measure: Annotated[
        list[str] | None,
        typer.Option(
            "--measure", "-m", help='A measure, such as cka or "cka(kernel=rbf,median_fraction=0.4)"; may repeat.'
        ),
    ] = None,
    pairs: Annotated[str, typer.Option(help="Pairs of layers to compare: all, or same_name.")] = "all",
    out: Annotated[Path | None, typer.Option(help="Write the result here (.nc, for xarray.load_dataset).")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw heatmaps here (.png, .pdf or .svg).")] = None,
) -> None:
    """Compare the layers of two models, or of one with itself, from files of activations.

    A file holds one array (examples, features) per layer; row i of every array in both files is the same example.

    Example:  homolog compare a.npz b.npz -m cka -m "cka(estimator=debiased)" --out result.nc --plot heatmap.png
    """
    import homolog

    output.check_target(out, "--out", (".nc",))
    output.check_target(plot, "--plot", (".png", ".pdf", ".svg"))
    chosen: dict[str, Any] = {"measures": measure} if measure else {}
    if b is None and pairs == "same_name":
        raise ValueError("--pairs same_name needs two files, got one: name a second file, or leave --pairs out.")
    first = homolog.open(a)
    if b is None and len(first) == 1:
        raise ValueError(f"one file must hold several layers to compare, got one in {str(a)!r}: name a second file.")
    result = homolog.compare(first, b, pairs=pairs, **chosen)
    output.print_correspondence(result)
    if out is not None:
        output.write(out, result.to_netcdf)
    if plot is not None:
        output.draw(plot, result)
