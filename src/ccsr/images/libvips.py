"""What libvips has only once in a process: its settings, and the text of what went wrong."""

import re
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import pyvips

from ccsr import program

_Result = TypeVar("_Result")

_TRIES = 6
_asking = threading.Lock()
"""Held while an action that failed is asked for its reason."""


def set_up_program() -> None:
    """Settle what libvips does in a program of our own, at its start; a library leaves its host's settings alone."""
    # The decoders that libvips itself does not trust stay shut, for formats that are meant to be read, too.
    pyvips.block_untrusted_set(True)
    # Nothing is computed twice here: a cache would only keep pixels and open files alive.
    pyvips.cache_set_max(0)
    # The AVIF encoder divides a picture by the number of threads, and its bytes depend on the division: one number for
    # all machines.
    pyvips.concurrency_set(4)


program.at_start(set_up_program)


def reason(error: pyvips.Error) -> str:
    """The first line of what libvips says about a failure, without the name of the part of it that says so."""
    lines = [line.strip() for line in (error.detail or "").splitlines() if line.strip()]
    return re.sub(r"^Vips\w+: ", "", lines[0]) if lines else "the library gives no reason"


def meta(image: Any, name: str, default: Any = None) -> Any:
    """A field of an image that it may lack."""
    return image.get(name) if image.get_typeof(name) else default


def attributed(action: Callable[[], _Result]) -> _Result:
    """What `action` returns; a `pyvips.Error` that it raises tells of this action and of no other.

    libvips adds whatever fails, in any thread, to one text, and who raises an error takes all of the text with it: what
    comes with a failure may be about another thread's file, or missing. So an action that failed is done again until it
    gives the same reason twice in a row. Meanwhile no other action begins; those that run go on, and can disturb it
    once each at most.

    Args:
        action: may be called several times.
    """
    with _asking:
        pass  # only waits where another one failed just now
    try:
        return action()
    except pyvips.Error:
        pass
    given = None
    with _asking:
        for tries_left in reversed(range(_TRIES)):
            # What failed meanwhile elsewhere, or was left by the host, would be told of this one.
            pyvips.vips_lib.vips_error_clear()
            try:
                return action()
            except pyvips.Error as error:
                # Without a text it was another thread that took it away.
                if ((error.detail or "").strip() and reason(error) == given) or not tries_left:
                    raise
                given = reason(error)
    raise AssertionError  # the last try returns or raises
