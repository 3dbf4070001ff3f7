"""The summary of a result on the command line, whose next step is a command of the shell."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from homolog.analysis.summarising import registered, summarised
from homolog.analysis.summary_cautions import WHY, Step

if TYPE_CHECKING:
    import xarray


def print_sentences(result: xarray.Dataset, next_step: Callable[[Step, xarray.Dataset], str]) -> None:
    """Print the summary: below the table in a terminal; beside a pipe, which holds the table alone, to standard error."""
    try:
        found = summarised(result, None, next_step)
    except ValueError as error:
        print(f"note: there is no summary: {error}", file=sys.stderr)
        return
    out = sys.stdout if sys.stdout.isatty() else sys.stderr
    print(f"\n{found}" if sys.stdout.isatty() else found, file=out)


def after_comparing(
    arguments: Sequence[str], files: Sequence[Path], report: Path | None
) -> Callable[[Step, xarray.Dataset], str]:
    """Return what writes the next step after a comparison: mostly the same command with one option more."""

    def written(step: Step, result: xarray.Dataset) -> str:
        more = {
            "test": ["--permutations", str(step.permutations)],
            "more permutations": ["--permutations", str(step.permutations)],
            "interval": ["--interval"],
        }
        if step.kind in more:
            return _sentence(step.kind, ["homolog", *_without(arguments, more[step.kind][0]), *more[step.kind]])
        if step.kind in ("diagnose", "pairing"):
            return _sentence(step.kind, ["homolog", "diagnose", *map(str, files[:2])])
        if report is not None:
            return f"Next, {WHY['report']}: open {shlex.quote(str(report))}"
        return _sentence("report", ["homolog", *arguments, "--report", "report.html"])

    return written


def _without(arguments: Sequence[str], option: str) -> list[str]:
    """Leave out an option with its value, which is given anew."""
    found: list[str] = []
    skip = False
    for argument in arguments:
        if not skip and argument != option and not argument.startswith(f"{option}="):
            found.append(argument)
        skip = argument == option and option != "--interval"
    return found


def for_a_file(path: Path) -> Callable[[Step, xarray.Dataset], str]:
    """Return what writes the next step for a result in a file."""

    def written(step: Step, result: xarray.Dataset) -> str:
        files = ["FILE"] * (1 if int(result.attrs.get("same_model", 0)) and "a" not in result.dims else 2)
        measure = ["--measure", step.measure] if registered(step.measure) else []
        commands = {
            "diagnose": ["diagnose", *files],
            "pairing": ["diagnose", *files],
            "test": ["compare", *files, *measure, "--permutations", str(step.permutations)],
            "more permutations": ["compare", *files, *measure, "--permutations", str(step.permutations)],
            "interval": ["compare", *files, *measure, "--interval"],
        }
        if step.kind not in commands:
            # A mean over models has no command of its own; of other kinds of results the page is the next step too.
            return _sentence("report" if step.kind == "mean" else step.kind, ["homolog", "report", str(path)])
        return _sentence(step.kind, ["homolog", *commands[step.kind]])

    return written


def _sentence(kind: str, command: Sequence[str]) -> str:
    return f"Next, {WHY[kind]}: {shlex.join(command)}"
