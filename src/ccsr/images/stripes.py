"""Finished stripes of a large picture's tensors, kept in files, so that a stop or a kill does not cost the whole of it.

A tensor is made stripe by stripe, from the top: rows of tiles that overlap. Inside `keeping` each lies in a named file,
and whenever a stripe is finished, a small second file says so. It holds the rows, too, that the next stripe adds to:
whatever that one has left there when it is stopped, it begins again from what was there before, and so comes to the
same bytes.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from ccsr import atomic
from ccsr.images.buffers import mapped

_keeper: ContextVar["_Keeper | None"] = ContextVar("keeper", default=None)


@contextmanager
def keeping(folder: Path | None) -> Iterator[None]:
    """Inside, in this thread, stripes are kept in `folder` (made when there is one), or taken up from there; for None
    nothing is kept.

    What is done there must be the same each time, tensor by tensor.
    """
    token = _keeper.set(_Keeper(folder) if folder else None)
    try:
        yield
    finally:
        _keeper.reset(token)


def begin(attempt: str) -> None:
    """The tensors that follow are those of this attempt at the picture, the first one first."""
    if keeper := _keeper.get():
        keeper.attempt, keeper.count = attempt, 0


def following() -> "Stripes | None":
    """The stripes of the tensor that is to be made now; None where nothing is kept."""
    keeper = _keeper.get()
    if keeper is None:
        return None
    keeper.count += 1
    return Stripes(keeper.folder, f"{keeper.attempt}-{keeper.count:03d}")


class _Keeper:
    def __init__(self, folder: Path) -> None:
        self.folder, self.attempt, self.count = folder, "", 0


class Stripes:
    """One tensor, (B, H, W, C) float32, and how far it is."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._values, self._state = folder / f"{name}.values", folder / f"{name}.npz"
        self.done = 0
        """Stripes that are finished."""
        self.shape: tuple[int, ...] | None = None
        """Of the tensor, where one is finished."""
        self.is_complete = False
        self._top = self._reach = 0
        self._overlap: np.ndarray | None = None
        self._map: np.memmap[Any, Any] | None = None
        self._take_up()

    def _take_up(self) -> None:
        try:
            with np.load(self._state, allow_pickle=False) as state:
                done, top, reach, *shape = (int(value) for value in state["numbers"])
                overlap = state["overlap"]
            whole = self._values.stat().st_size == 4 * int(np.prod(shape))
        except (OSError, ValueError, KeyError, EOFError, BadZipFile):
            return  # none yet, or not of ours: made anew
        if whole:
            self.done, self.shape, self._top, self._reach, self._overlap = done, tuple(shape), top, reach, overlap
            self.is_complete = top == shape[1]

    def array(self, shape: tuple[int, ...]) -> np.ndarray:
        """The tensor: as it was when its last finished stripe was, and zeros below.

        Raises:
            ImageError: the disk has no room for it or does not let us write.
            MemoryError: there is no room to map it.
        """
        if self.is_complete:
            # Nobody may spoil what is taken up again.
            return np.asarray(np.memmap(self._values, np.float32, "c", shape=shape))
        if shape != self.shape:
            self.done = self._top = self._reach = 0
            self._overlap = None
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._values.open("r+b" if self.done else "w+b") as file:
            self._map = mapped(file, shape, np.float32, self._folder.parent, reserve=not self.done)
        values = np.asarray(self._map)
        if self._overlap is not None:
            bottom = self._top + self._overlap.shape[1]
            values[:, self._top : bottom] = self._overlap
            values[:, bottom : self._reach] = 0
        return values

    def finish(self, top: int, bottom: int, reach: int) -> None:
        """One more stripe is finished: rows above `top` stay as they are. The next one adds to those down to `bottom`
        and has no more than `reach` rows to write; all three are the tensor's height after the last one."""
        if self._map is None:
            raise ValueError("there is no tensor yet")
        self.done += 1
        self._map.flush()
        numbers = np.array([self.done, top, reach, *self._map.shape])
        with atomic.file(self._state) as file:
            np.savez(file, numbers=numbers, overlap=np.asarray(self._map[:, top:bottom]))
