"""A GPU where there is none: tensors on a device of their own that are computed on the processor, by a GPU's rules.

An operation takes tensors of one device only (those of the processor without dimensions apart), and random numbers of
its device's own generator. What breaks either rule raises RuntimeError, as it does on a GPU. What this device can't
show: kernels that a GPU has not, their order of summation, and time.
"""

import contextlib
from typing import ClassVar

import torch
import torch._dynamo  # loaded by the first mode; not later, when generators are replaced
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing

# The one device that every build of torch knows and no tensor with values lies on; without a number it is torch's own.
GPU = torch.device("meta", 0)
# What may take tensors of both devices: copies, and assignments at places that the processor names.
COPIES = {"_to_copy", "copy_", "_foreach_copy_"}
ASSIGNMENTS = {"index_put", "index_put_", "_index_put_impl_"}
ProcessorGenerator = torch.Generator


class GpuGenerator(ProcessorGenerator):
    """The device's generator: its numbers are the processor's."""

    device = GPU
    # By address: an operation is told of a generator by another object.
    all: ClassVar[set[int]] = set()


class GpuTensor(torch.Tensor):
    """A tensor on the device; `inner` holds its numbers."""

    @staticmethod
    def __new__(cls, inner):
        made = torch.Tensor._make_wrapper_subclass(
            cls, inner.shape, strides=inner.stride(), storage_offset=inner.storage_offset(), dtype=inner.dtype,
            device=GPU,
        )  # fmt: skip
        made.inner = inner
        return made

    # What torch does below the operations that it tells of.
    data = property(lambda self: self.detach(), lambda self, new: setattr(self, "inner", new.inner))

    def tolist(self):
        return self.cpu().tolist()

    def __setitem__(self, key, value):
        if not isinstance(value, torch.Tensor):
            value = torch.full((), value, dtype=self.dtype, device=self.device)
        keys = key if isinstance(key, tuple) else (key,)
        keys = tuple(torch.tensor(k).to(self.device) if isinstance(k, list) else k for k in keys)
        super().__setitem__(keys, value)

    def __repr__(self):
        return f"GpuTensor({tuple(self.shape)}, {self.dtype})"

    @classmethod
    def __torch_dispatch__(cls, operation, types, args=(), kwargs=None):
        return run(operation, args, kwargs or {})


class Gpu(TorchDispatchMode):
    """Makes tensors that are asked for on the device."""

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        return run(operation, args, kwargs or {})


def run(operation, args, kwargs):
    """The operation's result, on the device that it belongs to."""
    parts = pytree.tree_leaves((args, kwargs))
    ours = [part for part in parts if isinstance(part, GpuTensor)]
    asked = kwargs.get("device")
    on_gpu = bool(ours) if asked is None else torch.device(asked) == GPU
    check_rules(operation, args, parts, ours, on_gpu=on_gpu)
    if on_gpu and asked is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    inner = pytree.tree_map(lambda x: x.inner if isinstance(x, GpuTensor) else x, (args, kwargs))
    out = operation(*inner[0], **inner[1])
    name = operation.overloadpacket.__name__
    if name.endswith("_") and isinstance(args[0], torch.Tensor):
        return args[0]
    if not on_gpu:
        return out
    out = pytree.tree_map(lambda x: GpuTensor(x) if isinstance(x, torch.Tensor) else x, out)
    shared = any(part.alias_info is not None for part in operation._schema.returns)
    return return_and_correct_aliasing(operation, args, kwargs, out) if shared and ours else out


def check_rules(operation, args, parts, ours, *, on_gpu):
    """Raise RuntimeError where a GPU would."""
    name = operation.overloadpacket.__name__
    for part in parts:
        if isinstance(part, ProcessorGenerator) and (part._cdata in GpuGenerator.all) != on_gpu:
            raise RuntimeError(f"{operation}: random numbers of another device")
    if not ours or name in COPIES:
        return
    if name in ASSIGNMENTS:
        parts = [args[0], args[2]]
    others = [
        x for x in parts if isinstance(x, torch.Tensor) and not isinstance(x, GpuTensor) and x.dim() > 0
    ]
    if others:
        raise RuntimeError(f"{operation}: tensors on a GPU and on {others[0].device}")


@contextlib.contextmanager
def simulated_gpu(monkeypatch):
    """Within the block, a model made for `cuda` works on the device."""

    class Generator(ProcessorGenerator):
        def __new__(cls, device="cpu"):
            on_gpu = torch.device(device) == GPU
            made = ProcessorGenerator.__new__(GpuGenerator if on_gpu else ProcessorGenerator)
            (GpuGenerator.all.add if on_gpu else GpuGenerator.all.discard)(made._cdata)
            return made

    monkeypatch.setattr(torch, "Generator", Generator)
    monkeypatch.setattr("torch.nn.utils.clip_grad._device_has_foreach_support", lambda device: True)
    monkeypatch.setattr(
        "tvae_core.tvae.pick_device", lambda name: GPU if name == "cuda" else torch.device("cpu")
    )
    with Gpu():
        yield GPU
