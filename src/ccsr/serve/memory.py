"""Memory that a job took, given back to the system when it is over."""

import ctypes
import gc


def give_back() -> None:
    """Free what is left in cycles (a stopped job's error holds the arrays it was raised among), and what the C library
    keeps for later: after a large picture that is gigabytes, which other programs may need."""
    gc.collect()
    if _trim is not None:
        _trim(0)


def _find_trim() -> "ctypes._NamedFuncPointer | None":
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):  # only glibc has it
        return None
    trim.argtypes, trim.restype = [ctypes.c_size_t], ctypes.c_int
    return trim


_trim = _find_trim()
