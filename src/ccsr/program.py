"""What belongs to a process of our own, and not to a host that uses ccsr as a library.

Modules register what they settle for the whole process; it is done when a program starts, or at once where one has.
"""

from collections.abc import Callable

_actions: list[Callable[[], None]] = []
_is_running = False


def at_start(action: Callable[[], None]) -> None:
    """Do this in programs of our own only."""
    _actions.append(action)
    if _is_running:
        action()


def start() -> None:
    """This process is a program of our own."""
    global _is_running
    _is_running = True
    for action in _actions:
        action()
