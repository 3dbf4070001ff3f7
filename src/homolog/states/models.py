"""Both models see the same batch, and nothing is stored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from homolog.engine.inputs import Measures
from homolog.extraction import Layers, Mask, Reduction, Skip
from homolog.renamed import renamed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Literal

    import xarray


@renamed(limit="max_examples")
def compare_models(
    model_a: Any,
    model_b: Any,
    data: Any,
    data_b: Any = None,
    *,
    layers: Layers = None,
    layers_a: Layers = None,
    layers_b: Layers = None,
    exact: bool = False,
    measures: Measures | None = None,
    reduce: Reduction | Mapping[str, Reduction] = "flatten",
    reduce_a: Reduction | Mapping[str, Reduction] | None = None,
    reduce_b: Reduction | Mapping[str, Reduction] | None = None,
    channels: Literal["first", "last"] | None = None,
    forward_a: Callable[[Any, Any], Any] | None = None,
    forward_b: Callable[[Any, Any], Any] | None = None,
    batch_size: int = 128,
    passes: int = 1,
    max_examples: int | None = None,
    device: Any = None,
    level: float = 0.95,
    rng: int | np.random.Generator = 0,
    progress: bool | None = None,
    mask: Mask | Mapping[str, Mask] = None,
    axis: int | Mapping[str, int] | None = None,
    skip_first: int | Mapping[str, int] = 0,
    skip: Skip | Mapping[str, Skip] = None,
) -> xarray.Dataset:
    """Compare the layers of two models on examples that both see at the same time; no activation is stored.

    Parameters
    ----------
    model_a, model_b
        what `extract` takes: modules of PyTorch, functions, models of other frameworks. The same model twice is run once.
    data
        all examples as one tensor, array or mapping of tensors, which are batched here in random order, or an iterable of
        batches, as for `extract`. Its order does not matter, but its batches should be random samples.
    data_b
        the same examples as model_b takes them; by default both take `data`. Batches must be as many and as large.
    layers, reduce, channels, device, progress, mask, axis, skip_first, skip
        as for `extract`, for both models.
    layers_a, layers_b, reduce_a, reduce_b
        for one of the models instead, as "mean" of the maps of a convolutional network beside "first" of the tokens of a
        transformer; layers_b as layers_a where both are one model.
    batch_size
        as for `extract`, but larger: the standard error of the debiased terms of a batch goes with its size.
    exact
        sum moments instead of batches' terms: the values of all examples at once, for memory of p·q per pair of layers.
    measures
        "cka(estimator=debiased)" by default; also "hsic(estimator=debiased)", and with `exact` whatever `Moments.finalise` takes.
    forward_a, forward_b
        forward(model, batch), for batches of any other kind.
    passes
        how often to go through the data, which takes noise from the split into batches: arrays are split anew each time, an
        iterable must be one that can be read again, and shuffle itself.
    max_examples
        most examples of a pass.
    level
        of the intervals.
    rng
        seed or NumPy generator of the order in which arrays are batched.

    Returns
    -------
    xarray.Dataset
        As of `compare`; with `<measure>_se`, `_low` and `_high` by a jackknife over batches unless `exact`. Of a single batch
        there are none, with a warning.

    Raises
    ------
    KeyError, ValueError, TypeError
        As `extract`; and where the two sides do not have the same number of batches and rows.

    Examples
    --------
    >>> import torch, homolog as hl
    >>> a, b = (torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.ReLU(), torch.nn.Linear(5, 2)) for _ in range(2))
    >>> result = hl.compare_models(a, b, torch.randn(400, 3, generator=torch.Generator().manual_seed(0)), batch_size=32)
    >>> dict(result.sizes)
    {'layer_a': 3, 'layer_b': 3}
    """
    from homolog.extraction.options import Options
    from homolog.states.running import TwoModels, run

    if isinstance(passes, bool) or not isinstance(passes, int) or passes < 1:
        raise ValueError(f"passes must be a positive integer, got {passes!r}.")
    if exact and passes > 1:
        raise ValueError(f"exact values need one pass, got passes={passes}: leave one of the two out.")
    layers_a, layers_b = (layers if own is None else own for own in (layers_a, layers_b))
    reduce_a, reduce_b = (reduce if own is None else own for own in (reduce_a, reduce_b))
    first = Options(
        layers=layers_a,
        reduce=reduce_a,
        channels=channels,
        forward=forward_a,
        batch_size=batch_size,
        max_examples=max_examples,
        dtype=None,
        example_ids=None,
        device=device,
        memory=0,
        progress=progress,
        mask=mask,
        axis=axis,
        skip_first=skip_first,
        skip=skip,
    )
    alike = (layers_b is None or layers_b is layers_a) and forward_b is None and reduce_b == reduce_a
    shared = model_a is model_b and alike
    second = first if shared else replace(first, layers=layers_b, reduce=reduce_b, forward=forward_b)
    pair = TwoModels((model_a, model_b), (data, data_b), (first, second), np.random.default_rng(rng))
    return run(pair, exact=exact, measures=measures, passes=passes, level=level)
