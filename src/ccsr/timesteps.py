"""Another name of `ccsr.method.timesteps`, for programs that know it by this one."""

from ccsr.method.timesteps import *  # noqa: F403
