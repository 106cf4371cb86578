"""What a pipeline asks of its process: large pages for torch's memory, and that it was not forked from one that had a
pipeline. A forked one lacks the threads of torch's pool, and its first operation on several threads waits for ever."""

import os

from ccsr import program
from ccsr.errors import CCSRError

_home: int | None = None
"""The process that made the first pipeline, and with it torch's threads."""


def _ask_for_large_pages() -> None:
    """Each layer of a picture of some megapixels takes memory from the system anew, and in pages of 4 KB that was a
    fifth of its time. Torch asks for large ones when this is set before it makes its first tensor; Linux heeds it."""
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


program.at_start(_ask_for_large_pages)


def settle() -> None:
    """A pipeline is made, or works, in this process.

    Raises:
        CCSRError: this process was forked from one that has made a pipeline.
    """
    global _home
    here = os.getpid()
    if _home is None:
        _home = here
    elif _home != here:
        raise CCSRError(
            "this process was forked from one that had a pipeline, and lacks the threads that it needs",
            hint='start processes by multiprocessing.get_context("spawn"), or load the first pipeline after the fork',
        )
