"""Results of `redundancy` of which something was selected: refused in one sentence, and never told wrongly."""

from __future__ import annotations

import planted_networks as planted
import pytest

import homolog as hl

PARTS = {
    "one block": lambda found: found.isel(block=0),
    "some blocks": lambda found: found.isel(block=slice(0, 3)),
    "no blocks": lambda found: found.isel(block=[]),
    "blocks reversed": lambda found: found.isel(block=slice(None, None, -1)),
    "one span": lambda found: found.isel(span=[3]),
    "some layers": lambda found: found.isel(layer=slice(1, 4)),
    "some layers on both axes": lambda found: found.isel(layer=slice(1, 4), layer_b=slice(1, 4)),
    "some layers and blocks": lambda found: found.isel(layer=slice(0, 4), layer_b=slice(0, 4), block=slice(0, 3)),
    "layers reversed": lambda found: found.isel(layer=slice(None, None, -1)),
    "other layers reversed": lambda found: found.isel(layer_b=slice(None, None, -1)),
    "no places": lambda found: found.isel(place=[]),
    "no variable": lambda found: found.drop_vars("best_start"),
    "no norms": lambda found: found.drop_vars("norm_median"),
    "half a form": lambda found: found.drop_vars(["effective_rank_without", "cka_without"]),
    "a form without influence": lambda found: found.drop_vars("influence_without"),
    "no baseline": lambda found: found.assign(loss=found.influence),
    "no measure": lambda found: found.assign_attrs(measures="["),
    "a feature without a layer": lambda found: found.assign_attrs(massive_features='[{"feature": 1, "share": {}}]'),
}


@pytest.fixture(scope="module")
def large():
    return hl.redundancy(planted.with_feature(planted.stream(n=40), 5, 400.0, first=3))


@pytest.mark.parametrize("name", PARTS)
def test_part_of_a_result_is_no_result(large, name, tmp_path):
    part = PARTS[name](large)
    for ask in (hl.summary, hl.table, hl.plot.redundancy, lambda one: hl.report(one, tmp_path / "r.html")):
        with pytest.raises(ValueError, match=r"as homolog.redundancy returned it, got one without a sound"):
            ask(part)


def test_axes_in_another_order_say_the_same(large, tmp_path):
    turned = large.transpose()
    assert str(hl.summary(turned)) == str(hl.summary(large))
    assert hl.table(turned).equals(hl.table(large))
    pages = [hl.report(one, tmp_path / "r.html").read_text(encoding="utf-8") for one in (large, turned)]
    tables = [page[page.index("<table") :] for page in pages]
    assert tables[0] == tables[1]


def test_a_variable_of_part_of_a_result_is_a_table(large):
    assert hl.table(large.isel(block=slice(0, 3)), "influence").block.tolist() == ["block.0", "block.1", "block.2"]
