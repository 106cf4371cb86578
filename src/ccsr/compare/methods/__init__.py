"""Ways to get results of a method, one file for each kind; `KINDS` lists them."""

from ccsr.compare.methods.base import Cost, Method, MethodJob, MethodResult
from ccsr.compare.methods.command import ExternalProgram
from ccsr.compare.methods.folder import Folder
from ccsr.compare.methods.ncnn import Ncnn
from ccsr.compare.methods.ours import Ours
from ccsr.compare.methods.paper import PaperOnly
from ccsr.compare.methods.resize import Bicubic, Lanczos
from ccsr.compare.methods.spandrel import Spandrel

KINDS: dict[str, type[Method]] = {
    "ccsr": Ours,
    "bicubic": Bicubic,
    "lanczos": Lanczos,
    "ncnn": Ncnn,
    "spandrel": Spandrel,
    "command": ExternalProgram,
    "folder": Folder,
    "paper": PaperOnly,
}
"""Kinds of methods by the word that a configuration uses."""

__all__ = ["KINDS", "Cost", "Method", "MethodJob", "MethodResult"]
