"""Files that are not read as activations, and what to do with them instead."""

from __future__ import annotations

from pathlib import Path

from homolog.names import quoted, shown

_MODEL = "is a model, not activations"
_PACKED = "is packed: unpack it, and pass what is in it"
_PICKLE = "is not read, since reading it can run code: load it yourself, and pass the arrays"
_OF_OTHERS = f"{_MODEL}: load it where it was made, and pass the model, or a function that runs it, to homolog.extract"
_SHEET = "is a spreadsheet: read it with pandas.read_excel, and pass the DataFrame"
_LINES = "is not read: read it with pandas.read_json(path, lines=True), and pass the DataFrame"
RUN = (".onnx", ".ort", ".keras")
"""Endings of models that `homolog.extract` takes as they are."""
_REMEDIES = {
    ".gguf": f"{_MODEL}: load it with transformers, gguf_file=, and pass the model to homolog.extract",
    **dict.fromkeys((".tflite", ".pb", ".ckpt", ".pt2", ".mlmodel"), _OF_OTHERS),
    **dict.fromkeys((".pkl", ".pickle", ".joblib"), _PICKLE),
    **dict.fromkeys((".gz", ".bz2", ".xz", ".zst", ".zip", ".tar", ".tgz", ".7z"), _PACKED),
    **dict.fromkeys((".xlsx", ".xls", ".ods"), _SHEET),
    **dict.fromkeys((".jsonl", ".ndjson"), _LINES),
    ".json": "is not read: read it with json.load, and pass the arrays",
    ".txt": "is not read: read it with numpy.loadtxt, and pass the array, or call it .csv or .tsv if it is a table",
}


def instead(path: Path) -> str | None:
    """Say in one sentence what to do with a file of a kind that is not read; None where nothing is known of it.

    >>> instead(Path("vectors.pkl"))
    "'vectors.pkl' is not read, since reading it can run code: load it yourself, and pass the arrays."
    """
    ending, name = path.suffix.lower(), quoted(path.name)
    if ending in RUN:
        return (
            f"{name} {_MODEL}: run it on data first, with homolog.extract(path, data), or "
            f"`homolog extract {shown(path.name)} --data data.npy --out activations.npz`."
        )
    return f"{name} {_REMEDIES[ending]}." if ending in _REMEDIES else None
