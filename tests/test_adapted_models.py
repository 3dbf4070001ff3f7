"""Models with adapters of PEFT's: named as the models that are adapted, with the adapter and without it."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import tiny_models
import torch

import homolog as hl

peft = pytest.importorskip("peft", reason="models with adapters")

LORA = {"r": 4, "init_lora_weights": False}
ADAPTERS = {
    "lora": ("llama", lambda: peft.LoraConfig(target_modules=["q_proj", "v_proj", "embed_tokens"], **LORA)),
    "dora": ("llama", lambda: peft.LoraConfig(target_modules=["q_proj"], use_dora=True, **LORA)),
    "tokens": ("llama", lambda: peft.LoraConfig(target_modules=["q_proj"], trainable_token_indices=[1, 2], **LORA)),
    "copies": (
        "bert",
        lambda: peft.LoraConfig(target_modules=["query"], modules_to_save=["pooler", "classifier"], **LORA),
    ),
    "ia3": (
        "llama",
        lambda: peft.IA3Config(
            target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"], init_ia3_weights=False
        ),
    ),
    "norms": ("llama", lambda: peft.LNTuningConfig(target_modules=["input_layernorm"])),
    "oft": ("llama", lambda: peft.OFTConfig(target_modules=["q_proj"], oft_block_size=4, init_weights=False)),
    "loha": ("llama", lambda: peft.LoHaConfig(target_modules=["q_proj"], init_weights=False)),
    "prefix": ("llama", lambda: peft.PrefixTuningConfig(num_virtual_tokens=3, task_type="CAUSAL_LM")),
}
CHANGED = 1e-5
"""How far outputs are apart where something has changed; rounding is below 1e-6."""
TRAINED = ("prompt", "trainable_tokens", "modules_to_save", "ln_tuning")


def extracted(model, data=None, **options):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "left out, because nobody named them", hl.ExtractionWarning)
        warnings.filterwarnings("ignore", "`past_key_values` is deprecated", FutureWarning)
        return hl.extract(model, tiny_models.tokens() if data is None else data, **{"reduce": "mean"} | options)


def with_adapter(name):
    """The model and its adapter, of which every weight is as if it had been trained."""
    kind, config = ADAPTERS[name]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Unsupported layer type .*LlamaRMSNorm", UserWarning)
        model = tiny_models.adapted(getattr(tiny_models, kind)(), config())
    for weight, values in model.named_parameters():
        if any(part in weight for part in TRAINED):
            values.data = torch.randn_like(values)
    return model


@pytest.mark.parametrize("name", ADAPTERS)
def test_an_adapted_model_has_the_layers_of_the_model_that_is_adapted(name):
    plain = extracted(getattr(tiny_models, ADAPTERS[name][0])())
    model = with_adapter(name)
    on = extracted(model)
    with model.disable_adapter():
        off = extracted(model)
    assert list(on) == list(off) == list(plain)
    for layer in plain:
        np.testing.assert_allclose(off[layer], plain[layer], atol=1e-6, err_msg=layer)
    last = list(plain)[-1]
    assert np.abs(on[last] - off[last]).max() > CHANGED
    result = hl.compare(off, on, pairs="same_name", measures="cka(estimator=debiased)")
    assert [str(layer) for layer in result["layer_a"].values] == list(plain)


def test_parts_of_an_adapter_are_there_by_name():
    model = with_adapter("lora")
    layer = "model.layers.0.self_attn.q_proj"
    parts = ["", ".base_layer", ".lora_A.default", ".lora_B.default"]
    found = extracted(model, layers=[layer + part for part in parts])
    assert set(found) == {layer + part for part in parts}
    scale = model.base_model.model.model.layers[0].self_attn.q_proj.scaling["default"]
    summed = found[f"{layer}.base_layer"] + scale * found[f"{layer}.lora_B.default"]
    np.testing.assert_allclose(found[layer], summed, atol=1e-6)
    assert list(extracted(model, layers="**.layers.*")) == ["model.layers.0", "model.layers.1"]


def test_names_as_peft_writes_them_are_taken():
    model = with_adapter("lora")
    theirs = "base_model.model.model.layers."
    found = extracted(model, layers=f"{theirs}*")
    assert list(found) == [f"{theirs}0", f"{theirs}1"]
    np.testing.assert_array_equal(found[f"{theirs}1"], extracted(model, layers="model.layers.1")["model.layers.1"])


def test_a_copy_that_is_trained_goes_by_the_name_of_the_module():
    model = with_adapter("copies")
    copy = model.base_model.model.bert.pooler.modules_to_save["default"]
    found = extracted(model, layers=["bert.pooler.dense", "bert.pooler"])
    np.testing.assert_allclose(found["bert.pooler"], np.tanh(found["bert.pooler.dense"]), atol=1e-6)
    copy.dense.bias.data += 1
    moved = extracted(model, layers="bert.pooler.dense")
    np.testing.assert_allclose(moved["bert.pooler.dense"], found["bert.pooler.dense"] + 1, atol=1e-5)


def test_adapters_put_into_a_model_without_a_wrapper():
    model = tiny_models.llama()
    plain = extracted(model)
    torch.manual_seed(1)
    peft.inject_adapter_in_model(peft.LoraConfig(target_modules=["q_proj"], **LORA), model)
    on = extracted(model)
    for module in model.modules():
        if isinstance(module, peft.tuners.tuners_utils.BaseTunerLayer):
            module.enable_adapters(False)
    off = extracted(model)
    assert list(on) == list(off) == list(plain)
    np.testing.assert_allclose(off["lm_head"], plain["lm_head"], atol=1e-6)
    assert np.abs(on["lm_head"] - plain["lm_head"]).max() > CHANGED


def test_a_store_is_not_continued_with_the_adapter_switched(tmp_path):
    model, layers = with_adapter("lora"), "model.layers.*"
    store = {"out": tmp_path / "on.zarr", "batch_size": 4, "layers": layers}
    extracted(model, max_examples=4, **store)
    with (
        model.disable_adapter(),
        pytest.raises(ValueError, match=r"_disable_adapters False, got .*_disable_adapters True"),
    ):
        extracted(model, resume=True, **store)
    finished = extracted(model, resume=True, **store)
    whole = extracted(model, layers=layers)
    np.testing.assert_allclose(finished["model.layers.1"][:], whole["model.layers.1"], atol=1e-6)


def test_a_store_is_not_continued_with_another_adapter(tmp_path):
    model = with_adapter("lora")
    model.add_adapter("second", peft.LoraConfig(target_modules=["q_proj"], **LORA))
    store = {"out": tmp_path / "first.zarr", "batch_size": 4, "layers": "model.layers.*"}
    extracted(model, max_examples=4, **store)
    model.set_adapter("second")
    with pytest.raises(ValueError, match=r"must be continued as it was begun, with \w+\._active_adapter"):
        extracted(model, resume=True, **store)


def test_one_model_with_and_without_its_adapter_in_one_pass():
    model = with_adapter("lora")

    def without(model, batch):
        with model.disable_adapter():
            return model(**batch)

    data, options = tiny_models.tokens(40), {"layers": "model.layers.*", "reduce": "mean"}
    result = hl.compare_models(model, model, data, forward_b=without, exact=True, batch_size=20, **options)
    on = extracted(model, data, **options)
    with model.disable_adapter():
        off = extracted(model, data, **options)
    expected = hl.compare(on, off, measures="cka(estimator=debiased)")
    name = "cka(estimator=debiased)"
    np.testing.assert_allclose(result[name].values, expected[name].values, atol=1e-5)
    assert not result.attrs["same_model"]


def test_prompt_tuning_says_that_its_positions_are_more():
    config = peft.PromptTuningConfig(num_virtual_tokens=3, task_type="CAUSAL_LM")
    model = tiny_models.adapted(tiny_models.llama(), config)
    with pytest.raises(ValueError, match="has 10 positions, but attention_mask has shape"):
        extracted(model)

    def mask(batch):
        return torch.cat([torch.ones(len(batch["input_ids"]), 3), batch["attention_mask"]], dim=1)

    found = extracted(model, layers="model.layers.*", mask=mask)
    assert list(found) == ["model.layers.0", "model.layers.1"]


def test_a_layer_that_is_not_called_as_a_module_is_left_out_of_no_batch():
    class Attending(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = torch.nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x):
            return self.attention(x, x, x)[0]

    # The adapter of this kind of layer makes new weights of it in every forward.
    model = tiny_models.adapted(Attending(), peft.LoraConfig(target_modules=["attention"], **LORA))
    x = torch.randn(5, 4, 8, generator=torch.Generator().manual_seed(0))
    found = extracted(model, x, batch_size=2)
    assert found.n == 5
    assert list(found) == ["attention"]
