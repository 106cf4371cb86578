"""Ways to get results of a method, one file for each kind; `KINDS` lists them."""

from ccsr.compare.methods.base import Cost, Job, Made, Method
from ccsr.compare.methods.command import Command
from ccsr.compare.methods.folder import Folder
from ccsr.compare.methods.ncnn import Ncnn
from ccsr.compare.methods.ours import Ours
from ccsr.compare.methods.printed import OnlyPrinted
from ccsr.compare.methods.resize import Bicubic, Lanczos
from ccsr.compare.methods.spandrel import Spandrel

KINDS: dict[str, type[Method]] = {
    "ccsr": Ours,
    "bicubic": Bicubic,
    "lanczos": Lanczos,
    "ncnn": Ncnn,
    "spandrel": Spandrel,
    "command": Command,
    "folder": Folder,
    "paper": OnlyPrinted,
}
"""Kinds of methods by the word that a configuration uses."""

__all__ = ["KINDS", "Cost", "Job", "Made", "Method"]
