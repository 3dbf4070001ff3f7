"""A model of PyTorch as what layers come from: hooks hear its modules, and it is given back as it was."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence

from homolog.arrays import described
from homolog.devices import sent
from homolog.extraction.batch_contents import map_leaves
from homolog.extraction.batches import as_torch, input_of
from homolog.extraction.channels import check_channels, note_layout, settles_layout
from homolog.extraction.computation_record import has_plain_bytes, record_of
from homolog.extraction.input_checks import check_converted
from homolog.extraction.layer_selection import Selection
from homolog.extraction.module_selection import select
from homolog.extraction.options import Options
from homolog.extraction.restoring import unchanged
from homolog.extraction.sources import Listener, Maker
from homolog.extraction.uncompiled import uncompiled
from homolog.extraction.wrappers import own_output, unwrapped
from homolog.names import first_line


class ModuleSource:
    """A torch.nn.Module, run in evaluation mode without gradients."""

    def __init__(self, model: Any) -> None:
        _check_model(model)
        self.model = unwrapped(model)
        self.title = type(self.model).__name__
        self.software: Mapping[str, str] = {"torch": torch.__version__}
        self.quantised = any("quantized" in type(module).__module__ for module in self.model.modules())
        self._place: tuple[torch.device, torch.dtype | None] = (torch.device("cpu"), None)

    @property
    def dtypes(self) -> frozenset[str]:
        """The types of its weights."""
        return frozenset(str(weight.dtype).removeprefix("torch.") for weight in self.model.parameters())

    on_host = True
    """Samples of outputs say where they were computed."""

    def settled(self, options: Options) -> Options:
        """Channels come first unless the caller says otherwise."""
        return options.with_channels(options.channels or "first")

    def selection(self, layers: Any) -> Selection:
        """Resolve names and globs against the modules."""
        return select(self.model, layers)

    @contextmanager
    def lent(self, device: Any) -> Iterator[None]:
        """Put the model in evaluation mode without gradients, on a device; restore everything whatever happens."""
        model = self.model
        flags = [(module, module.training) for module in model.modules()]
        tensors = [*model.parameters(), *model.buffers()]
        homes = {tensor.device for tensor in tensors}
        home = tensors[0].device if tensors else torch.device("cpu")
        target = home if device is None else _device(device)
        floating = {tensor.dtype for tensor in model.parameters() if tensor.is_floating_point()}
        fast_path = torch.backends.mha.get_fastpath_enabled()
        if target != home and len(homes) > 1:
            raise ValueError(f"device must be left out for a model on several devices, got {target}.")
        _check_weights(tensors)
        try:
            model.eval()
            if target != home:
                model.to(target)
            # The fused path of transformer layers calls no submodule, hence no hook.
            torch.backends.mha.set_fastpath_enabled(False)
            self._place = target, floating.pop() if len(floating) == 1 else None
            with torch.no_grad(), uncompiled():
                yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fast_path)
            if target != home:
                model.to(home)
            for module, flag in flags:
                module.training = flag

    @contextmanager
    def attached(self, listener: Listener) -> Iterator[None]:
        """Hang a hook on every selected module, and take them off whatever happens."""
        with ExitStack() as hooks:
            for name, module in listener.selection.modules.items():
                hooks.callback(module.register_forward_hook(_hook(name, module, listener), always_call=False).remove)
            chosen = {id(module) for module in listener.selection.modules.values()}
            for module in self.model.modules():
                if id(module) not in chosen and settles_layout(module):
                    hooks.callback(module.register_forward_hook(_layout_hook(listener), always_call=False).remove)
            yield

    def received(self, raw: Any, options: Options) -> Any:
        """Return the tensors that reach the model: all of a batch where a forward is given, else its input."""
        content = map_leaves(as_torch, raw)
        if options.forward is None:
            check_converted(content)
            content = input_of(content)
            check_converted(content)
        return content

    def takes_lists(self, options: Options) -> bool:
        """Only a forward of the caller's knows what to do with them."""
        return options.forward is not None

    def placed(self, content: Any, options: Options) -> Any:
        """Move a batch to the device of the model, in its floating type."""
        device, dtype = self._place
        return map_leaves(partial(_moved, device=device, dtype=None if options.forward else dtype), content)

    def run(self, content: Any, options: Options) -> None:
        """Run one forward."""
        if options.forward is not None:
            options.forward(self.model, content)
        elif isinstance(content, Mapping):
            self.model(**content)
        else:
            self.model(content)

    @contextmanager
    def unchanged(self, seed: int) -> Iterator[None]:
        """Put back random generators, buffers and attributes after a trial."""
        with unchanged(self.model, seed):
            yield

    def digest(self) -> str:
        """Digest the structure and all weights of the model."""
        return digest_of_model(self.model)

    def digest_of_parameters(self) -> str:
        """Digest the structure and the parameters of the model, without buffers, which a forward pass may change."""
        kinds = [(name, type(module).__qualname__) for name, module in self.model.named_modules()]
        buffers = dict(self.model.named_buffers(remove_duplicate=False))
        weights = {name: value for name, value in self.model.state_dict().items() if name not in buffers}
        return _digest(str(kinds), weights)

    def code(self, options: Options) -> dict[str, str]:
        """Record the code of the modules and of the functions given, and the values that they read."""
        return record_of(self.model, options)


def _hook(name: str, module: nn.Module, listener: Listener) -> Any:
    maker = Maker(type(module).__name__, partial(_sizes_of, module), partial(check_channels, module))

    def record(module: nn.Module, arguments: Any, output: Any) -> None:
        listener.heard(name, own_output(module, output), maker)

    return record


def _layout_hook(listener: Listener) -> Any:
    """Note where modules that nobody chose put their features: activations that follow them are chosen, perhaps."""

    def note(module: nn.Module, arguments: Any, output: Any) -> None:
        if isinstance(output, torch.Tensor) and not output.is_nested and output.ndim in (3, 4):
            note_layout(module, tuple(output.shape), listener.layouts)

    return note


def _sizes_of(module: nn.Module) -> set[int]:
    return {size for weight in module.parameters() for size in weight.shape}


def _check_model(model: Any) -> None:
    """Raise unless a model is one of PyTorch's that can be heard."""
    if isinstance(model, torch.export.ExportedProgram):
        raise TypeError(
            "model must be a torch.nn.Module, got an exported program: pass torch.export.unflatten(program), whose layers run as "
            "modules, or the model it was exported from."
        )
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {described(model)}.")
    if isinstance(model, torch.jit.ScriptModule):
        raise TypeError(
            f"model must be run by Python, got a {type(model).__name__}, and TorchScript runs no hooks: pass the model that it "
            f"was scripted or traced from."
        )


def _check_weights(tensors: list[torch.Tensor]) -> None:
    missing = sum(tensor.is_meta for tensor in tensors)
    if missing:
        raise ValueError(
            f"model must have its weights in memory, got {missing} of {len(tensors)} tensors on the meta device, as of a model "
            f"that was offloaded or not loaded: load it whole on one device, for instance without device_map or offload_folder."
        )


def _device(device: Any) -> torch.device:
    """Return a device after putting one number on it."""
    try:
        return torch.zeros(1, device=device).device
    except (RuntimeError, AssertionError, TypeError) as error:
        raise ValueError(
            f"device must be one that PyTorch can use here, got {device!r}: {first_line(error)}."
        ) from error


def _moved(leaf: Any, device: torch.device, dtype: torch.dtype | None) -> Any:
    # A model in one floating dtype takes floating input in that dtype only.
    if isinstance(leaf, torch.Tensor):
        if leaf.is_quantized and dtype is not None:
            leaf = leaf.dequantize()
        return sent(leaf, device, dtype if leaf.is_floating_point() else None)
    if isinstance(leaf, PackedSequence):
        packed: Any = leaf
        return packed.to(device=device, dtype=dtype if leaf.data.is_floating_point() else None)
    return leaf


def digest_of_model(model: nn.Module) -> str:
    """Digest the structure and all weights of a model, for a reader."""
    # Representations of functions carry addresses.
    return _digest(re.sub(r"0x[0-9a-f]+", "", str(model)), model.state_dict())


def _digest(structure: str, weights: Mapping[str, Any]) -> str:
    state = hashlib.blake2b(structure.encode(), digest_size=8)
    for name, value in sorted(weights.items()):
        state.update(name.encode())
        if has_plain_bytes(value):
            state.update(f"{value.dtype} {tuple(value.shape)}".encode())
            host = value.detach().cpu().reshape(-1).contiguous()
            state.update(host.view(torch.uint8).numpy().data)
    return state.hexdigest()
