"""`CCSRPipeline`: a picture in, faithful enlargements out. `pipeline` is the sequence, the other modules its parts."""

from ccsr.pipeline.outputs import CCSROutput, Upscaled
from ccsr.pipeline.pipeline import CCSRPipeline
from ccsr.weights.tensors import DTYPES

__all__ = ["DTYPES", "CCSROutput", "CCSRPipeline", "Upscaled"]
