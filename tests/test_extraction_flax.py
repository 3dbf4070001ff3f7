"""Models of Flax: linen modules with their variables and nnx modules; what is heard, and that they are left as they were."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from conftest import command_line
from flax import linen, nnx
from flax.core import freeze
from flax.training.train_state import TrainState
from jax import numpy as jnp

import homolog as hl
from homolog.extraction.frameworks.flax_models import adapt, is_model


def extract(model, data, **options):
    """In batches of one size: JAX compiles every operation anew for another one."""
    return hl.extract(model, data, **{"batch_size": 6} | options)


def photos(rng, n=12) -> np.ndarray:
    return rng.normal(size=(n, 8, 8, 3)).astype("float32")


class Block(linen.Module):
    """A block that is told whether it is trained, and whose sum is no module's output."""

    @linen.compact
    def __call__(self, maps, train):
        inner = linen.Conv(4, (3, 3), name="conv")(maps)
        inner = linen.BatchNorm(use_running_average=not train, name="norm")(inner)
        return maps + linen.Dropout(0.5, deterministic=not train, name="drop")(linen.relu(inner))


class Network(linen.Module):
    @linen.compact
    def __call__(self, photos, train=True):
        maps = linen.Conv(4, (3, 3), name="start")(photos)
        block = Block(name="block")
        maps = block(block(maps, train), train)
        self.sow("intermediates", "pooled", maps.mean((1, 2)))
        scores = linen.Sequential([linen.Dense(3), linen.relu, linen.Dense(2)], name="head")(maps.mean((1, 2)))
        return linen.log_softmax(scores)


@pytest.fixture(scope="module")
def network():
    module = Network()
    variables = module.init(jax.random.key(0), np.zeros((1, 8, 8, 3), "float32"), train=False)
    statistics = jax.tree.map(lambda value: value + 0.5, variables["batch_stats"])
    return module, {"params": variables["params"], "batch_stats": statistics}


ORDER = [
    "start",
    *("block.conv", "block.norm", "block.drop", "block"),
    *("block.conv#2", "block.norm#2", "block.drop#2", "block#2"),
    *("pooled", "Dense_0", "Dense_1", "output"),
]


def test_layers_come_in_order_with_calls_sowed_values_and_blocks(network, rng):
    module, variables = network
    data = photos(rng)
    found = extract(network, data)
    assert list(found) == ORDER  # and not "head", whose output is that of its last layer
    expected = module.apply(variables, data, train=False)
    np.testing.assert_allclose(found["output"], expected, rtol=1e-4, atol=1e-5)
    maps, inner = found["start"].reshape(12, 4, -1), found["block.drop"].reshape(12, 4, -1)
    np.testing.assert_allclose(found["block"].reshape(12, 4, -1), maps + inner, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found["pooled"], found["block#2"].reshape(12, 4, -1).mean(2), rtol=1e-4, atol=1e-5)


def test_channels_are_known_to_be_last(network, rng):
    data = photos(rng)
    flat, mean = (extract(network, data, layers="start", reduce=rule)["start"] for rule in ("flatten", "mean"))
    np.testing.assert_allclose(flat.reshape(12, 4, 64).mean(2), mean, rtol=1e-4, atol=1e-6)
    convolved = linen.Conv(4, (3, 3)).apply({"params": network[1]["params"]["start"]}, data)
    np.testing.assert_allclose(mean, np.asarray(convolved).mean((1, 2)), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", ["bound", "frozen", "state", "with intermediates"])
def test_variables_come_in_every_form(network, rng, kind):
    module, variables = network

    class State(TrainState):
        batch_stats: object

    forms = {
        "bound": lambda: module.bind(variables),
        "frozen": lambda: (module, freeze(variables)),
        "state": lambda: (
            module,
            State(0, module.apply, variables["params"], None, None, batch_stats=variables["batch_stats"]),
        ),
        "with intermediates": lambda: (module, variables | {"intermediates": {"start": {"__call__": (np.ones(3),)}}}),
    }
    data = photos(rng)
    np.testing.assert_array_equal(extract(forms[kind](), data)["output"], extract(network, data)["output"])


def test_layers_are_chosen_by_name_and_glob(network, rng):
    data = photos(rng)
    assert list(extract(network, data, layers=["block.*", "head"])) == [*ORDER[1:4], *ORDER[5:8], "head"]
    assert list(extract(network, data, layers=["block#2"])) == ["block#2"]
    with pytest.raises((KeyError, ValueError), match="blok"):
        extract(network, data, layers=["blok"])


def test_a_batch_is_given_by_name_by_place_or_by_forward(network, rng):
    data = photos(rng)
    expected = extract(network, data)["output"]
    named = extract(network, {"photos": data})
    labelled = extract(network, [(data[:6], np.arange(6)), (data[6:], np.arange(6))])
    as_jax = extract(network, jnp.asarray(data))
    called = extract(network, {"a": data}, forward=lambda model, b: model(b["a"], train=False))
    for found in (named, labelled, as_jax, called):
        np.testing.assert_array_equal(found["output"], expected)


def test_several_inputs_come_by_place(rng):
    class Two(linen.Module):
        @linen.compact
        def __call__(self, left, right, *, deterministic):
            return linen.Dense(3)(left) - linen.Dense(3)(right)

    data, module = rng.normal(size=(2, 12, 4)).astype("float32"), Two()
    variables = module.init(jax.random.key(0), *data, deterministic=True)
    found = extract((module, variables), [(data[0], data[1], np.arange(12))])
    np.testing.assert_allclose(found["output"], found["Dense_0"] - found["Dense_1"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda module, variables: module, "a linen module must come with its weights, got Network alone"),
        (lambda module, variables: (module, variables["params"]), "got a mapping of start, block"),
        (lambda module, variables: (module, {"params": variables["params"]}), "with the statistics of batch norms"),
        (lambda module, variables: (module, [1.0]), "must be a mapping such as"),
    ],
)
def test_weights_that_are_missing_are_told(network, rng, change, words):
    with pytest.raises((ValueError, TypeError), match=words):
        extract(change(*network), photos(rng))


def test_a_module_that_would_be_trained_is_refused(network, rng):
    with pytest.raises(ValueError, match="must run as it does when it is not being trained"):
        extract(network, photos(rng), forward=lambda model, batch: model(batch, train=True))


class Lifted(linen.Module):
    """Parts that are compiled, made again for gradients, and repeated with stacked weights."""

    @linen.compact
    def __call__(self, values):
        values = linen.Dense(4, dtype=jnp.bfloat16, name="half")(values)
        values = linen.remat(linen.Dense)(4, name="again")(values)
        values = linen.jit(linen.Dense)(4, name="compiled")(values)
        axes = {"params": 0, "intermediates": 0}
        repeated = linen.scan(Step, variable_axes=axes, split_rngs={"params": True}, length=3)(name="steps")
        return repeated(values, None)[0]


class Step(linen.Module):
    @linen.compact
    def __call__(self, values, nothing):
        return linen.Dense(4, name="inner")(values), nothing


def test_compiled_and_repeated_parts_are_heard_in_every_batch(rng):
    data, module = rng.normal(size=(12, 3)).astype("float32"), Lifted()
    variables = module.init(jax.random.key(0), data)
    names = ["half", "again", "compiled", "steps.inner", "output"]
    model = adapt((module, variables))
    for _ in range(2):  # the compiled part is not traced again
        found = dict(model.run(data, None))
        assert [name for name in found if name != "steps"] == names
        assert found["half"].dtype == np.float32
        assert found["steps.inner"].shape == (3, 12, 4)
    kernel, bias = (np.asarray(variables["params"]["compiled"][part]) for part in ("kernel", "bias"))
    np.testing.assert_allclose(found["compiled"], found["again"] @ kernel + bias, rtol=1e-4, atol=1e-5)
    rules = {"axis": {"steps.inner": 1}, "reduce": {"steps.inner": "last"}}
    taken = extract((module, variables), data, layers=["steps.inner", "output"], batch_size=12, **rules)
    np.testing.assert_allclose(taken["steps.inner"], taken["output"], rtol=1e-5, atol=1e-6)


def test_tokens_have_their_positions(rng):
    class Tokens(linen.Module):
        @linen.compact
        def __call__(self, ids):
            return linen.Dense(3, name="dense")(linen.Embed(10, 4, name="embed")(ids))

    ids, module = rng.integers(0, 10, (6, 5)), Tokens()
    variables = module.init(jax.random.key(0), ids)
    found = extract((module, variables), ids, reduce="positions", layers="embed")
    np.testing.assert_array_equal(
        found["embed"], np.asarray(variables["params"]["embed"]["embedding"])[ids.reshape(-1)]
    )


def test_a_store_is_continued_by_the_same_variables_only(network, rng, tmp_path):
    module, variables = network
    data, out = photos(rng, 18), tmp_path / "layers.zarr"
    extract(network, data, out=out, max_examples=12, layers=["start", "output"])
    whole = extract(network, data, out=out, resume=True, layers=["start", "output"])
    np.testing.assert_array_equal(np.asarray(whole["output"]), extract(network, data)["output"])
    other = variables | {"params": jax.tree.map(lambda value: value * 1.01, variables["params"])}
    with pytest.raises(ValueError, match="must be continued as it was begun"):
        extract((module, other), data, out=out, resume=True, max_examples=24, layers=["start", "output"])


def test_a_module_called_output_or_input_keeps_its_name(rng):
    class Named(linen.Module):
        @linen.compact
        def __call__(self, values):
            return 2 * linen.Dense(2, name="output")(linen.Dense(3, name="input")(values))

    class NamedNnx(nnx.Module):
        def __init__(self):
            self.input, self.output = nnx.Linear(4, 3, rngs=nnx.Rngs(0)), nnx.Linear(3, 2, rngs=nnx.Rngs(0))

        def __call__(self, values):
            return 2 * self.output(self.input(values))

    data, module = rng.normal(size=(12, 4)).astype("float32"), Named()
    variables = module.init(jax.random.key(0), data)
    for model, scores in (
        ((module, variables), module.apply(variables, data)),
        (made := NamedNnx(), made(data)),
        (nnx.split(made), made(data)),
    ):
        found = extract(model, data)
        assert {name: values.shape[1] for name, values in found.items()} == {"input": 3, "output": 2}
        np.testing.assert_allclose(found["output"], np.asarray(scores) / 2, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", [Network, linen.Dense, nnx.Linear])
def test_a_class_is_no_model(kind, rng):
    with pytest.raises(TypeError, match="model must be made already, got the class"):
        extract(kind, photos(rng))


# nnx


class Mlp(nnx.Module):
    """A module that counts its calls, normalises and drops as in training unless it is told otherwise."""

    def __init__(self, rngs):
        self.start = nnx.Linear(4, 6, rngs=rngs)
        self.norm = nnx.BatchNorm(6, rngs=rngs)
        self.drop = nnx.Dropout(0.5, rngs=rngs)
        self.blocks = nnx.List([nnx.Linear(6, 6, rngs=rngs) for _ in range(2)])
        self.head = nnx.Sequential(nnx.Linear(6, 3, rngs=rngs), nnx.relu, nnx.Linear(3, 2, rngs=rngs))
        self.calls = nnx.Variable(jnp.array(0))

    def __call__(self, values):
        self.calls[...] = self.calls[...] + 1
        values = self.drop(nnx.relu(self.norm(self.start(values))))
        for block in (*self.blocks, self.blocks[0]):
            values = values + block(values)
        return self.head(values)


@pytest.fixture
def mlp():
    return Mlp(nnx.Rngs(0))


@pytest.fixture
def table(rng):
    return rng.normal(size=(12, 4)).astype("float32")


NNX_ORDER = ["start", "norm", "drop", "blocks.0", "blocks.1", "blocks.0#2", "head.layers.0", "head.layers.2"]


def test_nnx_modules_are_heard_under_their_paths(mlp, table):
    found = extract(mlp, table)
    assert list(found) == NNX_ORDER
    assert found.modules["start"].type == "Linear"
    mlp.eval()
    np.testing.assert_allclose(found["head.layers.2"], mlp(table), rtol=1e-5, atol=1e-6)
    assert list(extract(mlp, table, layers=["head", "output", "blocks.*"])) == [*NNX_ORDER[3:6], "head", "output"]
    with pytest.raises(KeyError, match="unknown layer 'stat', did you mean start"):
        extract(mlp, table, layers="stat")


def test_an_nnx_module_is_left_as_it_was(mlp, table):
    def state():
        plain = nnx.to_pure_dict(nnx.state(mlp))
        return jax.tree.map(
            lambda leaf: np.asarray(jax.random.key_data(leaf) if "key<" in str(leaf.dtype) else leaf), plain
        )

    kinds = {kind: vars(kind).get("__call__") for _, part in nnx.iter_modules(mlp) for kind in type(part).__mro__}
    before, flags = state(), (mlp.drop.deterministic, mlp.norm.use_running_average)
    first, second = extract(mlp, table), extract(mlp, table)
    np.testing.assert_array_equal(first["drop"], second["drop"])
    jax.tree.map(np.testing.assert_array_equal, before, state())
    assert flags == (mlp.drop.deterministic, mlp.norm.use_running_average) == (False, False)
    assert {kind: vars(kind).get("__call__") for kind in kinds} == kinds


def test_an_nnx_module_is_told_by_an_argument_that_it_is_not_trained(table):
    class Told(nnx.Module):
        def __init__(self):
            self.dense = nnx.Linear(4, 2, rngs=nnx.Rngs(0))

        def __call__(self, values, train: bool):
            return self.dense(values) * (jnp.nan if train else 1.0)

    found = extract(Told(), [(table, np.arange(12))])
    assert list(found) == ["dense", "output"]
    assert np.isfinite(found["output"]).all()


def test_a_subclass_that_calls_the_class_above_it_is_heard_once(table):
    class Scaled(nnx.Linear):
        def __call__(self, values):
            return 2 * super().__call__(values)

    class Both(nnx.Module):
        def __init__(self):
            self.plain = nnx.Linear(4, 4, rngs=nnx.Rngs(0))
            self.scaled = Scaled(4, 2, rngs=nnx.Rngs(1))

        def __call__(self, values):
            return self.scaled(self.plain(values))

    model = Both()
    found = extract(model, table)
    assert list(found) == ["plain", "scaled"]
    np.testing.assert_allclose(found["scaled"], model(table), rtol=1e-5, atol=1e-6)


def test_layers_inside_a_compiled_call_are_heard(table):
    class Compiled(nnx.Module):
        def __init__(self):
            self.inner = nnx.Linear(4, 3, rngs=nnx.Rngs(0))

        @nnx.jit
        def __call__(self, values):
            return 2 * self.inner(values)

    found = extract(Compiled(), table)
    assert list(found) == ["inner", "output"]
    np.testing.assert_allclose(found["output"], 2 * found["inner"], rtol=1e-6)


@pytest.mark.parametrize("model", ["mlp", "network"])
def test_a_device_is_that_of_jax(request, model, table, rng):
    data = {"mlp": table, "network": photos(rng)}[model]
    model = request.getfixturevalue(model)
    there, here = (dict(adapt(model, device=device).run(data, ["start"])) for device in ("cpu:0", None))
    np.testing.assert_array_equal(there["start"], here["start"])
    with pytest.raises(ValueError, match="device must be one that JAX can use here, got 'tpu'"):
        extract(model, data, device="tpu")


def test_the_command_line_takes_a_model_that_is_named_itself(tmp_path, table):
    np.save(tmp_path / "table.npy", table)
    (tmp_path / "own_nets.py").write_text("from flax import nnx\nmodel = nnx.Linear(4, 3, rngs=nnx.Rngs(0))\n")
    status, _, told = command_line(
        ["extract", "own_nets.py:model", "--data", "table.npy", "--out", "layers.npz"], tmp_path
    )
    assert status == 0, told
    np.testing.assert_allclose(
        hl.open(tmp_path / "layers.npz")["output"], nnx.Linear(4, 3, rngs=nnx.Rngs(0))(table), rtol=1e-5
    )


def test_digests_tell_weights_structure_and_code_apart(mlp):
    other = nnx.clone(mlp)
    assert adapt(other).digest() == adapt(mlp).digest()
    other.start.bias[...] = other.start.bias[...] + 1
    assert adapt(other).digest() != adapt(mlp).digest()
    weights = {"params": {"kernel": np.ones((2, 2)), "bias": np.zeros(2)}}
    digests = {adapt((linen.Dense(2, use_bias=flag), weights)).digest() for flag in (True, True, False)}
    assert len(digests) == 2


def test_models_are_known_by_their_classes(network, mlp):
    assert all(map(is_model, (network, network[0], network[0].bind(network[1]), mlp)))
    assert not any(map(is_model, ((mlp, 1), (1, 2), None, np.ones(3), linen.relu, "a.keras")))
