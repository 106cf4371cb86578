"""The second try of what failed: in fp32 where a result is not usable, in smaller tiles where memory ran out."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from ccsr.errors import ModelOutputError
from ccsr.log import get_logger
from ccsr.pipeline.outputs import Upscaled
from ccsr.plan import Plan, is_out_of_memory

_NO_RESULT = "in fp32 too: are these weights whole? ccsr models verify tells"
log = get_logger(__name__)


def with_retry(
    attempt: Callable[[Sequence[Any], Plan], list[Upscaled]], batch: Sequence[Any], plan: Plan
) -> list[Upscaled]:
    """The results of `attempt(batch, plan)`; what fails is tried alone, by a plan that may succeed, with a warning.

    fp16 overflows; and with AMX, oneDNN multiplies the padding of a bf16 tile with whatever lies behind the tensor,
    which is NaN where that is (uxlfoundation/oneDNN issue 5717). What leaks is either multiplied by zero or not finite,
    so looking for values that are not finite finds it all. Smaller tiles change the bytes of a result.

    Raises:
        ModelOutputError: a result is not finite in fp32 either.
        MemoryError or RuntimeError: memory runs out with the smallest tiles too.
    """
    again: Plan | None = None
    try:
        return attempt(batch, plan)
    except ModelOutputError as error:
        if len(batch) == 1 and plan.dtype == "fp32":
            raise ModelOutputError(error.what, hint=_NO_RESULT) from error
        again = replace(plan, dtype="fp32")
        note = f"the result in {plan.dtype} was not usable, so it was computed again in fp32"
        log.debug("again: %s", error)
    except (RuntimeError, MemoryError) as error:
        again = plan.smaller
        if not is_out_of_memory(error) or (len(batch) == 1 and again is None):
            raise
        tiles = f"{again.tile} and {again.vae_tile}" if again else ""
        note = f"memory ran out, so it was computed in smaller tiles ({tiles}), which changes its bytes"
        log.debug("again: %s", error)
    # Here the error, and the tensors that it kept alive, are gone.
    if len(batch) > 1:
        return [with_retry(attempt, [item], plan)[0] for item in batch]
    assert again is not None  # noqa: S101 -- for the type checker: raised above
    (out,) = with_retry(attempt, batch, again)
    out.warnings.append(note)
    return [out]
