"""What notebooks show: HTML forms in which everything is escaped, and progress bars."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest

import homolog as hl
from homolog import markup
from homolog.measures.listing import OWN

HOSTILE = '"><script>alert(1)</script><img src=x onerror="alert(2)">&amp;\x1b[31m'
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(2, 40, 3))
LAYERS = hl.Activations({HOSTILE: X, "layer": Y}, provenance={"model": f"{HOSTILE}\udcff"})


class Page(HTMLParser):
    """The elements of a page, its attributes, and what a reader sees; whether every element is closed."""

    def __init__(self, written):
        super().__init__()
        self.elements, self.attributes, self.seen, self.open = set(), set(), "", []
        written.encode()
        self.feed(written)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.elements.add(tag)
        self.attributes |= {name for name, _ in attributes}
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.seen += data + "\n"


def hostile_function(x, y):
    """<script>alert(3)</script>"""
    return 0.5


hostile_function.__name__ = hostile_function.__qualname__ = "<script>alert(4)</script>"

OBJECTS = {
    "activations": LAYERS,
    "measure": hl.measure("cka(estimator=debiased)"),
    "measure of the caller": hl.measure(hostile_function),
    "measure of an array": hl.measure("deconfounded_cka", inputs=X),
    "measures": hl.measures(),
    "plan": hl.plan({HOSTILE: LAYERS, "b": {"layer": Y}}, measures=("cka", "rsa", "svcca")),
    "permutation test": hl.permutation_test(X, Y, n_permutations=19),
    "interval": hl.confidence_interval(X, X + Y),
    "diagnosis": hl.diagnose({HOSTILE: X}, {HOSTILE: Y}, n_permutations=19),
    "check": hl.check({HOSTILE: X}, {HOSTILE: Y}, "cka=0.9"),
    "paired test": hl.paired_test(X, X + Y, Y),
}


@pytest.mark.parametrize("name", OBJECTS)
def test_html_forms_are_whole_escaped_and_take_the_colours_of_the_notebook(name):
    written = OBJECTS[name]._repr_html_()
    page = Page(written)
    assert page.elements <= {"div", "strong", "table", "tr", "th", "td", "p"}
    assert page.attributes <= {"style", "colspan", "scope", "tabindex"}
    # Black on a dark notebook, or white on a light one, cannot be read.
    assert set(re.findall(r"(?:color|background)[^;\"]*", written)) == {"color: inherit", "background: none"}


@pytest.mark.parametrize(
    ("name", "seen"),
    [
        ("activations", ["2 layers over 40 rows", "<script>alert(1)</script>", "float64", "\\x1b[31m\\udcff", "3"]),
        ("measure", ["cka(estimator=debiased)", "−1 to 1", "translation", "estimator=debiased", "Kornblith"]),
        ("measure of the caller", ["<script>alert(4)</script>", "not declared"]),
        ("measures", ["35 measures", "kernel alignment", "nearest neighbors", "gulp_distance", "0 to ∞"]),
        ("plan", ["9 pairs of layers", "structure", "rsa", "in all"]),
        ("permutation test", ["Permutation test", "statistic", "pvalue", "null_level"]),
        ("interval", ["Confidence interval", "low", "high"]),
        ("paired test", ["Paired test", "difference", "pvalue"]),
    ],
)
def test_html_forms_say_what_matters(name, seen):
    page = Page(OBJECTS[name]._repr_html_())
    assert [words for words in seen if words not in page.seen] == []


def test_values_in_tables_are_short_and_numbers_stand_to_the_right():
    page = markup.table(("name", "value"), {"": [("a", 1 / 3)], "group": [("b", np.float32(2)), ("c", False)]})
    assert "0.3333" in page
    assert page.count("text-align: right") == 2
    assert Page(page).seen.split() == ["name", "value", "a", "0.3333", "group", "b", "2", "c", "no"]


def test_sentences_are_not_cut():
    long = "word " * 100
    assert long in Page(markup.paragraphs([long])).seen
    assert "word " * 100 in Page(markup.table(("",), {"": [(long,)]})).seen


# --- The mapping of the measures


def test_the_mapping_of_the_measures_is_read_only_and_live():
    listed = hl.measures()
    with pytest.raises(TypeError):
        listed["cka"] = None
    with pytest.raises(KeyError):
        listed["ckaa"]
    assert "ckaa" not in listed
    assert dict(listed)["cka"] is listed["cka"]
    assert not hasattr(listed, "pop")
    assert OWN not in listed.by_subject()

    def halved(x, y, /):
        return 0.5

    try:
        hl.register(kind="similarity", range=(0, 1), symmetric=True, formula="1/2", reference="none")(halved)
        assert [record.name for record in listed.by_subject()[OWN]] == ["halved"]
        assert "halved" in Page(listed._repr_html_()).seen
    finally:
        hl.unregister("halved")
    assert "halved" not in listed


def test_every_measure_is_listed_once_and_texts_are_short():
    listed = hl.measures()
    assert [record for records in listed.by_subject().values() for record in records] == list(listed.values())
    assert "kernel alignment: hsic, cka" in repr(listed)
    assert repr(hl.measure("hsic")) == "<Measure hsic: similarity, 0 to ∞>"


# --- Progress

IN_A_NOTEBOOK = """
import sys, types, warnings
warnings.simplefilter("error")
kernel = types.ModuleType("ipykernel.zmqshell")
sys.modules["ipykernel.zmqshell"] = kernel
shell = types.ModuleType("IPython")
shell.get_ipython = lambda: kernel
sys.modules["IPython"] = shell
sys.modules["ipywidgets"] = None  # not installed
from homolog.progress import progress_bar
bar = progress_bar("comparing", 2, {progress})
print(bar.disable)
bar.close()
"""


def ran(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.parametrize(("progress", "hidden"), [(None, "False"), (False, "True"), (True, "False")])
def test_a_notebook_without_ipywidgets_has_a_bar_and_no_warning(progress, hidden):
    assert ran(IN_A_NOTEBOOK.format(progress=progress)) == [hidden]


def test_bars_are_hidden_where_nobody_watches_and_bars_are_loaded_when_needed():
    code = (
        "import sys, homolog as hl, numpy as np\n"
        "hl.compare(np.eye(5), np.eye(5), measures='cka')\n"
        "print('tqdm.auto' in sys.modules)\n"
        "hl.compare(np.eye(5), np.eye(5), measures='cka', progress=True)\n"
        "print('tqdm.auto' in sys.modules)"
    )
    assert ran(f"import warnings; warnings.simplefilter('ignore')\n{code}") == ["False", "True"]
