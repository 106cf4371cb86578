"""The installed version, for `--version` and for records of results; and a warning where it may not be what runs."""

import warnings
from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("ccsr")
except PackageNotFoundError:  # a source tree on the path that nobody installed
    __version__ = "0+uninstalled"

# Another distribution of the same method, whose package has the same name: each overwrites files of the other.
OTHER = "ccsr-pruned"

try:
    _found = f"{OTHER} {version(OTHER)}"
except PackageNotFoundError:
    pass
else:
    warnings.warn(
        f"{_found} is installed too and puts its files into the same folder 'ccsr': "
        f"pip uninstall ccsr {OTHER}, then install ccsr again",
        stacklevel=3,
    )
