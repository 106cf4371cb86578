"""Nodes for ComfyUI. Clone the repository into its `custom_nodes`, or write a file there with these two names:

    from ccsr.comfyui import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS

ComfyUI imports this at its start, so nothing heavy is imported here; its own modules are asked for only where they are.
"""

from ccsr.comfyui.nodes import LoadModel, StabilityMap, Upscale

NODE_CLASS_MAPPINGS = {"CCSRLoadModel": LoadModel, "CCSRUpscale": Upscale, "CCSRStabilityMap": StabilityMap}
NODE_DISPLAY_NAME_MAPPINGS = {
    "CCSRLoadModel": "CCSR: load model",
    "CCSRUpscale": "CCSR: upscale",
    "CCSRStabilityMap": "CCSR: stability map",
}

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]
