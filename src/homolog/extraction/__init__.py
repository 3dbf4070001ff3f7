"""Layers of a model → activations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Literal

from homolog.activations import Activations
from homolog.machine import parse_bytes
from homolog.renamed import renamed

Layers = str | Sequence[str] | Callable[[str, Any], bool] | None
Skip = Callable[[Any], Any] | None
Mask = str | Callable[[Any], Any] | None
Reduction = Literal["flatten", "mean", "first", "last", "positions"] | Callable[[Any, Any], Any]


@renamed(limit="max_examples")
def extract(
    model: Any,
    data: Any,
    *,
    layers: Layers = None,
    reduce: Reduction | Mapping[str, Reduction] = "flatten",
    channels: Literal["first", "last"] | None = None,
    forward: Callable[[Any, Any], Any] | None = None,
    batch_size: int = 64,
    max_examples: int | None = None,
    dtype: str | None = None,
    example_ids: Iterable[Any] | str | Callable[[Any], Any] | None = None,
    device: Any = None,
    out: str | PathLike[str] | None = None,
    resume: bool = False,
    keep: Literal["host", "device"] = "host",
    memory: str | int | None = None,
    progress: bool | None = None,
    mask: Mask | Mapping[str, Mask] = None,
    axis: int | Mapping[str, int] | None = None,
    skip_first: int | Mapping[str, int] = 0,
    skip: Skip | Mapping[str, Skip] = None,
    sketch: int | Mapping[str, int | None] | None = None,
    rng: int = 0,
) -> Activations:
    """Run a model, or any function, on examples and keep what its layers put out.

    Parameters
    ----------
    model
        a torch.nn.Module, run in evaluation mode without gradients and left as it was, also inside what compiles, adapts or
        traces it (PEFT, nnsight, a pipeline of Transformers); an ONNX file, `onnx.ModelProto` or `InferenceSession`; a Keras
        model, or its `.keras` or `.h5` file; a pair (module, variables) of Flax linen, a module of Flax nnx or Equinox; or a
        function of a batch that returns a mapping layer name → array (examples, ...) or `Layer`, or one array, the layer
        "output".
    data
        all examples as one tensor, array, mapping of tensors or list of texts (batched here), or an iterable of batches,
        consumed once. For a module a mapping becomes `model(**batch)`, a tuple or list `model(batch[0])`, a tensor
        `model(batch)`; a function is called with the batch as it is. Texts are for functions and for models that bring their
        tokenizer, pairs of texts for a CrossEncoder.
    layers
        names or globs ("blocks.*.mlp"; `*` stays within one dotted part, `**` crosses), or a predicate on (name, module). By
        default every module that ran and has no children, has weights of its own, or stands for one layer (quantised,
        parametrised, wrapped), and everything that a function returns. "input" is the model's input, "output" its output.
    reduce
        how an output becomes (rows, features). "flatten"; "mean" over positions; "first" or "last" position;
        "positions", each a row; a function f(output, mask) → (examples, features); or a mapping glob → any of these. Padding
        marked by a mask is left out. The output of a layer is its first floating tensor of at least two axes; a function is
        given the whole output where that is an object of another kind, such as a distribution.
    channels
        "first" for maps of shape (n, channels, height, width), "last" for (n, height, width, channels). By default as the
        framework has them, first in PyTorch; for the maps of a function it must be said, unless they are flattened.
    forward
        forward(model, batch), for batches of any other kind; it is called with part of the first batch too.
    batch_size
        examples per batch, where batches are made here.
    max_examples
        most examples to take.
    dtype
        "float16", "float32" or "float64" to store; by default as computed, half precision as float32.
    example_ids
        one id per example in the order of the data; or the key of the batch, or a function of it, that holds them.
    device
        where to run; the model's own device by default.
    out
        write to this store (a folder ending in .zarr) as batches come, instead of keeping the activations in memory.
    resume
        go on with a store that an earlier run of the same extraction did not finish, from the last row that is safe. If there is
        no store, begin one; if it is complete, do nothing, unless `max_examples` is larger now. Another computation is refused;
        docs/scaling.md says what counts as the same.
    keep
        "device" keeps the tensors of a PyTorch model where it puts them out, as on a GPU, where `compare` then works on them;
        what does not fit there comes to the host, with a warning. By default all layers are NumPy arrays on the host.
    memory
        most memory for the activations, by default "8GiB"; with `out` they are not held. With keep="device" it is the memory of
        the device, by default nine tenths of what is free there.
    progress
        show a progress bar; by default in a terminal and in a notebook.
    mask
        which positions of a layer are padding: a key of the batch, or a function of the batch → (examples, positions) that is
        true where a position counts. A mapping says it for each glob; None there means that every position counts. By default
        the masks of Hugging Face models and of PyTorch's transformers are used (`attention_mask`, `decoder_attention_mask`,
        `src_key_padding_mask` …), each for the layers that depend on its input. If two could be meant, an error says so.
    axis
        where the examples lie in the output of a layer, if not first, as 1 for (positions, examples, features): a number, or a
        mapping glob → number. A layer of which it is said is taken although its rows depend on each other.
    skip_first
        how many tokens at the beginning of each example, padding not counted, "mean", "first", "last" and "positions" leave out,
        as 1 for a token that models attend to whatever it says (an attention sink), or for the class token; of each document
        where `position_ids` or `seq_idx` of the batch tell several in a row. Positions keep their numbers. It concerns layers of
        shape (n, positions, features); a mapping glob → number says it for each. Where no layer has that shape it is an error,
        and others beside are named in a warning.
    skip
        which tokens they leave out: a function of the token ids → (examples, positions), true where one is left out, as
        `lambda ids: ids == tokenizer.bos_token_id`; or a mapping glob → function or None. A reduction of your own is given a
        mask in which the tokens of both are off.
    sketch
        keep two independent random projections of every layer of more than twice as many features, of so many columns each (a
        multiple of 16; 512 is a good start), instead of its features: `compare` estimates linear HSIC and CKA from them, right on
        average, and says how far they may be off. A mapping glob → columns says it for each layer, None keeps one as it is.
        It comes after `reduce`.
    rng
        the seed of the sketches: the same seed gives the same projections, of a layer of the same name, everywhere.

    Returns
    -------
    Activations
        NumPy arrays (n, p) in order of execution, or sketches of them, or with keep="device" tensors. A module that runs k times
        in one forward gives `name`, `name#2` … Rows carry a digest of their input, so that comparing unpaired rows is an error.

    Raises
    ------
    KeyError
        For layer names the model does not have, with near matches.
    ValueError, TypeError
        For outputs that do not fit the rules above or do not follow the examples, activations beyond `memory`, shuffled data
        without ids, or a store that another model, other layers, reductions, ids or inputs began.
    FileExistsError, BlockingIOError
        If `out` exists and `resume` is not set, or another process is writing it.

    Notes
    -----
    Three-axis outputs are (n, positions, features), four-axis ones maps; nothing else is guessed. That the first axis is the
    examples is tried: a few examples of the first batch, and of the second, fourth, eighth and so on, are run again by themselves
    and must give the same rows. A layer that does not is refused, or left out of all batches with a warning where nobody named
    it. A warning also names layers in which something counts that looks like padding, where no mask is given.

    Examples
    --------
    >>> import torch, homolog as hl
    >>> model = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.ReLU(), torch.nn.Linear(5, 2))
    >>> hl.extract(model, torch.zeros(4, 3))
    <Activations of 3 layers over 4 rows: 0: 5, 1: 5, 2: 2>
    """
    from homolog.extraction.options import Options
    from homolog.extraction.session import run_extraction

    options = Options(
        layers=layers,
        reduce=reduce,
        channels=channels,
        forward=forward,
        batch_size=batch_size,
        max_examples=max_examples,
        dtype=dtype,
        example_ids=example_ids,
        device=device,
        memory=parse_bytes("8GiB" if memory is None or keep == "device" else memory),
        keep=keep,
        device_memory=None if memory is None or keep != "device" else parse_bytes(memory),
        progress=progress,
        out=None if out is None else Path(out),
        resume=resume,
        mask=mask,
        axis=axis,
        skip_first=skip_first,
        skip=skip,
        sketch=sketch,
        rng=rng,
    )
    return run_extraction(model, data, options)
