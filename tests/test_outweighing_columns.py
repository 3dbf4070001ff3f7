"""Columns of counts and times among features: they hold nearly all of the variance, so that tables look alike by them alone."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import homolog as hl

N = 200
RNG = np.random.default_rng(0)
COUNTERS = {
    "counter": ("n_tokens",),
    "time": ("timestamp",),
    "two counts": ("n_tokens", "n_letters"),
    "both": ("timestamp", "n_tokens"),
}
VALUES = {
    "n_tokens": np.arange(N) * 5,
    "timestamp": 1.7e9 + 3600.5 * RNG.permutation(N),
    "n_letters": RNG.permutation(N) * 6,
}


def table(*columns: str) -> pd.DataFrame:
    frame = pd.DataFrame(RNG.normal(size=(N, 16))).add_prefix("f")
    return frame.assign(**{column: VALUES[column] for column in columns})


READ = {
    "pandas": lambda frame, path: hl.Activations(frame),
    "polars": lambda frame, path: hl.Activations(pl.from_pandas(frame)),
    "pyarrow": lambda frame, path: hl.Activations(pa.Table.from_pandas(frame)),
    "parquet": lambda frame, path: frame.to_parquet(path / "t.parquet") or hl.open(path / "t.parquet"),
    "csv": lambda frame, path: frame.to_csv(path / "t.csv", index=False) or hl.open(path / "t.csv"),
}


@pytest.mark.parametrize("kind", READ)
@pytest.mark.parametrize("case", COUNTERS)
def test_columns_that_outweigh_all_others_are_named(case, kind, tmp_path):
    columns = COUNTERS[case]
    with pytest.warns(hl.LeftOutWarning, match="most measures see little else") as caught:
        READ[kind](table(*columns), tmp_path)
    (told,) = {str(each.message) for each in caught}
    have = "has" if len(columns) == 1 else "have"
    assert f"of {16 + len(columns)} columns of numbers, {', '.join(map(repr, columns))} {have} over 99 % of the" in told


def test_independent_tables_are_not_alike_without_a_word():
    with pytest.warns(hl.LeftOutWarning, match="'n_tokens'"):
        result = hl.compare(table("n_tokens"), table("n_tokens"), measures="cka")
    assert result.cka.item() > 0.9


SOUND = {
    "features": table(),
    "counts only": pd.DataFrame({"a": VALUES["n_tokens"], "b": VALUES["n_letters"], "c": range(N)}),
    "two features": pd.DataFrame({"a": VALUES["n_tokens"], "b": RNG.normal(size=N)}),
    "constant": pd.DataFrame({"a": np.zeros(N), "b": np.zeros(N), "c": np.zeros(N)}),
    "all scales": pd.DataFrame(RNG.normal(size=(N, 5)) * 10.0 ** np.arange(-150, 150, 60)),
    "small counts": table().assign(stars=np.arange(N) % 3),
}


@pytest.mark.parametrize("case", SOUND)
def test_other_tables_are_taken_without_a_word(case, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for read in (READ["pandas"], READ["parquet"]):
            read(SOUND[case], tmp_path)
