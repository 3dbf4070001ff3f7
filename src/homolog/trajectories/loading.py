"""The weights of a checkpoint, put into the one network: all of them, and nothing that it has no place for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from homolog.diagnostics import listed
from homolog.extraction.tensors import is_torch
from homolog.names import first_line, quoted, shown

_WRAPPED = re.compile(
    r"^(?:module\.|_orig_mod\.|_fsdp_wrapped_module\.)+|(?<=\.)(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\."
)
"""What compiling and parallel training put into names."""


_COUNT = "n_averaged"
"""How many networks torch.optim.swa_utils.AveragedModel has averaged: no weight."""
_BATCHES = "num_batches_tracked"
"""What files from before PyTorch 0.4.1 lack, and nothing reads that does not train."""


def load(network: Any, weights: Mapping[str, Any], label: str) -> None:
    """Load weights into a network of PyTorch, or raise where one is missing, left over or of another shape."""
    own = network.state_dict(keep_vars=True)
    if _COUNT not in own:
        weights = {name: value for name, value in weights.items() if name != _COUNT}
    places = _places(own, weights)  # name in the network → name in the checkpoint
    given = {_address(own[name]) for name in places}
    missing = [name for name in own if name not in places and _address(own[name]) not in given]
    counters = [name for name in missing if name.split(".")[-1] == _BATCHES]
    missing = [name for name in missing if name not in counters]
    extra = sorted(set(weights) - set(places.values()))
    if missing or extra:
        parts = [f"without {listed(map(quoted, missing), 3)}"] * bool(missing)
        parts += [f"with {listed(map(quoted, extra), 3)} besides"] * bool(extra)
        raise ValueError(
            f"checkpoint {shown(label)} must hold the weights of the network that build makes ({len(own)} of them), got one "
            f"{' and '.join(parts)}: build the network that was trained, or give the checkpoint as a function that returns it."
        )
    _check_ties(own, weights, places, label)
    for name, other in places.items():
        _check_type(own[name], weights[other], name, label)
        shapes = [tuple(value.shape) for value in (own[name], weights[other]) if is_torch(value)]
        if len(set(shapes)) > 1:
            raise ValueError(
                f"{quoted(name)} of checkpoint {shown(label)} must have the shape {shapes[0]} as in the network that build "
                f"makes, got {shapes[1]}: build the network that was trained."
            )
    try:
        network.load_state_dict({name: weights[other] for name, other in places.items()}, strict=False)
    except RuntimeError as error:
        raise ValueError(f"checkpoint {shown(label)} must load into the network, got {first_line(error)}.") from error
    for name in counters:  # not those of the checkpoint before
        own[name].zero_()


def _check_ties(own: Mapping[str, Any], weights: Mapping[str, Any], places: Mapping[str, str], label: str) -> None:
    """Raise where weights that are one in the network are two in the checkpoint: only the last one would be in effect."""
    tied: dict[Any, str] = {}
    for name, other in places.items():
        first = tied.setdefault(_address(own[name]), name)
        one, two = weights[places[first]], weights[other]
        if first != name and is_torch(one) and is_torch(two) and not (one.shape == two.shape and one.equal(two)):
            raise ValueError(
                f"{quoted(first)} and {quoted(name)} of checkpoint {shown(label)} must be equal, as they are one weight in the "
                f"network that build makes, got two that differ: build the network that was trained, in which they are not tied."
            )


def _check_type(own: Any, given: Any, name: str, label: str) -> None:
    """Raise where numbers would be lost, or mean something else, as the whole numbers of quantised weights do."""
    if not (is_torch(own) and is_torch(given)):
        return
    lost = given.is_complex() and not own.is_complex()
    whole = not (given.is_floating_point() or given.is_complex())
    cut = given.is_floating_point() and not (own.is_floating_point() or own.is_complex())
    other = (own.is_floating_point() or own.is_complex()) and whole and given.numel() > 1
    if lost or other or (cut and not given.frac().eq(0).all()):
        raise ValueError(
            f"{quoted(name)} of checkpoint {shown(label)} must hold numbers of the type {str(own.dtype).removeprefix('torch.')}, "
            f"as in the network that build makes, got {str(given.dtype).removeprefix('torch.')}: save weights that the network "
            f"itself can load, not quantised or complex ones."
        )


def _address(value: Any) -> Any:
    """Return where the numbers of a weight lie: tied ones lie in one place, and files hold them once."""
    if not is_torch(value) or value.layout.__repr__() != "torch.strided" or not value.numel() or value.is_meta:
        return id(value)
    return value.data_ptr(), tuple(value.shape)


def _places(own: Mapping[str, Any], weights: Mapping[str, Any]) -> dict[str, str]:
    """Return under which name the checkpoint holds each weight: as it is, or without what wrappers put in front of it."""
    network, files = _cleaned(own), _cleaned(weights)
    best: dict[str, str] = {}
    for cut, put in _prefixes(list(network), list(files)):
        renamed = {f"{put}{name.removeprefix(cut)}": place for name, place in files.items() if name.startswith(cut)}
        found = {network[name]: place for name, place in renamed.items() if name in network}
        best = found if len(found) > len(best) else best
    return best


def _cleaned(names: Mapping[str, Any]) -> dict[str, str]:
    """Return names without the marks of wrappers → names; as they are where that would make two equal."""
    clean = {_WRAPPED.sub("", name): name for name in names}
    return clean if len(clean) == len(names) else {name: name for name in names}


def _prefixes(network: list[str], files: list[str]) -> Iterator[tuple[str, str]]:
    """Yield what may have to be cut from the names in a file, or put before them: nothing first."""
    yield "", ""
    for whole, part, cut in ((files, network, True), (network, files, False)):
        first = max(part, key=len, default="")
        for name in whole:
            if first and name.endswith(f".{first}"):
                prefix = name[: -len(first)]
                yield (prefix, "") if cut else ("", prefix)
