"""Processes of their own that share one import of everything: forked from one that has imported and computed nothing else.

python forked_processes.py MODULE:FUNCTION COUNT ARGUMENTS...: calls FUNCTION(index, *ARGUMENTS) in COUNT processes at a
time, and ends with 1 if one of them fails. A negative COUNT is of processes one after the other, each of which must kill itself.
"""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import traceback
from pathlib import Path


def run(function: str, count: int, *arguments: object) -> None:
    """Call a function of a module of this folder in processes of their own, and raise what they say where one fails."""
    command = [sys.executable, __file__, function, str(count), *map(str, arguments)]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def begin(function: str, index: int, arguments: list[str]) -> int:
    """Fork a process that calls the function, and return its number."""
    module, name = function.split(":")
    call = getattr(importlib.import_module(module), name)
    process = os.fork()
    if process:
        return process
    try:
        call(index, *arguments)
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def together(function: str, count: int, arguments: list[str]) -> int:
    """Run processes that know each other; where one fails, the others would wait for it."""
    processes = {begin(function, index, arguments) for index in range(count)}
    failed = 0
    while processes:
        process, status = os.wait()
        processes.remove(process)
        if status and not failed:
            failed = 1
            for other in processes:
                os.kill(other, signal.SIGKILL)
    return failed


def killed_in_turn(function: str, count: int, arguments: list[str]) -> int:
    """Run processes one after the other, each of which must kill itself."""
    for index in range(count):
        _, status = os.waitpid(begin(function, index, arguments), 0)
        if os.waitstatus_to_exitcode(status) != -signal.SIGKILL:
            return 1
    return 0


if __name__ == "__main__":
    number = int(sys.argv[2])
    sys.exit((together if number > 0 else killed_in_turn)(sys.argv[1], abs(number), sys.argv[3:]))
