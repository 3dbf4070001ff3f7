"""What an experiment is run on: data, scale, seeds, and a folder in which nothing is computed twice."""

from __future__ import annotations

import inspect
import json
import os
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray
from tqdm import tqdm

import homolog as hl
from homolog.paper import data, training
from homolog.paper.data import Images
from homolog.paper.networks import Architecture
from homolog.paper.training import Job, Recipe, Trained, digest, digest_of

PARTNERS = {
    "digits": "digits-5-9",
    "digits-0-4": "digits-5-9",
    "digits-5-9": "digits-0-4",
    "fashion-mnist": "mnist",
    "mnist": "fashion-mnist",
    "cifar10": "cifar100",
    "cifar100": "cifar10",
}
"""Figure 7's second data set, of other classes and images of the same size; of digits, half of its own classes."""


@dataclass(frozen=True)
class Scale:
    """How much of the paper is run."""

    name: str
    image_size: int | None
    """Height and width to which images are averaged down; None leaves them."""
    width: float
    """Factor on the numbers of channels of Tiny-10."""
    deep_width: float
    """The same for the plain networks of figures 3 and 5, which begin with 96 channels."""
    residual_width: float
    """The same for the residual networks of figures 4 and 5, which begin with 16."""
    n_train: int | None
    """Training images, at most."""
    epochs: int
    """Passes over the training images in which Tiny-10 is trained."""
    deep_epochs: int
    """The same for the networks of figures 3 to 6, which cost up to ten times as much a pass."""
    n_examples: int
    """Examples over which layers are compared, at most."""
    seeds: int
    """Networks that differ in their seed alone, where an experiment averages over them."""
    depths: tuple[int, ...]
    """Of the plain networks of figure 3."""
    residual_depth: int
    """Of the residual network of figure 4."""
    widths: tuple[int, ...]
    """Of the networks of figure 6."""
    n_probed: int
    """Training images on which figure 3's probes are fitted, at most."""


SCALES = {
    "tiny": Scale("tiny", None, 0.6, 1 / 12, 0.5, 2_000, 150, 150, 2_000, 4, (10, 18), 14, (4, 8, 16), 1_000),
    "small": Scale(
        "small", 14, 0.5, 1 / 6, 0.5, 60_000, 45, 12, 10_000, 10, (10, 18, 34, 66), 62, (4, 8, 16, 32, 64), 2_000
    ),
    "full": Scale(
        "full",
        None,
        1.0,
        1.0,
        1.0,
        None,
        100,
        100,
        50_000,
        10,
        (10, 18, 34, 66),
        62,
        (4, 16, 64, 256, 1024, 4096),
        50_000,
    ),
}


@dataclass(frozen=True)
class Study:
    """Data, scale, seeds and a folder; everything an experiment asks for is computed once and kept there."""

    data: str = "digits"
    scale: Scale = SCALES["tiny"]
    out: Path = Path("homolog-paper")
    folder: Path | None = None
    """Where the files of the data set lie."""
    second_data: str | None = None
    """Figure 7's second data set; by default one of other classes."""
    second_folder: Path | None = None
    download: bool = False
    measures: Mapping[str, hl.Measure] | None = None
    """Title → measure, instead of the paper's indexes, where an experiment compares indexes."""
    say: Callable[[str], Any] = print
    progress: bool | None = None
    command: str = ""
    """That was asked for, as a reader may repeat it."""
    costs: dict[str, float] = field(default_factory=dict)
    """What was done, or found done, and the seconds that it took."""

    @cached_property
    def images(self) -> Images:
        """The data set at the size and number of the scale."""
        return self._loaded(self.data, self.folder)

    @cached_property
    def second_images(self) -> Images:
        """Figure 7's second data set."""
        name = self.second_data or PARTNERS[self.data]
        if name == self.data:
            raise ValueError(
                f"the second data set must be another than the first, got {name!r} twice: change --second-data."
            )
        second = self._loaded(name, self.second_folder)
        shapes = [images.train.shape[1:] for images in (self.images, second)]
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"the second data set must have images of the same shape as the first, {shapes[0]}, got {shapes[1]} of "
                f"{second.name}: choose another with --second-data."
            )
        return second

    def _loaded(self, name: str, folder: Path | None) -> Images:
        whole = data.load(name, folder, download=self.download)
        return whole.shrunk(self.scale.image_size).limited(self.scale.n_train)

    @property
    def seeds(self) -> range:
        """The seeds of networks that differ in nothing else."""
        return range(self.scale.seeds)

    def examples(self, images: Images | None = None, *, held_out: bool = False) -> np.ndarray:
        """Return the images over which layers are compared."""
        source = images or self.images
        return (source.test if held_out else source.train)[: self.scale.n_examples]

    def architecture(
        self, family: str, images: Images | None = None, *, width: float = 1.0, batch_norm: bool = True
    ) -> Architecture:
        """Return an architecture that takes the images of a data set."""
        source = images or self.images
        channels, size = source.train.shape[1:3]
        return Architecture(family, channels, size, source.classes, width, batch_norm)

    def networks(
        self, architectures: Sequence[tuple[Architecture, int]], images: Images | None = None
    ) -> list[Trained]:
        """Return trained networks, of (architecture, seed): from checkpoints, or trained now, one after the other."""
        source = images or self.images
        jobs = [Job(architecture, source, self._recipe(architecture), seed) for architecture, seed in architectures]
        total = sum(job.recipe.epochs * len(source.train) for job in jobs)
        found = []
        with self._bar(total, f"training {len(jobs)} networks on {source.name}") as bar:
            for job in jobs:
                network = training.trained(job, self.out / "checkpoints", bar.update)
                self.costs[f"training {job.key}"] = network.seconds
                found.append(network)
                with _beside(bar):
                    self.say(
                        f"  {job.architecture.family} on {source.name}, seed {job.seed}: test accuracy {network.accuracy:.1%}, "
                        f"trained in {network.seconds:.0f} s" + " (kept from before)" * network.kept
                    )
        return found

    def _recipe(self, architecture: Architecture) -> Recipe:
        """Return how long and at which rate an architecture is trained; at 0.3 networks without batch norm do not learn."""
        epochs = self.scale.epochs if architecture.family == "tiny-10" else self.scale.deep_epochs
        return Recipe(epochs, learning_rate=0.3 if architecture.batch_norm else 0.01)

    def _bar(self, total: int, title: str) -> tqdm:
        hidden = None if self.progress is None else not self.progress
        form = "{desc}: {percentage:3.0f}%|{bar}| [{elapsed}<{remaining}]"
        return tqdm(total=total, desc=title, delay=1, leave=False, disable=hidden, bar_format=form)

    def activations(self, network: Trained, images: np.ndarray, layers: Sequence[str] | None = None) -> hl.Activations:
        """Return the activations of the layers that the paper compares, flattened."""
        chosen = network.architecture.layers() if layers is None else layers
        return hl.extract(
            network.network,
            images,
            layers=chosen,
            batch_size=512,
            memory="64GiB",
            device=str(training.device()),
            progress=False,
        )

    def all_activations(self, networks: Mapping[str, Trained], images: np.ndarray) -> dict[str, hl.Activations]:
        """Return the activations of several networks by name, or refuse before the memory is full.

        They are held once as they are, and once prepared for comparing.
        """
        taken: dict[str, hl.Activations] = {}
        held, there = 0, memory_of_machine()
        for name, network in networks.items():
            taken[name] = self.activations(network, images)
            held += sum(array.nbytes for array in taken[name].values())
            if 2 * held > there:
                needed = 2 * held * len(networks) / len(taken)
                raise ValueError(
                    f"comparing {len(networks)} networks over {len(images)} examples needs about {needed / 2**30:.0f} GiB of "
                    f"memory, got a machine with {there / 2**30:.0f}: use fewer with --examples "
                    f"{int(0.8 * len(images) * there / needed)}, or fewer --seeds; trained networks are kept."
                )
        return taken

    def compared(
        self,
        what: str,
        models: Callable[[], Mapping[str, Mapping[str, Any]]],
        measures: Mapping[str, hl.Measure],
        **also: Any,
    ) -> xarray.Dataset:
        """Compare models, all with each other.

        `models` is called where a result is not there yet. Measures that share operands are computed and kept together, so that
        a run that is killed loses one such group at most.
        """
        taken: dict[str, Mapping[str, Any]] = {}

        def compute(group: dict[str, hl.Measure]) -> xarray.Dataset:
            if not taken:
                taken.update(models())
            self.say(f"  comparing {sum(map(len, taken.values()))} layers by {', '.join(group)}")
            with warnings.catch_warnings():
                # What chance would reach is part of what the experiments show.
                warnings.simplefilter("ignore", hl.HomologWarning)
                started = time.monotonic()
                result = hl.compare(taken, measures=group, memory="4GiB", progress=self.progress)
            self.costs[f"comparing {what} by {', '.join(group)}"] = time.monotonic() - started
            return result

        parts = []
        for group in _groups(measures):
            named = {name: described(measure) for name, measure in group.items()}
            parts.append(self.recorded(what, partial(compute, group), measures=named, **also))
        names = [name for part in parts for name in json.loads(part.attrs["measures"])]
        variables = {name: values for part in parts for name, values in part.data_vars.items()}
        return parts[0].assign(variables).assign_attrs(measures=json.dumps(names))

    def recorded(self, name: str, compute: Callable[[], xarray.Dataset], **also: Any) -> xarray.Dataset:
        """Return a result from its file, or compute and write it; `also` names what it depends on beside data and scale."""
        about = {
            "experiment": name,
            "homolog": hl.__version__,
            "scale": asdict(self.scale),
            "data": self.data,
            **also,
        }
        key = digest(about | {"images": digest_of(*self.images.arrays), "training": training.VERSION})
        path = self.result_path(name, key)
        if path.is_file():
            result = xarray.load_dataset(path)
            self.costs.update(json.loads(result.attrs["costs"]))
            return result
        before = dict(self.costs)
        self.costs.clear()
        result = compute().assign_attrs(described_as=json.dumps(about), costs=json.dumps(self.costs))
        self.costs.update(before)
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".unfinished")
        result.to_netcdf(unfinished)
        os.replace(unfinished, path)
        return result

    @property
    def title(self) -> str:
        """Return what this study's files are named after: data, scale, and what was asked for otherwise than the scale has it."""
        plain = SCALES[self.scale.name]
        changed = {f.name: getattr(self.scale, f.name) for f in fields(Scale)}
        options = [f"{name}-{value}" for name, value in changed.items() if value != getattr(plain, name)]
        options = [option for option in options if option != f"deep_epochs-{self.scale.epochs}"]
        own = ["by", *(self.measures or {})] if self.measures else []
        name = re.sub(r"[^\w.-]+", "-", "-".join([self.data, self.scale.name, *options, *own]))
        return name if len(name) <= 150 else f"{name[:130]}-{digest(name)}"

    def result_path(self, name: str, key: str) -> Path:
        """Return where a result is kept."""
        return self.out / "results" / f"{name}-{self.data}-{self.scale.name}-{key}.nc"


def memory_of_machine() -> float:
    """Return the bytes of memory there are, or infinity where nobody says."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):  # not on Windows
        return float("inf")


def _groups(measures: Mapping[str, hl.Measure]) -> list[dict[str, hl.Measure]]:
    """Put together the measures that share what is costly."""
    groups: dict[str, dict[str, hl.Measure]] = {}
    for name, measure in measures.items():
        family = measure.family.name
        shared = str(measure) if "rbf" in str(measure) else family
        groups.setdefault(shared, {})[name] = measure
    return list(groups.values())


def described(measure: hl.Measure) -> str:
    """Return what tells a measure from others: its text form, and of a function of the user's all code in its folder."""
    if measure.name in hl.measures():
        return str(measure)
    try:
        folder = Path(inspect.getfile(inspect.unwrap(measure.function))).resolve().parent
    except TypeError:  # built in
        return str(measure)
    loaded = {
        Path(path).resolve() for module in list(sys.modules.values()) if (path := getattr(module, "__file__", None))
    }
    # Some modules claim files that are not there.
    own = [path for path in loaded if folder in path.parents and path.suffix == ".py" and path.is_file()]
    code = sorted(path.read_text(errors="replace") for path in own)
    return f"{measure} {digest(code)}"


def tried(measures: Mapping[str, hl.Measure]) -> Mapping[str, hl.Measure]:
    """Return measures of the user's own once each has given a number for two arrays, which costs less than training networks."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 4)), rng.normal(size=(60, 3))
    for name, measure in measures.items():
        if measure.name in hl.measures():
            continue
        expected = f"{name} must take arrays (n, p) and (n, q) and return a number"
        try:
            value = float(measure(x, y + x[:, :3]))
        except Exception as error:  # whatever the user's code raises becomes one sentence, its own traceback below
            raise ValueError(f"{expected}, got {type(error).__name__}: {error}.") from error
        if np.isnan(value):
            raise ValueError(f"{expected}, got NaN for random ones.")
    return measures


@contextmanager
def _beside(bar: tqdm) -> Iterator[None]:
    """Let a line be printed without tearing the progress bar."""
    bar.clear()
    yield
    bar.refresh()


def scaled(name: str, **changes: Any) -> Scale:
    """Return a scale by name, with what is not None changed."""
    if name not in SCALES:
        raise ValueError(f"the scale must be one of {', '.join(SCALES)}, got {name!r}.")
    return replace(SCALES[name], **{field: value for field, value in changes.items() if value is not None})
