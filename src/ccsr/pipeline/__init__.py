"""`CCSRPipeline`: a picture in, faithful enlargements out; the diffusers shape around the method."""

from ccsr.pipeline.pipeline import DTYPES, CCSROutput, CCSRPipeline, Upscaled

__all__ = ["DTYPES", "CCSROutput", "CCSRPipeline", "Upscaled"]
