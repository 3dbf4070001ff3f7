"""Chunks of numbers as files: their bytes as they lie in memory, and a checksum, without a copy in between."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from homolog.machine import optional


class ChunkFiles:
    """Writes the chunks of an array of numbers, as zarr would with the codecs of a store: little endian, then crc32c."""

    def __init__(self, folder: Path, array: Any) -> None:
        self._folder, self._key_of = folder, array.metadata.encode_chunk_key
        self._rows, self._row_shape = int(array.chunks[0]), tuple(array.chunks[1:])
        self._dtype = np.dtype(array.dtype).newbyteorder("<")
        self._checksums = optional("google_crc32c", "store", "writing a store")

    def write(self, index: int, parts: Sequence[np.ndarray]) -> None:
        """Write a chunk of so many parts, one below the other; of the rows that are missing to a whole one, zeros."""
        place = self._folder / self._key_of((index, *(0 for _ in self._row_shape)))
        place.parent.mkdir(parents=True, exist_ok=True)
        unfinished = place.with_suffix(f".{secrets.token_hex(8)}.partial")
        missing = self._rows - sum(map(len, parts))
        checksum = 0
        try:
            with open(unfinished, "wb") as file:
                for part in (*parts, np.zeros((missing, *self._row_shape), self._dtype)):
                    data = np.ascontiguousarray(part, dtype=self._dtype).reshape(-1).view(np.uint8)
                    checksum = self._checksums.extend(checksum, data)
                    file.write(data.data)
                file.write(checksum.to_bytes(4, "little"))
            unfinished.replace(place)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
