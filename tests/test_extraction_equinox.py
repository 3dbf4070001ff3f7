"""Modules of Equinox, which take one example: what is heard over a batch of them."""

from __future__ import annotations

import equinox
import jax
import numpy as np
import pytest
from jax import numpy as jnp

import homolog as hl
from homolog.extraction.frameworks.equinox_models import adapt, is_model

KEYS = jax.random.split(jax.random.key(0), 6)


def extract(model, data, **options):
    """In batches of one size: JAX compiles every operation anew for another one."""
    return hl.extract(model, data, **{"batch_size": 6} | options)


class Network(equinox.Module):
    """A network with a state, which asks for a key even where nothing is drawn."""

    conv: equinox.nn.Conv2d
    norm: equinox.nn.BatchNorm
    drop: equinox.nn.Dropout
    blocks: list
    head: equinox.nn.Sequential

    def __init__(self):
        self.conv = equinox.nn.Conv2d(3, 4, 3, padding=1, key=KEYS[0])
        self.norm = equinox.nn.BatchNorm(4, axis_name="batch", mode="batch")
        self.drop = equinox.nn.Dropout(0.5)
        self.blocks = [equinox.nn.Linear(4, 4, key=key) for key in KEYS[1:3]]
        first, last = equinox.nn.Linear(4, 3, key=KEYS[3]), equinox.nn.Linear(3, 2, key=KEYS[4])
        self.head = equinox.nn.Sequential([first, equinox.nn.Lambda(jax.nn.relu), last])

    def __call__(self, photo, state, key):
        maps, state = self.norm(self.conv(photo), state)
        values = self.drop(maps, key=key).mean((1, 2))
        for block in (*self.blocks, self.blocks[0]):
            values = values + block(values)
        return self.head(values), state


@pytest.fixture(scope="module")
def network():
    return equinox.nn.make_with_state(Network)()


@pytest.fixture
def photos(rng):
    return rng.normal(size=(12, 3, 8, 8))


@pytest.fixture
def table(rng):
    return rng.normal(size=(12, 4)).astype("float32")


def test_layers_of_one_example_are_heard_over_a_batch(network, photos):
    model, state = network
    found = extract(network, photos)
    names = ["conv", "norm", "drop", "blocks.0", "blocks.1", "blocks.0#2"]
    assert list(found) == [*names, *(f"head.layers.{place}" for place in range(3))]
    told = equinox.nn.inference_mode(model)
    scores, _ = jax.vmap(told, in_axes=(0, None, None), out_axes=(0, None))(photos, state, None)
    np.testing.assert_allclose(found["head.layers.2"], scores, rtol=1e-5, atol=1e-6)
    assert not model.drop.inference
    labelled = extract(network, [(photos[:6], np.arange(6)), (photos[6:], np.arange(6))])
    np.testing.assert_allclose(labelled["blocks.1"], found["blocks.1"], rtol=1e-5, atol=1e-6)


def test_channels_are_known_to_be_first(network, photos):
    found = extract(network, photos, layers="conv", reduce="mean")
    maps = jax.vmap(network[0].conv)(photos)
    np.testing.assert_allclose(found["conv"], np.asarray(maps).mean((2, 3)), rtol=1e-4, atol=1e-6)
    line = equinox.nn.Conv1d(3, 5, 3, key=KEYS[0])
    steps = photos[..., 0]
    found = extract(line, steps, reduce="mean")
    np.testing.assert_allclose(found["output"], np.asarray(jax.vmap(line)(steps)).mean(2), rtol=1e-4, atol=1e-6)


def test_inputs_come_in_the_type_of_the_weights(network, photos):
    half = jax.tree.map(lambda leaf: leaf.astype("bfloat16") if equinox.is_inexact_array(leaf) else leaf, network)
    found = extract(half, photos.astype("float32"))  # a convolution takes no other type
    assert {values.dtype for values in found.values()} == {np.dtype("float32")}
    np.testing.assert_allclose(found["conv"], extract(network, photos)["conv"], atol=0.1)


def test_layers_are_chosen_by_name_and_told_with_near_ones(network, photos):
    assert list(extract(network, photos, layers=["head", "blocks.*"])) == [
        "blocks.0",
        "blocks.1",
        "blocks.0#2",
        "head",
    ]
    with pytest.raises(KeyError, match="unknown layer 'cov', did you mean conv"):
        extract(network, photos, layers="cov")


@pytest.mark.parametrize("wrap", [lambda model: model, equinox.filter_jit], ids=["plain", "compiled"])
def test_a_batch_is_given_by_name_or_by_forward(table, wrap):
    model = equinox.nn.MLP(4, 3, 8, 2, key=KEYS[0])
    expected = extract(model, table)
    assert list(expected) == ["layers.0", "layers.1", "layers.2", "output"]  # whose last activation is the identity
    named = extract(wrap(model), {"x": table})
    called = extract(wrap(model), {"a": table}, forward=lambda model, example: model(example["a"]))
    for found in (named, called, extract(wrap(model), jnp.asarray(table))):
        assert list(found) == list(expected)
        np.testing.assert_array_equal(found["layers.1"], expected["layers.1"])


def test_parts_inside_a_further_vmap_are_left_out(rng):
    attention = equinox.nn.MultiheadAttention(2, 8, key=KEYS[0])
    tokens = [rng.normal(size=(12, 5, 8)).astype("float32") for _ in range(3)]
    found = extract(attention, [tuple(tokens)], reduce="positions")
    assert list(found) == ["output"]
    expected = jax.vmap(attention)(*tokens)
    np.testing.assert_allclose(found["output"], np.asarray(expected).reshape(60, 8), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("compiled", [jax.jit, equinox.filter_jit])
@pytest.mark.parametrize("inherited", [False, True])
def test_layers_inside_a_compiled_call_are_heard(table, compiled, inherited):
    class Compiled(equinox.Module):
        inner: equinox.nn.Linear

        @compiled
        def __call__(self, values):
            return 2 * self.inner(values)

    class Below(Compiled):
        pass

    kind, before = (Below if inherited else Compiled), vars(Compiled)["__call__"]
    found = extract(kind(equinox.nn.Linear(4, 3, key=KEYS[0])), table)
    assert list(found) == ["inner", "output"]
    np.testing.assert_allclose(found["output"], 2 * found["inner"], rtol=1e-6)
    assert vars(Compiled)["__call__"] is before
    assert "__call__" not in vars(Below)


def test_a_module_without_a_call_is_told_how_it_is_run(table):
    class Encoder(equinox.Module):
        inner: equinox.nn.Linear

        def encode(self, values):
            return self.inner(values)

    model = Encoder(equinox.nn.Linear(4, 3, key=KEYS[0]))
    with pytest.raises(TypeError, match="got Encoder without __call__: say what is called, as in forward="):
        extract(model, table)
    assert list(extract(model, table, forward=lambda model, example: model.encode(example))) == ["inner"]


def test_classes_are_put_back(network, photos):
    kinds = {
        kind: vars(kind).get("__call__") for kind in (Network, equinox.nn.Linear, equinox.nn.Conv2d, equinox.nn.Conv)
    }
    extract(network, photos)
    assert {kind: vars(kind).get("__call__") for kind in kinds} == kinds


def test_digests_tell_weights_and_structure_apart(network):
    model, state = network
    assert adapt(network).digest() == adapt((model, state)).digest()
    other = equinox.tree_at(lambda tree: tree.conv.bias, model, model.conv.bias + 1)
    assert adapt((other, state)).digest() != adapt(network).digest()
    mlps = [equinox.nn.MLP(4, 3, 8, 2, activation=act, key=KEYS[0]) for act in (jax.nn.relu, jax.nn.tanh)]
    assert adapt(mlps[0]).digest() != adapt(mlps[1]).digest()


def test_models_are_known_by_their_classes(network):
    assert is_model(network)
    assert is_model(network[0])
    assert not any(map(is_model, ((1, 2), None, np.ones(3), jax.nn.relu)))
