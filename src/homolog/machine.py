"""What this process may use: cores and memory, as affinity, containers and limits leave them, and optional libraries."""

from __future__ import annotations

import ctypes
import importlib
import math
import os
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]i?)?b\s*", re.IGNORECASE)
_FACTORS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


def parse_bytes(size: str | int) -> int:
    """Read a size of memory.

    >>> parse_bytes("2GiB"), parse_bytes("500 MB"), parse_bytes(4096)
    (2147483648, 500000000, 4096)
    """
    if isinstance(size, int) and not isinstance(size, bool) and size > 0:
        return size
    match = _SIZE.fullmatch(size) if isinstance(size, str) else None
    if match is None:
        raise ValueError(
            f"a size of memory must be a positive number of bytes or text such as '2GiB' or '500 MB' (units B, kB, MB, GB, TB, "
            f"KiB, MiB, GiB, TiB), got {size!r}."
        )
    return int(float(match[1]) * _FACTORS[(match[2] or "").lower()])


def format_bytes(size: float) -> str:
    """Write a size of memory for a sentence.

    >>> format_bytes(3 * 2**30), format_bytes(512)
    ('3.0 GiB', '512 B')
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            break
        size /= 1024
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"


def optional(module: str, extra: str, purpose: str) -> Any:
    """Import an optional library, or say what to install."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        name = module.split(".")[0]
        if name in sys.modules:
            raise
        raise ImportError(f'{purpose} needs {name}, which is not installed: pip install "homolog[{extra}]"') from error


def give_back() -> None:
    """Give memory that was freed back to the system, where its library keeps it (glibc), before more is asked for."""
    with suppress(AttributeError, OSError, TypeError):  # other systems have no such function, or no such library
        ctypes.CDLL(None).malloc_trim(0)


try:
    import resource
except ImportError:  # not on Windows
    resource = None  # type: ignore[assignment]

CGROUPS = Path("/sys/fs/cgroup")
PROCESS = Path("/proc/self/cgroup")
"""Which groups of the kernel this process belongs to."""
NO_LIMIT = 1 << 60
"""Bytes from which on version 1 of the groups means that there is no limit."""


def usable_cores() -> int:
    """Count the cores that this process may keep busy: by affinity, and by the quota of its container."""
    affinity = getattr(os, "sched_getaffinity", None)
    counted = getattr(os, "process_cpu_count", os.cpu_count)() or 1
    allowed = len(affinity(0)) if affinity is not None else counted
    quotas = [max(1, math.ceil(quota)) for quota in _quotas()]
    return max(1, min([allowed, counted, *quotas]))


def whole_memory() -> int:
    """Return the bytes that this process could have at best: of the machine, of its container, and by its own limit."""
    limits = [NO_LIMIT]
    if "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {}):
        limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    if resource is not None:
        own = resource.getrlimit(resource.RLIMIT_AS)[0]
        limits += [own] if own != resource.RLIM_INFINITY else []
    for folder in _folders("memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            limits += [int(word) for word in _words(folder / name) if word.isdigit()]
    return min(limits)


def _quotas() -> Iterator[float]:
    """Yield the cores that each group around this process allows."""
    for folder in _folders("cpu"):
        allowed = _words(folder / "cpu.max")
        if not allowed:
            allowed = _words(folder / "cpu.cfs_quota_us") + _words(folder / "cpu.cfs_period_us")
        if len(allowed) == 2 and all(word.isdigit() for word in allowed) and int(allowed[1]):
            yield int(allowed[0]) / int(allowed[1])


def _folders(controller: str) -> Iterator[Path]:
    """Yield the folders of the group of this process and of those around it, in either version."""
    for line in _lines(PROCESS):
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root = CGROUPS
        elif controller in controllers.split(","):
            root = CGROUPS / (controllers if (CGROUPS / controllers).exists() else controller)
        else:
            continue
        # Inside a container the path may be that of the host, of which only the root is there.
        group = Path(path.lstrip("/"))
        yield from (root / part for part in (group, *group.parents) if ".." not in part.parts)


def _words(path: Path) -> list[str]:
    return next(iter(_lines(path)), "").split()


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
