"""A forked process: it lacks the threads of torch's pool, and its first operation on several threads waits for ever."""

import os

from ccsr.errors import CCSRError

_home: int | None = None
"""The process that made the first pipeline, and with it torch's threads."""


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
