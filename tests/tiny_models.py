"""Models of other libraries with random weights, so small that a test makes them at once."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import torch

os.environ["HF_HUB_OFFLINE"] = "1"
import transformers

transformers.utils.logging.disable_progress_bar()

WORDS = [
    "the",
    "river",
    "runs",
    "to",
    "sea",
    "a",
    "committee",
    "said",
    "yes",
    "no",
    "long",
    "short",
    "one",
    "two",
    "three",
]
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
TEXTS = [" ".join(WORDS[(3 * i + 5 * j) % len(WORDS)] for j in range(1 + i % 6)) for i in range(12)]
SIZES = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}


def llama(seed: int = 0) -> Any:
    torch.manual_seed(seed)
    config = transformers.LlamaConfig(vocab_size=32, num_key_value_heads=2, max_position_embeddings=32, **SIZES)
    return transformers.LlamaForCausalLM(config).eval()


def bert(kind: str = "BertForSequenceClassification", *, seed: int = 0, width: int = 16, labels: int = 2) -> Any:
    torch.manual_seed(seed)
    config = transformers.BertConfig(
        vocab_size=len(VOCABULARY), max_position_embeddings=32, num_labels=labels, **SIZES | {"hidden_size": width}
    )
    return getattr(transformers, kind)(config).eval()


def gpt2() -> Any:
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=len(VOCABULARY), n_embd=16, n_layer=2, n_head=2, n_positions=32, bos_token_id=2, eos_token_id=3
    )
    return transformers.GPT2LMHeadModel(config).eval()


def word_tokenizer(words: list[str] | None = None) -> Any:
    """A tokenizer that gives every word a token; a text begins with [CLS]."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = VOCABULARY if words is None else words
    numbers = {word: i for i, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(numbers, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A",
        pair="[CLS] $A [SEP] $B",
        special_tokens=[(word, numbers[word]) for word in ("[CLS]", "[SEP]")],
    )
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "bos_token": "[CLS]", "eos_token": "[SEP]"}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=32, **special)


def tokens(n: int = 12, length: int = 7) -> dict[str, torch.Tensor]:
    """Token ids, of which the last two of every second example are padding."""
    ids = torch.randint(1, 20, (n, length), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[::2, -2:] = 0
    return {"input_ids": ids, "attention_mask": mask}


def write_gguf(path: Path, *, eight_bits: bool = False) -> None:
    """Write a language model of llama.cpp's format."""
    import gguf

    rng, width, inner, words = np.random.default_rng(0), 32, 64, 24
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(width)
    writer.add_block_count(2)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(2)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(words)
    blocks = {
        "attn_q": (width, width),
        "attn_k": (width, width),
        "attn_v": (width, width),
        "attn_output": (width, width),
    }
    blocks |= {"ffn_gate": (inner, width), "ffn_up": (inner, width), "ffn_down": (width, inner)}
    blocks |= {"attn_norm": (width,), "ffn_norm": (width,)}
    shapes = {"token_embd": (words, width), "output": (words, width), "output_norm": (width,)}
    shapes |= {f"blk.{i}.{name}": shape for i in range(2) for name, shape in blocks.items()}
    for name, shape in shapes.items():
        weights = rng.normal(size=shape).astype(np.float32) * 0.3
        if eight_bits and len(shape) == 2:
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(f"{name}.weight", gguf.quantize(weights, kind), raw_dtype=kind)
        else:
            writer.add_tensor(f"{name}.weight", weights)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def imported_timm() -> ModuleType:
    """timm; where torchvision cannot be imported, with stand-ins for what it imports of it and these networks never use."""
    parts = ("datasets", "models.feature_extraction", "ops", "ops.misc", "transforms", "transforms.functional")
    names = ["torchvision", *(f"torchvision.{part}" for part in parts)]
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError):
        before = {name: sys.modules.pop(name) for name in [*sys.modules] if name.startswith("torchvision")}
        sys.modules |= {name: MagicMock() for name in names}
        sys.modules["torchvision.ops.misc"].FrozenBatchNorm2d = type("FrozenBatchNorm2d", (torch.nn.Module,), {})
    else:
        before, names = {}, []
    try:
        import timm
    finally:
        for name in names:
            del sys.modules[name]
        sys.modules |= before
    return timm


def imported_nnsight() -> ModuleType:
    """nnsight without the method `save` that it gives to every object of the process."""
    import nnsight
    from nnsight._c.py_mount import unmount

    if hasattr(object(), "save"):
        unmount("save")
    return nnsight


def adapted(model: Any, config: Any) -> Any:
    """A model with an adapter of PEFT's."""
    import peft

    torch.manual_seed(1)
    with warnings.catch_warnings():
        # PEFT asks transformers under a name that has become old.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        return peft.get_peft_model(model, config)
