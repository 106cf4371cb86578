"""ComfyUI reads this file where the repository is cloned into its `custom_nodes`; nothing else does."""

import sys
from importlib.util import find_spec
from pathlib import Path

if find_spec("ccsr") is None:
    # Not installed: the clone itself is used.
    sys.path.append(str(Path(__file__).parent / "src"))

from ccsr.comfyui import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]
