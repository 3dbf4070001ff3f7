"""Training over time: the layers of checkpoints, each compared with itself at other moments."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from homolog.engine.comparing import DEFAULT
from homolog.engine.inputs import Measures, resolve_measures
from homolog.extraction import Layers, Mask, Reduction
from homolog.machine import parse_bytes
from homolog.measures.record import Measure
from homolog.names import quoted
from homolog.trajectories.checkpoints import checkpoints_of
from homolog.trajectories.networks import Network
from homolog.trajectories.record import Record
from homolog.trajectories.result import dataset
from homolog.trajectories.taking import Taking
from homolog.trajectories.telling import tell
from homolog.trajectories.walk import REFERENCES, Walk

if TYPE_CHECKING:
    import xarray


def compare_checkpoints(
    build: Callable[[], Any] | None,
    checkpoints: Any,
    data: Any,
    *,
    against: str | Sequence[str] = REFERENCES,
    measures: Measures = DEFAULT,
    layers: Layers = None,
    reduce: Reduction | Mapping[str, Reduction] = "flatten",
    forward: Callable[[Any, Any], Any] | None = None,
    batch_size: int = 64,
    mask: Mask | Mapping[str, Mask] = None,
    steps: Iterable[float] | Mapping[str, float] | None = None,
    labels: Iterable[str] | None = None,
    out: str | PathLike[str] | None = None,
    resume: bool = False,
    memory: str | int = "2GiB",
    progress: bool | None = None,
    **extraction: Any,
) -> xarray.Dataset:
    """Compare each layer over training with itself in the first, the previous and the last checkpoint.

    Parameters
    ----------
    build
        function without arguments that makes the network (torch.nn.Module), such as its class. It is called once, and the
        weights of each checkpoint are loaded into a copy of what it makes. None where checkpoints are models or activations
        themselves.
    checkpoints
        a folder, a glob ("run/*.safetensors"), a list, or a mapping label → checkpoint. A checkpoint is a file of weights
        (.safetensors; .pt, .pth, .ckpt and .bin with `weights_only=True`, which runs nothing), a folder of Hugging Face's, a
        mapping of weights; a function without arguments that returns a model or activations; or without build a model that
        `homolog.extract` takes, Activations, or a file of these.
    data
        as for `homolog.extract`, the same for all checkpoints and in the same order: it is read once for each, so that no
        iterator will do. None where all checkpoints are activations.
    against
        which of "first", "previous" and "last" each checkpoint is compared with.
    measures
        as for `homolog.compare`; the first one says when layers settle.
    layers, reduce, forward, batch_size, mask
        as for `homolog.extract`.
    steps
        the step of training of each checkpoint, in the order given (of a folder or glob: numbers in names by size), or label →
        step. By default keys that are numbers, or from the names: the number after "step", else the only one that differs, else
        the one after "epoch"; where names tell none, or steps begin anew in each epoch, 0, 1, 2 … under a warning. Checkpoints
        are sorted by step.
    labels
        what checkpoints are called; by default their files without ending, or the keys of the mapping.
    out
        file ending in .jsonl that gets the row of each checkpoint as it is finished.
    resume
        go on with such a file, to the same bits; begin one where there is none. Other data, options, code, versions or weights
        are refused.
    memory
        workspace of the comparisons, as for `homolog.compare`. Activations are beyond it.
    progress
        show a progress bar; by default in a terminal and in a notebook.
    **extraction
        what else `homolog.extract` takes: channels, max_examples, dtype, example_ids, device, axis …

    Returns
    -------
    xarray.Dataset
        One variable (against, step, layer) per measure: the value of each layer with the same layer of the reference, NaN where
        there is none, as for the checkpoint before the first; `<measure>_null` and `_reversed` as in `compare`. Coordinates:
        `step`; `checkpoint`, the labels; `settled_step` (layer), the first step from which on a layer stays within 1 % of its
        final value by the first measure; `same_as` (step), the earlier checkpoint that is the same network, "" for none, and
        `same_by`: its "weights" are equal, or equal as "weights rounded to float16" or to bfloat16, or its "outputs" are equal
        to rounding.

    Raises
    ------
    ValueError, TypeError, KeyError, FileNotFoundError
        For checkpoints that cannot be read or do not fit the network, one-shot data, and as `extract` and `compare` would.
    FileExistsError
        If `out` exists and `resume` is not set.

    Warns
    -----
    ExtractionWarning, UnknownPairingWarning, NullLevelWarning, ConstantLayerWarning
        And what else `extract` and `compare` warn of, each kind once for all checkpoints.

    Notes
    -----
    "Within 1 % of its final value" means: for a similarity that ends at its largest possible value at least 0.99 of that; for a
    distance at most 1 % of the largest that any layer has against the last checkpoint; for another similarity, such as one
    without a largest value, within 1 % of the farthest from its end that the layer has been. Missing values are passed over.
    Every layer is there at the last checkpoint, by definition.

    Equal outputs are told from all numbers where two checkpoints are compared, else from 64 sums of each layer that every number
    has a part in. Layers that are constant in both say nothing. A copy in bfloat16 or float16 is told by its weights alone:
    what it puts out differs as much as after a little training. A checkpoint with NaN or infinity has no values, under a
    warning.

    Memory: one network and the weights being loaded, the activations of the present and of the previous checkpoint, and what
    the comparison of one layer takes. Those of the first and the last are on disk, in the folder for temporary files. Cost: one
    extraction for each checkpoint, and for each layer up to three comparisons; measures that decompose layers decompose those
    of the references again. A resumed run extracts the first and the last checkpoint again, and loads the others to see that
    they are the same.

    Examples
    --------
    >>> import numpy as np, homolog as hl
    >>> rng = np.random.default_rng(0)
    >>> x, noise = rng.normal(size=(2, 200, 8))
    >>> moments = {f"step_{step}": {"layer": x + noise / (1 + step)} for step in (0, 100, 1000)}
    >>> result = hl.compare_checkpoints(None, moments, None, measures="cka")
    >>> result.cka.sel(against="last", layer="layer").round(2).values.tolist(), result.settled_step.item()
    ([0.49, 1.0, 1.0], 100.0)
    """
    chosen = _references(against)
    record = Record(None if out is None else Path(out), resume=resume)
    given = {
        "layers": layers,
        "reduce": reduce,
        "forward": forward,
        "batch_size": batch_size,
        "mask": mask,
        **extraction,
    }
    taking = Taking(data, given, parse_bytes("8GiB"))
    walk = Walk(
        checkpoints_of(checkpoints, steps, labels),
        Network(build),
        taking,
        _without_pvalues(resolve_measures(measures)),
        chosen,
        memory,
        record,
    )
    rows = walk.run(progress)
    return dataset(walk, rows, tell(taking.told.values(), rows))


def _without_pvalues(measures: Mapping[str, Measure]) -> dict[str, Measure]:
    """Return measures that nobody asks for p-values: that a layer is like itself at another moment needs no test."""
    return {name: replace(record, order_score=None, order_matrix=None) for name, record in measures.items()}


def _references(against: str | Sequence[str]) -> list[str]:
    """Return which references are asked for, in the order of training."""
    given = [against] if isinstance(against, str) else list(against)
    odd = [name for name in given if name not in REFERENCES]
    if odd or not given:
        raise ValueError(
            f"against must be one or more of {', '.join(REFERENCES)}, got {quoted(odd[0]) if odd else 'none'}."
        )
    return [name for name in REFERENCES if name in given]
