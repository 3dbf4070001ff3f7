"""What this process may use of the machine: cores and memory, as affinity, containers and limits leave them."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

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
