"""The package's logger: silent unless a program turns it on."""

import logging

logging.getLogger("ccsr").addHandler(logging.NullHandler())


def get_logger(name: str) -> logging.Logger:
    """The logger of one module, below `ccsr`."""
    return logging.getLogger(f"ccsr.{name}")
