"""A device that is simulated: its tensors lie in memory as the CPU's do and have the same values, but say that they are
elsewhere, and an operation on tensors of both raises, as it does on a GPU.

torch's FakeTensorMode has such devices, too, but without values, and without a GPU's build it cannot index them.
"""

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

KIND = "privateuseone"
"""torch's name for a device that it does not know."""
_COPIES = {torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default}
"""Operations that may see both."""


class Elsewhere(torch.Tensor):
    """A tensor of that device; `held` has its values."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> "Elsewhere":
        shape, strides = held.size(), held.stride()
        made: Elsewhere = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, shape, strides, held.storage_offset(), dtype=held.dtype, device=f"{KIND}:0"
        )
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, *_: Any) -> Any:
        raise RuntimeError(f"{func} outside of OtherDevice")


class OtherDevice(TorchDispatchMode):
    """Inside, the device is there. torch does not forget it again: this is for a process of its own."""

    _known = False

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0
        """That were computed on the device."""
        if not OtherDevice._known:
            _setup_privateuseone_for_python_backend()
            OtherDevice._known = True

    def __enter__(self) -> "OtherDevice":
        # Else torch.tensor(..., device=...) is made where no mode sees it.
        torch._C._set_only_lift_cpu_tensors(True)
        entered: OtherDevice = super().__enter__()
        return entered

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        torch._C._set_only_lift_cpu_tensors(False)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
        there = [isinstance(x, Elsewhere) for x in tensors]
        # A tensor without dimensions may come from the CPU, as everywhere in torch.
        if any(there) and func not in _COPIES and any(x.ndim and not t for x, t in zip(tensors, there, strict=True)):
            raise RuntimeError(f"{func} on tensors of two devices: {[(tuple(x.shape), x.device) for x in tensors]}")
        device = kwargs.get("device")
        if device is not None:
            kwargs["device"] = torch.device("cpu")
        goes = any(there) if device is None else torch.device(device).type == KIND
        self.operations += goes
        args, kwargs = tree_map_only(Elsewhere, lambda x: x.held, (args, kwargs))
        out = func(*args, **kwargs)
        if func._schema.name.endswith("_"):  # in place
            return tensors[0]
        return tree_map_only(torch.Tensor, Elsewhere, out) if goes else out
