"""The command line: parse, call one public function, write."""

from __future__ import annotations

import importlib.util
import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line, or say what it needs."""
    missing = [name for name in ("typer", "rich") if importlib.util.find_spec(name) is None]
    if missing:
        print(
            f"homolog: the command line needs {' and '.join(missing)}, which the base package leaves out: "
            f'pip install "homolog[cli]"',
            file=sys.stderr,
        )
        raise SystemExit(1)
    try:
        from homolog.cli.app import run

        status = run(sys.argv[1:])
    except KeyboardInterrupt:  # while modules are imported, or twice
        print("homolog: interrupted.", file=sys.stderr)
        status = 130
    raise SystemExit(status)
