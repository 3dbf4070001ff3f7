"""Progress bars: one way to ask for all of them, and where they are shown."""

from __future__ import annotations

import sys
import warnings
from typing import Any


def progress_bar(title: str, total: int | None, progress: bool | None, **options: Any) -> Any:
    """Return a bar of tqdm, to be used by `with` and moved on by `update`; it appears after a second and leaves nothing behind.

    `progress` says whether it is shown; None means in a terminal and in a notebook, where it is the notebook's own bar, or a
    line of text where ipywidgets are not installed.
    """
    visible = _watched() if progress is None else progress
    return _class(visible)(total=total, desc=title, delay=1, leave=False, disable=not visible, **options)


def _watched() -> bool:
    # The streams of a notebook do not say that they are a terminal.
    notebook = {"ipykernel.zmqshell", "IPython.utils._process_emscripten"} & sys.modules.keys()
    return bool(notebook) or bool(getattr(sys.stderr, "isatty", bool)())


def _class(visible: bool) -> Any:
    """Return the class of tqdm; what chooses between terminal and notebook is imported only where there is something to see."""
    if not visible:
        from tqdm.std import tqdm

        return tqdm
    with warnings.catch_warnings():
        # That a notebook lacks ipywidgets is nothing that a comparison need warn of: the bar is text then.
        warnings.simplefilter("ignore")
        from tqdm.auto import tqdm as chosen
    return chosen
