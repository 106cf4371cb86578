"""Another name of `ccsr.method.sampler`, for programs that know it by this one."""

from ccsr.method.sampler import *  # noqa: F403
