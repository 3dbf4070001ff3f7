"""What a disk does: names that are not there yet, folders that take the place of others, and no room left."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import json
import os
import secrets
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from homolog.machine import format_bytes, optional
from homolog.names import quoted


def check_path(path: Path) -> None:
    """Raise where a path is text that no system takes for one."""
    try:
        impossible = b"\0" in os.fsencode(path)
    except UnicodeEncodeError:
        impossible = True
    if impossible:
        raise ValueError(f"a path must be text that the system can write, got {quoted(str(path))}: change the name.")


def check_target(path: Path) -> None:
    """Raise where no file can be written at a path."""
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {str(path.parent)!r}: make it first.")
    if path.is_dir():
        raise IsADirectoryError(f"a file must be written to a new name or over a file, got the folder {str(path)!r}.")


def write_whole(path: Path, write: Callable[[str], Any]) -> None:
    """Write a file so that an older one is replaced only by a complete new one."""
    check_path(path)
    check_target(path)
    # An ordinary file: one from tempfile would be readable by its owner alone.
    unfinished = temporary_path(path)
    try:
        unfinished.touch(exist_ok=False)
    except OSError as error:
        raise OSError(f"cannot write in the folder {str(path.parent)!r}: {error.strerror or error}.") from None
    try:
        with room_for(path, "make room, or choose another disk; what was there before is unchanged"):
            write(str(unfinished))
            os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


LARGEST_JSON = 64 << 20
"""Bytes of metadata that are read at most."""
_EXCHANGE = 2
"""The flag of renameat2 on Linux, and of renamex_np on macOS, with which two names change places."""
_HERE = -100
"""What renameat2 takes for paths as they are."""
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def temporary_path(path: Path) -> Path:
    """Return a new name in the same folder, with the same ending and short, since a name may be as long as names can be."""
    return path.parent / f".homolog-{secrets.token_hex(8)}{path.suffix}"


def path_put_aside(path: Path) -> Path:
    """Return where an old folder lies while a new one takes its name, on systems that cannot exchange two."""
    return path.parent / f".homolog-{hashlib.blake2b(os.fsencode(path.name), digest_size=8).hexdigest()}-old"


def put_in_place(new: Path, path: Path) -> None:
    """Give a new folder a name that an old one may have: whatever ends the process, the name means one of them."""
    if not path.exists():
        try:
            os.rename(new, path)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            raise FileExistsError(
                f"{str(path)!r} was made by another process in the meantime: choose another name."
            ) from None
    elif not exchanged(new, path):
        _put_aside(new, path)


def exchanged(first: Path, second: Path) -> bool:
    """Let two names change places in one step; False where the system cannot."""
    if sys.platform not in ("linux", "darwin"):
        return False
    system = ctypes.CDLL(None)
    names = os.fsencode(first), os.fsencode(second)
    if hasattr(system, "renameat2"):
        return system.renameat2(_HERE, names[0], _HERE, names[1], ctypes.c_uint(_EXCHANGE)) == 0
    if hasattr(system, "renamex_np"):
        return system.renamex_np(*names, ctypes.c_uint(_EXCHANGE)) == 0
    return False


def _put_aside(new: Path, path: Path) -> None:
    old = path_put_aside(path)
    shutil.rmtree(old, ignore_errors=True)
    try:
        os.rename(path, old)
        os.rename(new, path)
    except BaseException:
        if old.is_dir() and not path.exists():
            os.rename(old, path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def recover(path: Path, lock: str) -> None:
    """Bring an old folder back whose process was killed after it had put it aside and before the new one was there."""
    old = path_put_aside(path)
    if path.exists() or not old.is_dir():
        return
    file_lock = locked(old, lock, path)
    try:
        with suppress(OSError):  # another process was faster
            os.rename(old, path)
    finally:
        file_lock.release()


def locked(folder: Path, lock: str, path: Path) -> Any:
    """Take the lock of the process that writes a folder, or say that somebody else has it."""
    filelock = optional("filelock", "store", "writing a store")
    file_lock = filelock.FileLock(str(folder / lock))
    try:
        file_lock.acquire(timeout=0)
    except filelock.Timeout:
        raise BlockingIOError(
            f"{str(path)!r} is being written by another process: wait for it, or choose another name."
        ) from None
    return file_lock


def locked_alone(file: IO[bytes]) -> bool:
    """Take an open file for this process until it is closed; False where another has it.

    Some disks and systems know no such locks: there it is True.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


@contextmanager
def room_for(path: Path, remedy: str) -> Iterator[None]:
    """Say in a sentence that a file could not be written, and what to do."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        free = format_bytes(shutil.disk_usage(path.parent).free)
        explained = OSError(
            f"cannot write {str(path)!r}: {os.strerror(error.errno)} ({free} are free in its folder): {remedy}."
        )
        explained.errno = error.errno
        raise explained from error


def check_file(path: Path) -> None:
    """Raise where a name is not a file that can be read to its end: a pipe would block for ever."""
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a pipe or a device"
        raise ValueError(f"{str(path)!r} must be a file, got {kind}: look at what lies there.")


def read_json(path: Path) -> Any:
    """Read a small file of JSON; ValueError for anything else."""
    check_file(path)
    if path.stat().st_size > LARGEST_JSON:
        raise ValueError(f"{str(path)!r} must hold a few lines of JSON, got {format_bytes(path.stat().st_size)}.")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError(f"{str(path)!r} must hold a few lines of JSON, got brackets nested too deep.") from None
