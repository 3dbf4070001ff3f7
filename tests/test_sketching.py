"""Sketches: what they are made of, the same everywhere, and unbiased."""

import numpy as np
import pytest
import torch

from homolog.sketching import BLOCKS, Projection, Sketch, SketchedRows, check_columns, read_name, written_name


@pytest.mark.parametrize(("width", "columns"), [(1, 16), (37, 16), (300, 64), (9001, 32), (140_001, 48)])
def test_every_feature_has_as_many_signs_in_each_sketch_and_the_same_everywhere(width, columns):
    projection = Projection(Sketch("blocks.3", width, columns, 7))
    places = np.linspace(0, width - 1, min(width, 40)).astype(int)
    x = np.zeros((len(places), width))
    x[np.arange(len(places)), places] = 1
    rows = projection.of(x)
    for half in (rows[:, :columns], rows[:, columns:]):
        assert set(np.unique(half[half != 0])) <= {-0.25, 0.25}
        np.testing.assert_array_equal((half != 0).sum(axis=1), BLOCKS)
        # One in every block.
        np.testing.assert_array_equal((half.reshape(len(places), BLOCKS, -1) != 0).sum(axis=2), 1)
    np.testing.assert_array_equal(Projection(Sketch("blocks.3", width, columns, 7)).of(x), rows)


def test_random_numbers_are_those_of_the_first_release():
    """Sketches that two machines made at different times must fit together: these signs never change."""
    rows = Projection(Sketch("layer", 5, 16, 0)).of(np.eye(5)) * 4
    assert rows[:, :16].astype(int).tolist() == EXPECTED


EXPECTED = [
    [1, -1, 1, -1, -1, -1, 1, 1, -1, 1, 1, 1, -1, 1, 1, -1],
    [-1, -1, -1, -1, 1, -1, 1, 1, -1, -1, 1, 1, -1, -1, -1, -1],
    [1, 1, -1, 1, -1, -1, -1, -1, 1, -1, -1, 1, 1, -1, -1, -1],
    [1, -1, -1, -1, -1, -1, -1, -1, 1, 1, 1, -1, 1, -1, -1, 1],
    [1, 1, -1, 1, 1, 1, -1, 1, -1, 1, -1, 1, -1, -1, -1, 1],
]


def dense(sketch):
    return Projection(sketch).of(np.eye(sketch.width))


@pytest.mark.parametrize("width", [20, 37])
def test_products_have_the_right_mean_and_the_sketches_are_independent(width):
    seeds = 500
    own, across = np.zeros((width, width)), np.zeros((width, width))
    x = np.random.default_rng(0).normal(size=(5, width))
    gram = x @ x.T
    square = 0.0
    for seed in range(seeds):
        s = dense(Sketch("x", width, 32, seed))
        first, second = s[:, :32], s[:, 32:]
        own += first @ first.T / seeds
        across += (first @ first.T - np.eye(width)) * (second @ second.T - np.eye(width)) / seeds
        square += np.sum((x @ first @ first.T @ x.T) * (x @ second @ second.T @ x.T)) / seeds
    assert np.abs(own - np.eye(width)).max() < 5 * np.sqrt(1 / 32 / seeds)
    # Two features are in one group of the same two sketches, or of none: with 16 signs each.
    assert np.abs(across).max() < 5 / 16 / np.sqrt(2 * seeds)
    assert square == pytest.approx(np.sum(gram**2), rel=0.1)


def test_other_names_widths_columns_and_seeds_give_other_numbers():
    base = Sketch("a", 40, 32, 0)
    others = [base._replace(layer="b"), base._replace(width=41), base._replace(columns=48), base._replace(seed=1)]
    assert len({sketch.key for sketch in [base, *others]}) == 5
    assert not np.array_equal(dense(base), dense(others[0]))
    # A separator cannot be imitated by a name.
    assert Sketch('a", 1', 1, 32, 0).key != Sketch("a", 1, 32, 0).key


@pytest.mark.parametrize("width", [37, 9001])
def test_the_sketch_of_any_library_and_of_any_batch_is_that_of_the_whole(width):
    x = np.random.default_rng(1).normal(size=(11, width)).astype(np.float32)
    projection = Projection(Sketch("x", width, 64, 0))
    expected = projection.of(x.astype(float))
    for found in (
        projection.of(x),
        projection.of(torch.from_numpy(x)).numpy(),
        np.concatenate([projection.of(part) for part in np.array_split(x, 4)]),
    ):
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())
    halved = projection.of(torch.from_numpy(x).to(torch.bfloat16))
    assert halved.dtype == torch.float32
    np.testing.assert_allclose(halved.numpy(), expected, atol=1e-2 * np.abs(expected).max())


def test_sketched_rows_give_no_number_of_the_layer():
    sketch = Sketch("x", 100, 16, 0)
    x = SketchedRows(np.ones((6, 32)), sketch, "layer 'x'")
    assert x.shape == (6, 100)
    assert x[2:4].shape == (2, 100)
    assert x[np.array([True, False] * 3)].columns.shape == (3, 2, 16)
    for ask in (lambda: x[:, 0], lambda: np.asarray(x), lambda: x.whole(), lambda: x.read(0, 2), lambda: x[0]):
        with pytest.raises(
            TypeError, match="layer 'x' is kept as two sketches, from which compare estimates cka and hsic"
        ):
            ask()
    with pytest.raises(ValueError, match=r"two sketches of 16 columns, got an array of shape \(6, 31\)"):
        SketchedRows(np.ones((6, 31)), sketch, "layer 'x'")


@pytest.mark.parametrize(
    "name", ["x", 'näme "x"', "a ~sketch of b", 'q ~sketch of "', "two\nlines", "1 features, 2x16, seed 0"]
)
@pytest.mark.parametrize("layer", ["x", "x ~sketch of 5 features, 2x16, seed 0", 'a", 3 ~sketch of "b\\'])
def test_names_say_what_a_sketch_is_made_of(name, layer):
    sketch = Sketch(layer, 100, 16, 3)
    assert read_name(written_name(name, sketch)) == (name, sketch)
    assert read_name(written_name(name, sketch._replace(layer=name))) == (name, sketch._replace(layer=name))
    assert read_name(name) == (name, None)


@pytest.mark.parametrize(
    "changed",
    [
        'x ~sketch of "x", 100 features, 2x17, seed 3',  # columns that no sketch has
        'x ~sketch of "x", 0 features, 2x16, seed 3',
        'x ~sketch of "x", 0100 features, 2x16, seed 3',
        "x ~sketch of 100 features, 2x16, seed 3",  # without the name that its random numbers are made of
        'x ~sketch of "\\u0061", 100 features, 2x16, seed 3',  # which homolog writes as "a"
        "x ~sketch of 'y', 100 features, 2x16, seed 3",
        ' ~sketch of "x", 100 features, 2x16, seed 3',
        'x ~sketch of "x", 100 features, 2x16, seed 3 ',
        f'x ~sketch of "x", {"9" * 5000} features, 2x16, seed 3',
    ],
)
def test_a_name_that_homolog_does_not_write_is_a_name_like_others(changed):
    assert read_name(changed) == (changed, None)


@pytest.mark.parametrize("columns", [0, 8, 17, 512.0, True, "512", -16])
def test_columns_are_a_multiple_of_the_blocks(columns):
    with pytest.raises(ValueError, match=r"sketch must be a multiple of 16, .* got"):
        check_columns(columns)
