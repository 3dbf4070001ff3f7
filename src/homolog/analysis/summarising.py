"""What a result says, in a few sentences."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from homolog.analysis import model_copies, same_networks
from homolog.analysis import summary_many as many_rules
from homolog.analysis import summary_rules as rules
from homolog.analysis.attention_sinks import sink_sentence
from homolog.analysis.consistency_lines import consistency_lines
from homolog.analysis.model_similarity_lines import model_similarity_lines
from homolog.analysis.redundant.telling import redundancy_lines
from homolog.analysis.sketched_layers import sketch_sentence
from homolog.analysis.summary_calibrated import as_wholes, calibrated_matches
from homolog.analysis.summary_cautions import WHY, Step, biased, cautions, next_step
from homolog.analysis.summary_views import View, unbiased, views
from homolog.analysis.summary_within import within
from homolog.analysis.trajectory_summary import trajectory_sentences
from homolog.markup import paragraphs
from homolog.measures.registry import OF_THE_CALLER
from homolog.measures.registry import measure as registered_measure
from homolog.names import printable
from homolog.result_kinds import COMPARISON, CONSISTENCY, MODEL_SIMILARITY, REDUNDANCY, TRAJECTORY, check_told, kind_of
from homolog.results import (
    arranged,
    between,
    chosen_measure,
    independent_rows,
    measure_names,
    models_in,
    told_examples,
)

if TYPE_CHECKING:
    import xarray

LINES: dict[str, Callable[[xarray.Dataset, str | None], Iterable[str]]] = {
    TRAJECTORY: trajectory_sentences,
    MODEL_SIMILARITY: model_similarity_lines,
    REDUNDANCY: redundancy_lines,
    CONSISTENCY: consistency_lines,
}
"""Title of a result that is no comparison → what it says, in sentences."""


@dataclass(frozen=True)
class Summary:
    """What a result says, in a few sentences; `print` it."""

    sentences: tuple[str, ...]

    def __iter__(self) -> Iterator[str]:
        return iter(self.sentences)

    def __len__(self) -> int:
        return len(self.sentences)

    def __str__(self) -> str:
        return "\n".join(self.sentences)

    def _repr_html_(self) -> str:
        """Return the sentences as paragraphs, names in them as text."""
        return paragraphs(self.sentences)


def summary(result: xarray.Dataset, measure: str | None = None) -> Summary:
    """Say in a few sentences what a result shows, what it does not show, and what to do next.

    Parameters
    ----------
    result
        what `homolog.compare` returned: of two models, of one with itself, or of many; or `homolog.compare_checkpoints`,
        `homolog.model_similarity`, `homolog.consistency` or `homolog.redundancy`.
    measure
        which of its measures to read; the first by default.

    Returns
    -------
    Summary
        Three to ten sentences: what was compared; whether layers are more alike than chance allows, and how far; whether they
        correspond in order; which layers of the same name differ most; layers in a row that all match one layer; biased
        measures; what not to conclude; the next command. Iterate over them, or `print`. Of checkpoints: from which step on each
        layer is within 1 % of its end, whether lower layers settle first, and which checkpoints are the same network.

    Raises
    ------
    KeyError, ValueError
        If the result lacks the measure, or is not one.

    Notes
    -----
    "More alike than chance allows" is said only where p-values, adjusted for all pairs, say so at a false discovery rate of
    0.01. The rules and their thresholds are on the page "What a summary says". Cost: that of reading the result.

    Examples
    --------
    >>> import numpy as np, homolog as hl
    >>> rng = np.random.default_rng(0)
    >>> a, b = ({f"layer {i}": rng.normal(size=(60, 20)) for i in range(4)} for _ in range(2))
    >>> found = hl.summary(hl.compare(a, b, measures="cka(estimator=debiased)"))
    >>> found.sentences[1][:22]
    'No better than chance:'
    """
    return summarised(result, measure, in_python)


def summarised(result: xarray.Dataset, measure: str | None, command: Callable[[Step, xarray.Dataset], str]) -> Summary:
    """Return the summary with its last sentence, the next step, written by a function."""
    check_told(result)
    kind = kind_of(result)
    if kind != COMPARISON:
        told = list(LINES[kind](result, measure))
        if kind == TRAJECTORY:
            told.append(command(Step("trajectory", chosen_measure(result, measure)), result))
        return Summary(tuple(map(printable, told)))
    result = arranged(result)
    if not measure_names(result):
        raise ValueError(
            "a summary is of a measure, got a result without any: keep one of the measures that were compared."
        )
    name = chosen_measure(result, measure)
    found = views(result, name)
    if not found and models_in(result):  # one of many is left
        (model,) = models_in(result)
        result = between(result, model, model)
        found = views(result, name)
    if not found:
        raise ValueError(
            "a summary needs a model on both sides, got a part of a result without any: select other layers."
        )
    sentences: list[str | None] = [_compared(result, name, found), *same_networks.sentences(result)]
    if "a" in result.dims:
        sentences += [*_of_different(result, name), rules.other_modules(found)]
    else:
        sentences += [*_of_two(found[0]), rules.other_modules(found), calibrated_matches(found)]
    layers = {title: names.tolist() for view in found for title, names in zip(view.titles, view.layers, strict=True)}
    sentences += [
        sketch_sentence(result, name),
        sink_sentence(result, layers),
        biased(result, name, found),
        cautions(result, name, found),
    ]
    sentences.append(command(next_step(result, name, found), result))
    return Summary(tuple(printable(sentence) for sentence in sentences if sentence is not None))


def _compared(result: xarray.Dataset, name: str, found: list[View]) -> str:
    """Say what was compared, and how to read the measure."""
    examples = f"over {told_examples(result)} by {name}, {_scale(result, name)}"
    if "a" in result.dims:
        models = dict.fromkeys(title for view in found for title in view.titles)
        return f"{len(models)} models, in {len(found)} pair{'s' if len(found) > 1 else ''}, were compared {examples}."
    view = found[0]
    rows, columns = map(len, view.layers)
    pairs = int(result.attrs.get("averaged_pairs", 0))
    mean = f" (means over {pairs} pairs of models)" if pairs else ""
    itself = "each other" if rows > 1 else "itself"
    other = itself if view.same else f"{_layers(columns).lower()} of {view.titles[1]}{mean}"
    return f"{_layers(rows)} of {view.titles[0]} {'was' if rows == 1 else 'were'} compared with {other} {examples}."


def _layers(count: int) -> str:
    return "One layer" if count == 1 else f"{count} layers"


def _scale(result: xarray.Dataset, name: str) -> str:
    about = result[name].attrs
    if unbiased(str(about.get("measure", name))) and str(about.get("measure", name)).startswith("cka"):
        independent = " and about 0 on average for independent ones" if independent_rows(result) else ""
        return f"which is 1 for equal layers{independent}"
    told = "smaller" if about["kind"] == "distance" else "larger"
    if about.get("reference") == OF_THE_CALLER:
        told = "larger values are taken for more alike (if they are not, register it with kind='distance')"
        return f"a function of your own, of which {told}"
    asymmetric = "; it is not symmetric, and x is the layer of the rows" if int(about.get("symmetric", -1)) == 0 else ""
    return f"of which {told} values are more alike{asymmetric}"


def _of_two(view: View) -> list[str]:
    found = [rules.support(view)]
    told = [*within(view)] if view.same else [rules.order(view), rules.same_names(view), rules.plateau(view)]
    return found + [sentence for sentence in told if sentence is not None]


def _of_different(result: xarray.Dataset, name: str) -> Iterator[str | None]:
    """Yield what many models say, of copies of one network counting one."""
    repeats = [model for copies in same_networks.all_sets_in(result) for model in copies[1:]]
    if repeats:
        result = result.isel({side: ~np.isin(result[f"model_{side}"].values, repeats) for side in "ab"})
        count = len(models_in(result))
        yield model_copies.counted_once(count)
        if count < 2:
            return
    found = views(result, name)
    yield from _of_many(found)
    yield as_wholes(result, name)
    yield calibrated_matches(found)


def _of_many(found: list[View]) -> list[str]:
    told = (many_rules.identified(found), many_rules.over_models(found), many_rules.odd_model(found))
    return [many_rules.support_of_many(found), *(sentence for sentence in told if sentence is not None)]


def registered(form: str) -> bool:
    """Say whether a text form is understood: that of a function of the caller's own is not."""
    try:
        return str(registered_measure(form)) == form
    except (KeyError, ValueError, TypeError):
        return False


def in_python(step: Step, result: xarray.Dataset) -> str:
    """Write the next step in Python, and what it is for."""
    given = "a" if int(result.attrs.get("same_model", 0)) else "a, b"
    given = "models" if "a" in result.dims else given
    if "n_batches" in result.attrs:  # of two models in one pass, which kept no rows to ask more of
        given = ", ".join(f"homolog.extract({model}, data)" for model in given.split(", "))
    compare = f"homolog.compare({given}, measures={repr(step.measure) if registered(step.measure) else '...'}"
    calibrate = "calibrate=True" if "alpha" in result.attrs else "null='permutation'"
    diagnose = f"homolog.diagnose({'a, b' if given == 'models' else given})"
    commands = {
        "diagnose": diagnose,
        "pairing": diagnose,
        "test": f"{compare}, {calibrate})",
        "more permutations": f"{compare}, {calibrate}, n_permutations={step.permutations})",
        "interval": f"{compare}, interval=True)",
        "mean": "homolog.plot.heatmap(homolog.mean_over_models(result))",
        "report": "homolog.report(result, 'report.html')",
        "trajectory": "homolog.plot.trajectory(result)",
    }
    return f"Next, {WHY[step.kind]}: {commands[step.kind]}"
