"""For ComfyUI, which imports the repository where it is cloned into `custom_nodes`.

A clone has the package's own name, so Python takes it for the package wherever the folder above is on the path (the
current folder, or one that pytest adds). Under the name `ccsr` it therefore puts the real package, in `src`, in its own
place; under any other name it gives the nodes.
"""

import sys
from importlib.machinery import PathFinder
from importlib.util import find_spec, module_from_spec
from pathlib import Path

SRC = str(Path(__file__).parent / "src")

if __name__ == "ccsr":
    spec = PathFinder.find_spec("ccsr", [SRC])
    # What an import returns is what stands in sys.modules at its end.
    sys.modules["ccsr"] = module_from_spec(spec)
    spec.loader.exec_module(sys.modules["ccsr"])
else:
    if find_spec("ccsr") is None:
        # Not installed: the clone itself is used.
        sys.path.append(SRC)
    from ccsr.comfyui import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS

    __all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]
