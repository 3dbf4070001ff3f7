"""Models of Keras: which layers are heard, what reaches the model, and that it is left as it was."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest
from small_conv_elsewhere import imported_keras

import homolog as hl
from homolog.extraction.frameworks.keras_models import adapt, is_model

keras = imported_keras()
layers, ops = keras.layers, keras.ops
ON_TORCH = keras.backend.backend() == "torch"

# Keras reads PyTorch's tensors in a way that NumPy will give up.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(autouse=True)
def fresh_names():
    """Names that Keras counts begin anew, and so do its random numbers."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(0)


def values_of(tensor) -> np.ndarray:
    return np.array(ops.convert_to_numpy(tensor))


def photos(rng, n=12) -> np.ndarray:
    return rng.normal(size=(n, 8, 8, 3)).astype("float32")


def rows(rng, n=12, p=8) -> np.ndarray:
    return rng.normal(size=(n, p)).astype("float32")


def graph() -> keras.Model:
    """A functional model with a sum written as x + y."""
    start = keras.Input((8, 8, 3), name="photo")
    maps = layers.Conv2D(4, 3, padding="same", name="conv")(start)
    maps = layers.BatchNormalization(name="norm")(maps + layers.ReLU(name="relu")(maps))
    return keras.Model(start, layers.Dense(2, name="head")(layers.Dropout(0.5, name="drop")(layers.Flatten()(maps))))


class Residual(layers.Layer):
    """A block whose output is no layer's."""

    def __init__(self, **options):
        super().__init__(**options)
        self.inner = layers.Dense(8, name="inner")

    def call(self, values):
        return values + self.inner(values)


class Wrapper(layers.Layer):
    """A block that hands on what a layer inside it puts out."""

    def __init__(self, **options):
        super().__init__(**options)
        self.inner = layers.Dense(8, name="inner")

    def call(self, values):
        return self.inner(values)


class Subclassed(keras.Model):
    def __init__(self, last=None):
        super().__init__()
        self.blocks = [Residual(name="first"), Wrapper(name="second")]
        self.head = keras.Sequential([layers.Dense(3, name="hidden"), layers.Dense(2, name="scores")], name="head")
        self.last = last

    def call(self, values, training=True):
        if training:
            raise AssertionError("the model was run as in training")
        for block in self.blocks:
            values = block(values)
        values = self.head(values)
        return values if self.last is None else self.last(values)


def built(model, p=8):
    model(np.zeros((1, p), "float32"), training=False)
    return model


def test_layers_of_a_graph_come_in_order_with_its_sums(rng):
    model, data = graph(), photos(rng)
    found = hl.extract(model, data, batch_size=5)
    assert list(found) == ["conv", "relu", "add", "norm", "flatten", "drop", "head"]
    np.testing.assert_allclose(found["head"], values_of(model(data, training=False)), rtol=1e-5, atol=1e-6)
    maps = values_of(keras.Model(model.input, model.get_layer("norm").output)(data))
    np.testing.assert_allclose(found["norm"], maps.transpose(0, 3, 1, 2).reshape(12, -1), rtol=1e-5, atol=1e-6)


def test_maps_are_averaged_over_their_places_unasked(rng):
    model, data = graph(), photos(rng)
    found = hl.extract(model, data, reduce="mean", layers=["conv"])
    maps = values_of(keras.Model(model.input, model.get_layer("conv").output)(data))
    np.testing.assert_allclose(found["conv"], maps.mean((1, 2)), rtol=1e-4, atol=1e-6)


def test_channels_are_where_each_layer_has_them(rng):
    first = keras.Sequential([keras.Input((3, 8, 8)), layers.MaxPooling2D(data_format="channels_first", name="pool")])
    data = photos(rng).transpose(0, 3, 1, 2)
    assert hl.extract(first, data, reduce="mean")["pool"].shape == (12, 3)
    formats = ("channels_first", "channels_last")
    mixed = keras.Sequential([keras.Input((8, 8, 8)), *(layers.MaxPooling2D(data_format=one) for one in formats)])
    data = rng.normal(size=(12, 8, 8, 8)).astype("float32")
    assert len(hl.extract(mixed, data)) == 2  # as they are
    first, second = hl.extract(mixed, data, reduce="mean").values()
    pooled = data.reshape(12, 8, 4, 2, 4, 2).max((3, 5))
    np.testing.assert_allclose(first, pooled.mean((2, 3)), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(second, pooled.reshape(12, 4, 2, 2, 2, 4).max((2, 4)).mean((1, 2)), rtol=1e-5, atol=1e-6)


def test_layers_that_do_not_say_it_are_left_out_of_means_where_channels_come_first(rng):
    model = keras.Sequential(
        [
            keras.Input((3, 12)),
            layers.MaxPooling1D(data_format="channels_first", name="pool"),
            layers.Activation("tanh", name="act"),
        ]
    )
    data = rng.normal(size=(9, 3, 12)).astype("float32")
    with pytest.warns(UserWarning, match=r"act \(shape \(9, 3, 6\), nobody knows which axis holds the features\)"):
        found = hl.extract(model, data, reduce="mean")
    np.testing.assert_allclose(found["pool"], data.reshape(9, 3, 6, 2).max(3).mean(2), rtol=1e-5, atol=1e-6)


def test_a_subclassed_model_runs_as_in_inference_and_blocks_that_compute_nothing_are_left_out(rng):
    model, data = built(Subclassed()), rows(rng)
    found = hl.extract(model, data)
    assert list(found) == ["first.inner", "first", "second.inner", "head.hidden", "head.scores"]
    np.testing.assert_allclose(found["first"], data + found["first.inner"], rtol=1e-5, atol=1e-6)
    assert found.modules["first"].type == "Residual"
    named = hl.extract(model, data, layers=["second", "head", "output"])
    assert list(named) == ["second", "head", "output"]
    np.testing.assert_array_equal(named["output"], found["head.scores"])


def test_what_a_model_does_after_its_last_layer_is_its_output(rng):
    found = hl.extract(built(Subclassed(ops.softmax)), rows(rng))
    assert list(found)[-1] == "output"
    np.testing.assert_allclose(found["output"].sum(1), 1, rtol=1e-5)


def test_globs_and_predicates_choose_and_a_wrong_name_is_told_with_near_ones(rng):
    model, data = built(Subclassed()), rows(rng)
    assert list(hl.extract(model, data, layers="*.inner")) == ["first.inner", "second.inner"]
    assert list(hl.extract(model, data, layers=lambda name, kind: kind == "Residual")) == ["first"]
    with pytest.raises(KeyError, match=r"unknown layer 'head.hiden', did you mean head.hidden"):
        hl.extract(model, data, layers=["head.hiden"])


def test_a_shared_model_is_numbered_by_its_calls(rng):
    encoder = keras.Sequential([keras.Input((8,)), layers.Dense(4, name="dense")], name="encoder")
    left, right = keras.Input((8,), name="left"), keras.Input((8,), name="right")
    model = keras.Model([left, right], layers.Subtract(name="minus")([encoder(left), encoder(right)]))
    data = {"left": rows(rng), "right": rows(rng)}
    found = hl.extract(model, data)
    assert list(found) == ["encoder.dense", "encoder.dense#2", "minus"]
    np.testing.assert_allclose(found["encoder.dense#2"], values_of(encoder(data["right"])), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found["minus"], found["encoder.dense"] - found["encoder.dense#2"], atol=1e-6)
    assert list(hl.extract(model, data, layers="encoder")) == ["encoder", "encoder#2"]


@pytest.mark.parametrize(
    "batch",
    [
        lambda left, right: {"right": right, "left": left, "label": np.arange(12)},
        lambda left, right: (left, right),
        lambda left, right: (left, right, np.arange(12)),
        lambda left, right: ((left, right), np.arange(12)),
    ],
    ids=["mapping with labels", "tuple", "tuple with labels", "inputs with labels"],
)
@pytest.mark.parametrize("structure", ["list", "mapping"])
def test_several_inputs_come_by_name_or_by_place(rng, batch, structure):
    left, right = keras.Input((8,), name="left"), keras.Input((8,), name="right")
    inputs = [left, right] if structure == "list" else {"left": left, "right": right}
    model = keras.Model(inputs, layers.Subtract(name="minus")([left, right]))
    data = rows(rng), rows(rng)
    assert np.array_equal(hl.extract(model, [batch(*data)])["minus"], data[0] - data[1])


def test_missing_inputs_are_told(rng):
    left, right = keras.Input((8,), name="left"), keras.Input((8,), name="right")
    model = keras.Model([left, right], layers.Subtract()([left, right]))
    with pytest.raises(ValueError, match="must hold the inputs of the model, left, right, got left, wrong"):
        hl.extract(model, {"left": rows(rng), "wrong": rows(rng)})
    with pytest.raises(ValueError, match="must hold the 2 inputs of the model, got 1"):
        hl.extract(model, rows(rng))


def test_forward_says_how_the_model_is_called(rng):
    model, data = graph(), photos(rng)
    found = hl.extract(model, {"a": data / 2}, forward=lambda model, batch: model(batch["a"] * 2))
    np.testing.assert_array_equal(found["head"], hl.extract(model, data)["head"])


def test_masks_of_embeddings_leave_padding_out(rng):
    tokens = rng.integers(1, 20, (6, 7))
    tokens[1, 4:], tokens[2, 2:] = 0, 0
    start = keras.Input((7,), dtype="int32")
    vectors = layers.Embedding(20, 8, mask_zero=True, name="embedding")(start)
    states = layers.LSTM(5, return_sequences=True, name="lstm")(vectors)
    attended = layers.MultiHeadAttention(2, 4, name="attention")(states, states)
    model = keras.Model(start, layers.Bidirectional(layers.GRU(3), name="both")(attended))
    found = hl.extract(model, tokens, reduce="mean")
    assert list(found) == ["embedding", "lstm", "attention", "both"]  # and not what is inside them
    table = values_of(model.get_layer("embedding").embeddings)
    np.testing.assert_allclose(found["embedding"][2], table[tokens[2, :2]].mean(0), rtol=1e-5)
    assert hl.extract(model, tokens, reduce="positions", layers="lstm")["lstm"].shape[0] == int((tokens > 0).sum())
    with pytest.raises(ValueError, match="holds padding, which flatten would count"):
        hl.extract(model, tokens)


def test_of_several_outputs_of_a_layer_the_first_counts(rng):
    start = keras.Input((5, 3))
    model = keras.Model(start, layers.LSTM(4, return_sequences=True, return_state=True, name="lstm")(start))
    assert hl.extract(model, rng.normal(size=(6, 5, 3)).astype("float32"))["lstm"].shape == (6, 20)


def test_the_model_is_left_as_it_was(rng):
    start = keras.Input(batch_shape=(4, 5, 3))
    values = layers.LSTM(6, stateful=True, name="lstm")(layers.GaussianNoise(1.0)(start))
    model = keras.Model(start, layers.BatchNormalization()(values))
    model.trainable = False
    lstm = model.get_layer("lstm")
    lstm.states[0].assign(np.ones((4, 6)))
    before = [values_of(variable.value) for variable in [*model.variables, *lstm.states]]
    kinds = {kind: vars(kind).get("__call__") for layer in model.layers for kind in type(layer).__mro__}
    data = rng.normal(size=(8, 5, 3)).astype("float32")
    first, second = (hl.extract(model, data, batch_size=4) for _ in range(2))
    np.testing.assert_array_equal(first["lstm"], second["lstm"])
    for variable, value in zip([*model.variables, *lstm.states], before, strict=True):
        np.testing.assert_array_equal(values_of(variable.value), value)
    assert {kind: vars(kind).get("__call__") for kind in kinds} == kinds


def test_the_classes_are_put_back_where_the_model_fails(rng):
    class Failing(layers.Layer):
        def call(self, values):
            raise RuntimeError("no")

    layer = Failing()
    layer.built = True
    kinds = {kind: vars(kind).get("__call__") for kind in Failing.__mro__}
    with pytest.raises(RuntimeError):
        hl.extract(layer, rows(rng))
    assert {kind: vars(kind).get("__call__") for kind in kinds} == kinds


def test_extractions_in_threads_hear_their_own_model(rng):
    models, data, found = [built(Subclassed()) for _ in range(4)], rows(rng), {}

    def run(place):
        found[place] = hl.extract(models[place], data, batch_size=2)

    threads = [threading.Thread(target=run, args=[place]) for place in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for place, model in enumerate(models):
        alone = hl.extract(model, data, batch_size=2)
        assert list(found[place]) == list(alone)
        np.testing.assert_array_equal(found[place]["first"], alone["first"])


def test_a_layer_that_works_in_place_changes_nothing_that_was_heard(rng):
    class InPlace(layers.Layer):
        def call(self, values):
            if ON_TORCH:
                values += 1.0
                return values
            return values + 1.0

    model = keras.Sequential([keras.Input((8,)), layers.Dense(4, name="dense"), InPlace(name="plus")])
    found = hl.extract(model, rows(rng))
    np.testing.assert_allclose(found["plus"], found["dense"] + 1, rtol=1e-6)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="only TensorFlow has such functions")
def test_layers_in_functions_of_tensorflow_are_heard(rng):
    tensorflow = pytest.importorskip("tensorflow")
    model = built(Subclassed())
    expected = hl.extract(model, rows(rng))
    model.call = tensorflow.function(model.call)
    assert list(hl.extract(model, rows(rng))) == list(expected)
    assert not tensorflow.config.functions_run_eagerly()


def test_an_unbuilt_model_is_refused(rng):
    with pytest.raises(ValueError, match="model must have its weights, got a Sequential that was never built"):
        hl.extract(keras.Sequential([layers.Dense(3)]), rows(rng))


def test_a_device_is_refused(rng):
    with pytest.raises(ValueError, match="device must be left out for a model of Keras', got 'cuda'"):
        hl.extract(graph(), photos(rng), device="cuda")


def test_quantised_and_mixed_precision_give_float32(rng):
    model = keras.Sequential([keras.Input((8,)), layers.Dense(16, name="hidden"), layers.Dense(4, name="scores")])
    data = rows(rng, 40)
    before = hl.extract(model, data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that an input layer has nothing to quantise
        model.quantize("int8")
    after = hl.extract(model, data)
    assert {name: values.dtype for name, values in after.items()} == {"hidden": np.float32, "scores": np.float32}
    assert 0.99 < hl.cka(before["scores"], after["scores"]) < 1.0
    half = [layers.Dense(4, dtype=f"mixed_{kind}") for kind in ("bfloat16", "float16")]
    found = hl.extract(keras.Sequential([keras.Input((8,)), *half]), data)
    assert {values.dtype for values in found.values()} == {np.dtype("float32")}


def test_a_store_is_continued_by_the_same_model_only(rng, tmp_path):
    model, data, out = graph(), photos(rng, 20), tmp_path / "layers.zarr"
    hl.extract(model, data, out=out, batch_size=5, max_examples=10)
    whole = hl.extract(model, data, out=out, batch_size=5, resume=True)
    assert whole.n == 20
    np.testing.assert_array_equal(np.asarray(whole["head"]), hl.extract(model, data, batch_size=5)["head"])
    model.get_layer("head").bias.assign([1.0, 2.0])
    with pytest.raises(ValueError, match="must be continued as it was begun"):
        hl.extract(model, data, out=out, batch_size=5, resume=True, max_examples=25)


def test_a_digest_tells_weights_structure_and_code_apart():
    def digest(rate=0.5, scale=1.0, call=None):
        keras.utils.clear_session()
        keras.utils.set_random_seed(0)
        body = {} if call is None else {"call": call}
        own = type("Own", (layers.Layer,), body)
        model = keras.Sequential([keras.Input((8,)), layers.Dense(3), own(), layers.Dropout(rate)])
        model.layers[0].kernel.assign(model.layers[0].kernel * scale)
        return adapt(model).digest()

    twice = digest(call=lambda self, values: values * 2)
    assert twice == digest(call=lambda self, values: values * 2)
    assert twice != digest(call=lambda self, values: values * 3)
    assert twice != digest(call=lambda self, values: values * 2, rate=0.25)
    assert twice != digest(call=lambda self, values: values * 2, scale=1.5)


def test_more_than_memory_is_refused(rng):
    with pytest.raises(ValueError, match=r"must fit in memory=1000 B.*conv"):
        hl.extract(graph(), photos(rng), memory="1kB")


def test_models_are_known_without_a_backend():
    assert all(map(is_model, ("a.keras", "b.h5", "c.hdf5")))
    assert not any(map(is_model, ("a.onnx", "a.npz", None, 3, np.ones(3), len, keras.optimizers.Adam())))


@pytest.mark.slow
@pytest.mark.skipif(not ON_TORCH, reason="this is the run on JAX")
def test_all_of_this_holds_on_jax():
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
    run = subprocess.run(
        command, env=os.environ | {"KERAS_BACKEND": "jax"}, timeout=600, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout
