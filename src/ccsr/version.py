"""The installed version, for `--version` and for records of results."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("ccsr")
except PackageNotFoundError:  # a source tree on the path that nobody installed
    __version__ = "0+uninstalled"
