"""What an experiment is run on: data, scale, seeds, and a folder in which nothing is computed twice."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray

import homolog as hl
from homolog.paper import checkpoints, data, sentences
from homolog.paper.checkpoints import Job, Trained, Work, digest, digest_of
from homolog.paper.data import Images
from homolog.paper.indexes import INDEXES, LINEAR_CKA, by_operand, described, indexes_of, takes_sketches, title
from homolog.paper.kept_layers import Plan, Sketches, beside, check_memory
from homolog.paper.networks import Architecture
from homolog.paper.scale import SCALES, Scale
from homolog.paper.sentences import Sentences
from homolog.paper.side_by_side import all_trained
from homolog.paper.training import Recipe, device
from homolog.paper.translation import Translation, TranslationRecipe
from homolog.paper.translator import Translator
from homolog.progress import progress_bar

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
    sentence_folder: Path | None = None
    """Where Table F.1's sentences lie; without it they are invented."""
    download: bool = False
    measures: Mapping[str, hl.Measure] | None = None
    """Title → measure, instead of the paper's indexes, where an experiment compares indexes."""
    sketches: Sketches | None = None
    """Kept of wide layers instead of their features, where an experiment takes that."""
    held_out: bool = False
    """Whether layers are compared over test images, where an experiment takes those of training otherwise."""
    memory: float = float("inf")
    """Bytes that this machine has."""
    processes: int = 1
    """Networks that may be trained at a time, each in a process of its own, where one thread each is enough."""
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

    @cached_property
    def sentences(self) -> Sentences:
        """Table F.1's sentences, in a vocabulary and a number of the scale."""
        return sentences.load(self.sentence_folder, self.scale.vocabulary, self.scale.n_words, self.scale.n_train)

    def _loaded(self, name: str, folder: Path | None) -> Images:
        whole = data.load(name, folder, download=self.download)
        return whole.shrunk(self.scale.image_size).limited(self.scale.n_train)

    @property
    def seeds(self) -> range:
        """The seeds of networks that differ in nothing else."""
        return range(self.scale.seeds)

    @property
    def indexes(self) -> dict[str, hl.Measure]:
        """The measures asked for, or the paper's; of sketches those that they tell."""
        return dict(self.measures or indexes_of(sketched=self.sketches is not None))

    @property
    def kept_as(self) -> dict[str, str]:
        """What results depend on where layers are kept as sketches, or compared over other images than otherwise."""
        sketched = {} if self.sketches is None else {"sketches": self.sketches.described()}
        return sketched | ({"examples": "test images"} if self.held_out else {})

    def examples(self, images: Images | None = None, *, held_out: bool = False) -> np.ndarray:
        """Return the images over which layers are compared."""
        source = images or self.images
        return (source.test if held_out or self.held_out else source.train)[: self.scale.n_examples]

    def architecture(self, family: str, images: Images | None = None, *, batch_norm: bool = True) -> Architecture:
        """Return an architecture that takes the images of a data set, as wide as the scale has its kind."""
        source, scale = images or self.images, self.scale
        widths = {"tiny": scale.width, "plain": scale.deep_width, "resnet": scale.residual_width, "width": 1.0}
        channels, size = source.train.shape[1:3]
        return Architecture(family, channels, size, source.classes, widths[family.partition("-")[0]], batch_norm)

    def tiny_networks(
        self, seeds: Iterable[int], images: Images | None = None, *, batch_norm: bool = True, name: str = "seed"
    ) -> dict[str, Trained]:
        """Return trained Tiny-10 networks that differ in their seed alone, under a name and the seed."""
        architecture = self.architecture("tiny-10", images, batch_norm=batch_norm)
        return self.networks({f"{name} {seed}": (architecture, seed) for seed in seeds}, images)

    def networks(
        self, chosen: Mapping[str, tuple[Architecture, int]], images: Images | None = None
    ) -> dict[str, Trained]:
        """Return trained networks, of name → (architecture, seed): from checkpoints, or trained now, one after the other."""
        source = images or self.images
        return self._trained(
            {
                name: Job(architecture, source, self._recipe(architecture), seed)
                for name, (architecture, seed) in chosen.items()
            },
            source.name,
        )

    def translators(self) -> dict[str, Trained]:
        """Return trained Transformers that differ in their seed alone."""
        form = Translator(self.sentences.vocabulary, self.scale.translator_width)
        recipe = TranslationRecipe(self.scale.translator_epochs)
        work = {f"seed {seed}": Translation(form, self.sentences, recipe, seed) for seed in self.seeds}
        return self._trained(work, self.sentences.name)

    def _trained(self, work: Mapping[str, Work], data_name: str) -> dict[str, Trained]:
        """Return networks from checkpoints, or trained now; on a GPU one after the other."""
        networks = {}
        processes = 1 if device().type == "cuda" else self.processes
        with self._bar(
            sum(each.size for each in work.values()), f"training {len(work)} networks on {data_name}"
        ) as bar:
            for name, network in all_trained(work, self.out / "checkpoints", bar.update, processes):
                each = work[name]
                self.costs[f"training {each.key}"] = network.seconds
                networks[name] = network
                with _beside(bar):
                    self.say(
                        f"  {each.architecture.family} on {data_name}, seed {each.seed}: test accuracy {network.accuracy:.1%}, "
                        f"trained in {network.seconds:.0f} s" + " (kept from before)" * network.from_checkpoint
                    )
        return {name: networks[name] for name in work}

    def _recipe(self, architecture: Architecture) -> Recipe:
        """Return how long and at which rate an architecture is trained; at 0.3 networks without batch norm do not learn."""
        epochs = self.scale.epochs if architecture.family == "tiny-10" else self.scale.deep_epochs
        return Recipe(epochs, learning_rate=0.3 if architecture.batch_norm else 0.01)

    def _bar(self, total: int, title: str) -> Any:
        form = "{desc}: {percentage:3.0f}%|{bar}| [{elapsed}<{remaining}]"
        return progress_bar(title, total, self.progress, bar_format=form)

    def activations(
        self, network: Trained, images: np.ndarray, layers: Sequence[str] | None = None, **kept: Any
    ) -> hl.Activations:
        """Return the activations of the layers that the paper compares, flattened; `kept` says how else than in memory."""
        chosen = network.architecture.layers() if layers is None else layers
        where = str(device())
        return hl.extract(
            network.network, images, layers=chosen, batch_size=512, memory="64GiB", device=where, progress=False, **kept
        )

    def _all_activations(
        self, networks: Mapping[str, Trained], taken: Callable[[Trained], hl.Activations]
    ) -> dict[str, hl.Activations]:
        """Return the activations of several networks by name, or refuse before the memory is full."""
        activations: dict[str, hl.Activations] = {}
        for name, network in networks.items():
            activations[name] = taken(network)
            held = sum(array.nbytes for layers in activations.values() for array in layers.values())
            all_of_them = int(held * len(networks) / len(activations))
            check_memory(all_of_them, len(networks), activations[name].n, self.memory, held=held)
        return activations

    def _all_sketches(
        self, networks: Mapping[str, Trained], images: np.ndarray, sketches: Sketches, folder: Path
    ) -> dict[str, hl.Activations]:
        """Return the sketches of several networks by name, in a folder, whole or begun by a run that was killed."""
        folder.mkdir(parents=True, exist_ok=True)
        found: dict[str, hl.Activations] = {}
        with self._bar(len(networks) * len(images), f"sketching {len(networks)} networks") as bar:
            for place, (name, network) in enumerate(networks.items()):
                kept: dict[str, Any] = {"sketch": sketches.columns, "rng": sketches.seed + place}
                found[name] = self.activations(network, images, out=folder / f"{place}.zarr", resume=True, **kept)
                bar.update(len(images))
        return found

    def compared(
        self,
        what: str,
        networks: Callable[[], Mapping[str, Trained]],
        examples: np.ndarray | Callable[[Trained], hl.Activations],
        measures: Mapping[str, hl.Measure] = LINEAR_CKA,
        source: Images | Sentences | None = None,
        architectures: Sequence[Architecture] = (),
        **also: Any,
    ) -> xarray.Dataset:
        """Compare networks over images, all with each other; or over whatever a function takes from each.

        `networks` is called where a result is not there yet; where their architectures are given, what comparing will take is
        said before. Measures that share operands are computed and kept together, so that a run that is killed loses one such
        group at most.
        """
        layers: dict[str, hl.Activations] = {}

        def compute(group: dict[str, hl.Measure]) -> xarray.Dataset:
            if not layers:
                if architectures:
                    self._announce(what, architectures, examples, measures)
                layers.update(self._taken(what, networks(), examples))
            return self._compare(what, layers, group)

        parts = []
        for group in by_operand(measures):
            named = {name: described(measure) for name, measure in group.items()}
            parts.append(self.recorded(what, partial(compute, group), source, measures=named, **also))
        if self.sketches is not None:
            shutil.rmtree(self._sketch_folder(what), ignore_errors=True)
        names = [name for part in parts for name in json.loads(part.attrs["measures"])]
        variables = {name: values for part in parts for name, values in part.data_vars.items()}
        return parts[0].assign(variables).assign_attrs(measures=json.dumps(names))

    def _announce(
        self, what: str, architectures: Sequence[Architecture], examples: Any, measures: Mapping[str, hl.Measure]
    ) -> None:
        """Say what comparing will take, or refuse, before networks are trained."""
        self.out.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.out).free
        if self.sketches is not None:  # those of a run that was killed have their place already
            begun = self._sketch_folder(what).rglob("*")
            free += sum(file.stat().st_size for file in begun if file.is_file())
        plan = Plan(architectures, len(examples), self.sketches, self.memory, free)
        self.say(f"  {plan.told()}")
        if self.sketches is not None and self.measures is None:
            left_out = [title(name) for name in INDEXES if name not in measures]
            self.say(f"  Left out, since sketches do not tell them: {', '.join(left_out)}.")
        plan.check(sketchable=any(map(takes_sketches, measures.values())))

    def _taken(
        self,
        what: str,
        networks: Mapping[str, Trained],
        examples: np.ndarray | Callable[[Trained], hl.Activations],
    ) -> dict[str, hl.Activations]:
        """Return the layers of networks, or what is kept of them."""
        if callable(examples):
            return self._all_activations(networks, examples)
        if self.sketches is None:
            return self._all_activations(networks, partial(self.activations, images=examples))
        return self._all_sketches(networks, examples, self.sketches, self._sketch_folder(what))

    def _compare(
        self, what: str, layers: Mapping[str, hl.Activations], measures: dict[str, hl.Measure]
    ) -> xarray.Dataset:
        """Compare layers by measures that share operands."""
        self.say(f"  comparing {sum(map(len, layers.values()))} layers by {', '.join(measures)}")
        with warnings.catch_warnings():
            # What chance would reach is part of what the experiments show; noise of sketches is not.
            warnings.simplefilter("ignore", hl.HomologWarning)
            warnings.simplefilter("always", hl.SketchNoiseWarning)
            started = time.monotonic()
            result = hl.compare(layers, measures=measures, memory=beside(self.memory), progress=self.progress)
        self.costs[f"comparing {what} by {', '.join(measures)}"] = time.monotonic() - started
        return result

    def _sketch_folder(self, what: str) -> Path:
        """Return where sketches are written until they are compared."""
        about: dict[str, Any] = {
            "experiment": what,
            "homolog": hl.__version__,
            "scale": asdict(self.scale),
            **self.kept_as,
        }
        about |= {"images": digest_of(*self.images.arrays), "training": checkpoints.VERSION}
        return self.out / f"sketches-{digest(about)}"

    def recorded(
        self,
        name: str,
        compute: Callable[[], xarray.Dataset],
        source: Images | Sentences | None = None,
        **also: Any,
    ) -> xarray.Dataset:
        """Return a result from its file, or compute and write it; `also` names what it depends on beside data and scale.

        The data are this study's images, where no other source is given.
        """
        data = source or self.images
        about = {"experiment": name, "homolog": hl.__version__, "scale": asdict(self.scale), "data": data.name, **also}
        about |= self.kept_as
        key = digest(about | {"images": digest_of(*data.arrays), "training": checkpoints.VERSION})
        path = self.out / "results" / f"{name}-{data.name}-{self.scale.name}-{key}.nc"
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

    def title(self, data: str) -> str:
        """Return what files are named after: data, scale, and what was asked for otherwise than the scale has it."""
        plain = SCALES[self.scale.name]
        changed = {f.name: getattr(self.scale, f.name) for f in fields(Scale)}
        options = [f"{name}-{value}" for name, value in changed.items() if value != getattr(plain, name)]
        again = [("deep_epochs", "epochs"), ("translator_epochs", "epochs"), ("n_tokens", "n_examples")]
        said = {f"{name}-{changed[by]}" for name, by in again}
        options = [option for option in options if option not in said]
        if self.sketches is not None:
            options += [
                f"sketch-{self.sketches.columns}",
                *([f"seed-{self.sketches.seed}"] if self.sketches.seed else []),
            ]
        options += ["test-images"] if self.held_out else []
        own = ["by", *(self.measures or {})] if self.measures else []
        name = re.sub(r"[^\w.-]+", "-", "-".join([data, self.scale.name, *options, *own]))
        return name if len(name) <= 150 else f"{name[:130]}-{digest(name)}"


@contextmanager
def _beside(bar: Any) -> Iterator[None]:
    """Let a line be printed without tearing the progress bar."""
    bar.clear()
    yield
    bar.refresh()
