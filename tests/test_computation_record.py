"""What is recorded of a computation: another one is told apart, the same one is the same in every process and after every run."""

from __future__ import annotations

import contextvars
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from model_scripts import model_of_script, script_of
from numpy.testing import assert_array_equal
from small_extractions import options
from torch import nn

import homolog as hl
from homolog.extraction.computation_record import (
    first_difference,
    incomparable_in,
    record_of,
    values_of,
    without_changes,
)
from homolog.store import layout


def record(**case):
    model, given = model_of_script(**case)
    return record_of(model, options(forward=given))


def differ(first, second):
    return first["code of the model"] != second["code of the model"] or first_difference(first, second) is not None


PARAMETRISED = """
class Scale(nn.Module):
    def __init__(self): super().__init__(); self._by = BY
    def forward(self, w): return w * self._by
nn.utils.parametrize.register_parametrization(model.line, "weight", Scale())
"""
CONFIG = """
@dataclasses.dataclass
class Config:
    by: int
    run: str = dataclasses.field(default_factory=lambda: uuid.uuid4().hex)
"""
CLASS = """
class Config:
    __slots__ = ("by",)
    def __init__(self, by): self.by = by
"""
FUNCTION = """
class Fn(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x): return x * BY
"""
ADDED = "model.line.register_forward_hook((lambda m, i, o: o * 2) if BY == 1 else (lambda m, i, o: o * 3))"
OTHERS = {
    "private number": {"init": "self._by = BY", "forward": "return self.line(x) * self._by"},
    "tensor": {"init": "self.t = torch.arange(4.) * BY", "forward": "return self.line(x) + self.t"},
    "array": {"init": "self.t = np.arange(4.) * BY", "forward": "return self.line(x) + torch.as_tensor(self.t)"},
    "nested": {"init": "self.c = {'a': [{'b': BY}]}", "forward": "return self.line(x) * self.c['a'][0]['b']"},
    "unregistered module": {
        "init": "torch.manual_seed(BY); self.more = [nn.Linear(4, 4)]",
        "forward": "return self.more[0](self.line(x))",
    },
    "dataclass": {"init": "self.c = Config(BY)", "forward": "return self.line(x) * self.c.by", "more": CONFIG},
    "slots": {"init": "self.c = Config(BY)", "forward": "return self.line(x) * self.c.by", "more": CLASS},
    "namespace": {"init": "self.c = types.SimpleNamespace(by=BY)", "forward": "return self.line(x) * self.c.by"},
    "lambda": {
        "init": "self.f = (lambda v: v * 2) if BY == 1 else (lambda v: v * 3)",
        "forward": "return self.f(self.line(x))",
    },
    "partial": {"init": "self.f = functools.partial(torch.clamp, min=-BY)", "forward": "return self.f(self.line(x))"},
    "class attribute": {"forward": "return self.line(x) * self.by", "after": "Net.by = BY"},
    "set from outside": {
        "forward": "return self.line(x) * getattr(self, 'by', 1)",
        "after": "if BY == 2: model.by = 2",
    },
    "name made as it runs": {"init": "self.by1 = BY", "forward": "return self.line(x) * getattr(self, f'by{1}')"},
    "through __dict__": {"init": "self._by = BY", "forward": "return self.line(x) * self.__dict__['_by']"},
    "property": {
        "init": "self._by = BY",
        "forward": "return self.line(x) * self.by",
        "after": "Net.by = property(lambda self: self._by)",
    },
    "cached property": {
        "init": "self.k = BY",
        "forward": "return self.line(x) * self.by",
        "after": "Net.by = functools.cached_property(lambda self: self.k); Net.by.__set_name__(Net, 'by')",
    },
    "global": {"forward": "return self.line(x) * BY"},
    "arguments": {"forward": "return self.line(x) * ARGS.by", "more": "ARGS = argparse.Namespace(by=BY)"},
    "helper": {
        "forward": "return f(self.line(x))",
        "more": "f = (lambda x: x * 2) if BY == 1 else (lambda x: x * 3)",
    },
    "global by text": {"forward": "return self.line(x) * globals()['BY']"},
    "autograd function": {"forward": "return Fn.apply(self.line(x))", "more": FUNCTION},
    "environment": {
        "forward": "return self.line(x) * float(os.environ['HOMOLOG_TEST_BY'])",
        "after": "os.environ['HOMOLOG_TEST_BY'] = str(BY)",
    },
    "hook": {"after": ADDED},
    "hook or none": {"after": f"if BY == 2: {ADDED}"},
    "value of a hook": {"after": "by = BY; model.line.register_forward_hook(lambda m, i, o: o * by)"},
    "pre-hook": {"after": "model.line.register_forward_pre_hook(lambda m, i: (i[0] * BY,))"},
    "hook with keywords": {"after": "model.register_forward_hook(lambda m, i, k, o: o * BY, with_kwargs=True)"},
    "parametrisation": {"after": PARAMETRISED},
    "orthogonal map": {
        "after": "nn.utils.parametrizations.orthogonal("
        "model.line, orthogonal_map='cayley' if BY == 1 else 'householder', use_trivialization=False)"
    },
    "buffer": {
        "init": "self.register_buffer('b', torch.full((4,), float(BY)), persistent=False)",
        "forward": "return self.line(x) * self.b",
    },
    "patched forward": {"after": "old = model.forward; model.forward = lambda x: old(x) * BY"},
    "sparse": {"init": "self.w = nn.Parameter((torch.eye(4) * BY).to_sparse(), requires_grad=False)"},
    "option of a library": {"init": "self.norm = nn.LayerNorm(4, eps=10.0**-BY)"},
    "attribute read by forward=": {
        "init": "self._alpha = BY",
        "after": "given = lambda model, batch: model(batch) * model._alpha",
    },
    "owner of forward=": {
        "after": "class R:\n  def f(self, m, b): return m(b * self.by)\nr = R(); r.by = BY; given = r.f"
    },
}


@pytest.mark.parametrize("case", OTHERS)
def test_another_computation_is_another_record(case):
    first, second = record(**OTHERS[case], by=1), record(**OTHERS[case], by=2)
    assert differ(first, second)
    assert not differ(first, record(**OTHERS[case], by=1))
    assert not any(incomparable_in(first))


LOCKED = "self.lock, self.log = threading.Lock(), logging.getLogger('a')"
CAPTURING = "seen = {}\nmodel.line.register_forward_hook(lambda m, i, o: seen.update({len(seen): time.perf_counter()}))"
RUNNER = """
class Runner:
    def __init__(self): self.id, self.n = uuid.uuid4().hex, 0
    def f(self, model, batch):
        self.n += 1
        return model(batch)
given = Runner().f
"""
ARGUMENTS = "ARGS = argparse.Namespace(by=2, resume=uuid.uuid4().hex)"
ALIKE = {
    "counter": {"init": "self.calls = 0", "forward": "self.calls += 1\nreturn self.line(x)"},
    "last output": {"init": "self._last = None", "forward": "self._last = self.line(x)\nreturn self._last"},
    "built when needed": {
        "forward": "if not hasattr(self, '_m'): self._m = torch.ones(4)\nreturn self.line(x) * self._m"
    },
    "cache": {
        "init": "self.c = {}",
        "forward": "if len(x) not in self.c: self.c[len(x)] = torch.rand(1)\nreturn self.line(x) + self.c[len(x)]",
    },
    "counting buffer": {
        "init": "self.register_buffer('n', torch.zeros(()))",
        "forward": "self.n += 1\nreturn self.line(x)",
    },
    "cached property": {
        "forward": "return self.line(x) * self.t",
        "after": "Net.t = functools.cached_property(lambda self: 2); Net.t.__set_name__(Net, 't')",
    },
    "name of the run": {
        "init": "self.run = uuid.uuid4().hex",
        "after": "Net.report = lambda self: self.run",
    },
    "class counter": {"forward": "type(self).n = getattr(type(self), 'n', 0) + 1\nreturn self.line(x)"},
    "global counter": {"forward": "global CALLS\nCALLS += 1\nreturn self.line(x)", "more": "CALLS = 0"},
    "global memory": {"forward": "SEEN.append(len(SEEN))\nreturn self.line(x)", "more": "SEEN = []"},
    "default that remembers": {
        "forward": "return f(self.line(x))",
        "more": "def f(x, seen=[]): seen.append(1); return x",
    },
    "locks and logs": {"init": LOCKED, "forward": "with self.lock:\n  self.log.debug('ran')\nreturn self.line(x)"},
    "hook that listens": {"after": CAPTURING},
    "reference to itself": {
        "init": "self.me = weakref.ref(self); self.up = [self]",
        "forward": "return self.me().up[0].line(x)",
    },
    "unread arguments": {"forward": "return self.line(x) * ARGS.by", "more": ARGUMENTS},
    "unread part of a dataclass": {
        "init": "self.c = Config(2)",
        "forward": "return self.line(x) * self.c.by",
        "more": CONFIG,
    },
    "environment": {
        "forward": "return self.line(x) if 'NO_SUCH' not in os.environ else None",
        "after": "os.environ['HOMOLOG_TEST_RUN'] = uuid.uuid4().hex",
    },
    "random numbers": {"init": "self.g = random.Random(0)", "forward": "return self.line(x) + self.g.random()"},
    "generator of PyTorch": {
        "init": "self.g = torch.Generator().manual_seed(1)",
        "forward": "return self.line(x) + torch.rand(4, generator=self.g)",
    },
    "everybody's random numbers": {
        "forward": "if self.training: random.gauss(0, 1)\nreturn self.line(x)",
        "after": "random.seed(uuid.uuid4().int)",
    },
    "iterator": {"forward": "next(C)\nreturn self.line(x)", "more": "C = itertools.count(uuid.uuid4().int)"},
    "runner": {"after": RUNNER},
    "device": {"init": "self.to_ = torch.device('cpu')", "forward": "return self.line(x.to(self.to_))"},
    "compiled": {"init": "self.line = torch.compile(self.line, backend='eager')", "after": "model.line = model.line"},
    "spectral norm": {"after": "nn.utils.parametrizations.spectral_norm(model.line, n_power_iterations=3)"},
}


@pytest.mark.parametrize("case", ALIKE)
def test_the_same_computation_is_the_same_record(case):
    """In another process, and in this one after it ran: what it changes itself is noted, and not compared."""
    model, given = model_of_script(**ALIKE[case])
    asked = options(forward=given)
    begun = record_of(model, asked)
    with torch.compiler.set_stance("force_eager"):
        (given or nn.Module.__call__)(model, torch.ones(2, 6))
    ran = record_of(model, asked)
    noted = without_changes(begun, ran)
    for now in (ran, record(**ALIKE[case])):
        assert not differ(noted, now)
    assert not any(incomparable_in(begun))


def test_what_runs_beside_a_counter_still_counts():
    case = {"forward": "global CALLS\nCALLS += 1\nreturn self.line(x) * BY", "more": "CALLS = 0"}
    model, _ = model_of_script(**case)
    begun = record_of(model, options())
    model(torch.ones(2, 6))
    noted = without_changes(begun, record_of(model, options()))
    assert first_difference(noted, record(**case, by=2)) == ("BY of Net.forward", "1", "2")


@pytest.mark.parametrize("how", ["in the body", "importlib", "getattr", "alias", "name", "through another"])
def test_modules_of_the_users_own_count_by_their_code(how, tmp_path, monkeypatch):
    """And not by what they hold, such as when they were loaded."""
    ways = {
        "in the body": "def given(m, b):\n  from the_users_own import f\n  return m(f(b))",
        "importlib": "import importlib\ndef given(m, b): return m(importlib.import_module('the_users_own').f(b))",
        "getattr": "import the_users_own as own\ndef given(m, b): return m(getattr(own, 'f')(b))",
        "alias": "import the_users_own\ndef given(m, b):\n  own = the_users_own\n  return m(own.f(b))",
        "name": "import the_users_own\ndef given(m, b): return m(the_users_own.f(b))",
        "through another": "def given(m, b):\n  import the_users_other\n  return m(the_users_other.f(b))",
    }
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "the_users_other.py").write_text("from the_users_own import f")

    def with_factor(by):
        monkeypatch.delitem(sys.modules, "the_users_own", raising=False)
        (tmp_path / "the_users_own.py").write_text(f"import uuid\nRUN = uuid.uuid4()\ndef f(x): return x * {by}\n")
        return record(after=ways[how])

    first, again, second = with_factor(2), with_factor(2), with_factor(30)
    assert first == again
    assert first["forward"] != second["forward"]
    assert "the_users_other" not in sys.modules


def test_what_pytorch_was_told_counts():
    begun = record()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert first_difference(begun, record()) == ("autocast on cpu", "False", "torch.bfloat16")
    torch.set_default_dtype(torch.float64)
    try:
        assert first_difference(begun, record_of(model_of_script()[0].float(), options()))[0] == "default dtype"
    finally:
        torch.set_default_dtype(torch.float32)
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        assert first_difference(begun, record())[0] in ("allow_tf32", "float32_matmul_precision")
    finally:
        torch.set_float32_matmul_precision(precision)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_packed_weights_count():
    def quantised(seed):
        torch.manual_seed(seed)
        line = nn.Sequential(nn.Linear(6, 4))
        return record_of(torch.ao.quantization.quantize_dynamic(line, {nn.Linear}, dtype=torch.qint8), options())

    assert not differ(quantised(0), quantised(0))
    assert differ(quantised(0), quantised(1))


HASHED = {
    "init": "self.names = {'a', 'bb', 'ccc', 'dddd', 'e'}; self.more = {frozenset({'x', 'yy', 'zzz'}): 1, 'run': RUN}",
    "more": "class Run: pass\nRUN = Run()\nRUN.me = [RUN]\n",
    "forward": "return self.line(x) * len(self.names) * len(self.more) if 'a' in {'a', 'b', 'c'} else None",
    "after": "some = {'q', 'rr', 'sss'}\ngiven = lambda model, batch: model(batch * len(some))",
}


PRINTED = """
from homolog.extraction.options import Options
from homolog.extraction.computation_record import record_of
names = ("layers", "max_examples", "dtype", "example_ids", "device", "progress")
asked = Options(forward=given, reduce="flatten", channels="first", batch_size=1, memory=1, **dict.fromkeys(names))
print(record_of(model, asked))
"""


def test_records_do_not_depend_on_the_process():
    """Sets have another order in every process, and objects other addresses."""
    running = [
        subprocess.Popen(
            [sys.executable, "-c", script_of(**HASHED) + PRINTED],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in ("1", "2")
    ]
    first, second = (process.communicate()[0] for process in running)
    assert first == second
    assert "code of the model" in first


def batches(stop=None):
    for number, batch in enumerate(torch.randn(70, 6, generator=torch.Generator().manual_seed(0)).split(10)):
        if number == stop:
            raise KeyboardInterrupt
        yield batch


COUNTING = {
    "init": "self.calls = self.late = 0",
    "forward": "self.calls += 1\nself.late = max(self.late, int(self.calls > 3))\nreturn self.line(x) * BY",
}


def test_a_model_that_counts_goes_on_in_this_process_and_in_another(tmp_path, monkeypatch):
    monkeypatch.setattr(layout, "CHUNK_ROWS", 16)
    whole = hl.extract(model_of_script(**COUNTING)[0], batches(), layers="output")["output"]
    model = model_of_script(**COUNTING)[0]
    for name, begun, again in (
        ("here", model, model),
        ("there", model_of_script(**COUNTING)[0], model_of_script(**COUNTING)[0]),
    ):
        out = tmp_path / f"{name}.zarr"
        with pytest.raises(KeyboardInterrupt):
            hl.extract(begun, batches(stop=4), layers="output", out=out)
        found = hl.extract(again, batches(), layers="output", out=out, resume=True)
        assert_array_equal(np.asarray(found["output"]), whole)
    with pytest.raises(ValueError, match=r"with BY of Net\.forward 1, got BY of Net\.forward 2: use the same"):
        hl.extract(
            model_of_script(**COUNTING, by=2)[0], batches(), layers="output", out=tmp_path / "here.zarr", resume=True
        )


def test_a_model_that_cannot_be_compared_goes_on_with_a_word(tmp_path, monkeypatch):
    monkeypatch.setattr(layout, "CHUNK_ROWS", 16)
    case = {"init": "self.source = (i for i in 'ab')", "forward": "return self.line(x) if self.source else x"}
    with pytest.raises(KeyboardInterrupt):
        hl.extract(model_of_script(**case)[0], batches(stop=4), out=tmp_path / "a.zarr")
    with pytest.warns(hl.ExtractionWarning, match=r"although this cannot be told of Net\.source, a generator, which"):
        assert hl.extract(model_of_script(**case)[0], batches(), out=tmp_path / "a.zarr", resume=True).n == 70


@pytest.mark.parametrize(("mode", "known"), [("w", True), ("r", False)])
def test_a_file_that_is_only_written_takes_no_part(mode, known):
    with open(os.devnull, mode) as file:
        found = record_of(nn.Identity(), options(forward=lambda model, batch: model(batch, file)))
    assert (not incomparable_in(found)[0]) == known


def test_a_class_may_say_what_counts_of_its_objects():
    """As to pickle, which is the way out for objects that cannot be compared."""
    reader = textwrap.dedent("""
    class Reader:
        def __init__(self, by): self.by, self.rows = by, (i for i in "ab")
        def __call__(self, model, batch): return model(batch * self.by) if self.rows else None
        def __getstate__(self): return {"by": self.by}
    given = Reader(BY)
    """)
    first = record(after=reader)
    assert not incomparable_in(first)[0]
    assert not differ(first, record(after=reader))
    assert differ(first, record(after=reader, by=2))
    assert incomparable_in(record(after=reader.replace("__getstate__", "state")))[0]


def test_an_object_that_does_not_want_to_be_looked_at():
    shy = "class Shy:\n  def __getattr__(self, name): raise RuntimeError(name)\n  def __reduce_ex__(self, n): raise OSError\n"
    found = record(init="self.shy = Shy()", forward="self.shy\nreturn self.line(x)", more=shy)
    assert "cannot be compared because" in values_of(found)["Net.shy"]


def test_a_context_variable_is_its_name_and_its_value():
    """Hooks of transformers hold one; what it holds at the time counts, and where it lies does not."""

    def made(name, value):
        variable = contextvars.ContextVar(name)
        if value is not None:
            variable.set(value)
        return lambda x: x if variable.get(None) is None else -x

    same, again, other, set_ = made("a", None), made("a", None), made("b", None), made("a", 3)
    records = [record_of(nn.Identity(), options(forward=function)) for function in (same, again, other, set_)]
    assert first_difference(records[0], records[1]) is None
    assert first_difference(records[0], records[2]) is not None
    assert first_difference(records[0], records[3]) is not None
    assert [incomparable_in(record) for record in records] == [({}, {})] * 4
