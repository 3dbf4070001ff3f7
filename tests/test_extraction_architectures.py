"""Small Hugging Face models of random weights: padded batches give what every text, picture or pair gives alone."""

from __future__ import annotations

import os
import warnings

import numpy as np
import pytest
import torch

import homolog as hl

os.environ["HF_HUB_OFFLINE"] = "1"
import transformers

WORDS, SMALL = 40, {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 20}
HEADS = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 20, "decoder_ffn_dim": 20}
GATED = {"num_key_value_heads": 2, "moe_intermediate_size": 8, "shared_expert_intermediate_size": 8, "num_experts": 4}
SIDES = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, **HEADS}
PICTURE = {"image_size": 16, "patch_size": 8, **SMALL}
MADE = {
    "Bert": {"vocab_size": WORDS, **SMALL},
    "GPT2": {"vocab_size": WORDS, "n_embd": 16, "n_layer": 2, "n_head": 2},
    "Qwen2Moe": {"vocab_size": WORDS, **SMALL, **GATED, "num_experts_per_tok": 2},
    "Mamba": {"vocab_size": WORDS, "hidden_size": 16, "num_hidden_layers": 2, "state_size": 4},
    "T5": {"vocab_size": WORDS, "d_model": 16, "d_kv": 8, "d_ff": 20, "num_layers": 1, "num_heads": 2},
    "Bart": {"vocab_size": WORDS, "max_position_embeddings": 32, **SIDES},
    "ViT": PICTURE,
    "CLIP": {
        "text_config": {"vocab_size": WORDS, **SMALL, "eos_token_id": 2, "max_position_embeddings": 16},
        "vision_config": PICTURE,
        "projection_dim": 8,
    },
}
LEFT_OUT = {
    "Bert": "embeddings.position_embeddings",
    "GPT2": "wpe",
    "Qwen2Moe": "rotary_emb",
    "T5": "encoder.block.0.layer.0.SelfAttention.relative_attention_bias",
    "Bart": "decoder.embed_positions",
    "CLIP": "text_model.embeddings.position_embedding",
}
LENGTHS, OTHERS = [7, 3, 5, 2, 6, 4, 7], [2, 6, 3, 5, 4, 7, 2]


def made(kind):
    torch.manual_seed(0)
    return getattr(transformers, f"{kind}Model")(getattr(transformers, f"{kind}Config")(**MADE[kind])).eval()


def texts(lengths, seed):
    generator = torch.Generator().manual_seed(seed)
    ends = torch.tensor([2])
    return [torch.cat([torch.randint(5, WORDS, (n - 1,), generator=generator), ends]) for n in lengths]


def padded(texts, prefix=""):
    ids = torch.nn.utils.rnn.pad_sequence(texts, batch_first=True)
    return {f"{prefix}input_ids": ids, f"{prefix}attention_mask": (ids != 0).long()}


def data(kind, size):
    """Batches of so many examples."""
    first, second = texts(LENGTHS, 1), texts(OTHERS, 2)
    pictures = torch.randn(7, 3, 16, 16, generator=torch.Generator().manual_seed(3))
    batches = []
    for start in range(0, 7, size):
        part = slice(start, start + size)
        batch = {} if kind == "ViT" else padded(first[part])
        batch |= padded(second[part], "decoder_") if kind in ("T5", "Bart") else {}
        batch |= {"pixel_values": pictures[part]} if kind in ("ViT", "CLIP") else {}
        batches.append(batch)
    return batches


@pytest.mark.parametrize("reduce", ["mean", "last"])
@pytest.mark.parametrize("kind", MADE)
def test_batches_give_what_every_example_gives_alone(kind, reduce):
    model = made(kind)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        together = hl.extract(model, data(kind, 3), reduce=reduce)
        apart = hl.extract(model, data(kind, 1), reduce=reduce, layers=list(together))
    told = [str(one.message) for one in caught if issubclass(one.category, hl.HomologWarning)]
    maps = kind == "ViT" and reduce == "last"  # which have no last position
    assert len(told) == (kind in LEFT_OUT or maps)
    assert LEFT_OUT.get(kind, "") in "".join(told)
    assert LEFT_OUT.get(kind) not in list(together)
    for name, layer in apart.items():
        np.testing.assert_allclose(together[name], layer, atol=1e-3 * np.ptp(layer), err_msg=name)


@pytest.mark.filterwarnings("ignore:left out:homolog.ExtractionWarning")
def test_a_decoder_without_a_mask_of_its_own_is_told_of_its_padding():
    batches = [{k: v for k, v in batch.items() if k != "decoder_attention_mask"} for batch in data("T5", 3)]
    told = "decoder.*: every position counts, though rows of batch.*: pass decoder_attention_mask with the batch"
    with pytest.warns(hl.ExtractionWarning, match=told):
        hl.extract(made("T5"), batches, reduce="mean")
