"""Activations on disk: a folder in the format zarr 3, written chunk by chunk and read by rows."""

from homolog.store.reading import open_store
from homolog.store.writing import Writer, save_store

__all__ = ["Writer", "open_store", "save_store"]
