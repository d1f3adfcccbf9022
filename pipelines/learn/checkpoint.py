"""A training run that can be stopped and gone on with: tensors only, in one safetensors file."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn


def save_checkpoint(
    path: Path,
    parts: Mapping[str, nn.Module],
    optimizer: torch.optim.Optimizer,
    *,
    steps: int,
    elapsed_s: float,
) -> None:
    """Write modules and the optimizer's moments; its settings are the trainer's own and are not read back."""
    tensors = {
        f"{name}/{key}": tensor for name, part in parts.items() for key, tensor in part.state_dict().items()
    }
    for place, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{place}/{key}": tensor for key, tensor in moments.items()}
    kept = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    partial = path.with_suffix(".partial")
    save_file(kept, partial, {"steps": str(steps), "elapsed_s": str(elapsed_s)})
    partial.replace(path)


def resume(
    path: Path, parts: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer, *, device: str
) -> tuple[int, float]:
    """Put back what `save_checkpoint` wrote; the steps done and the seconds spent, 0 without a file."""
    if not path.exists():
        return 0, 0.0
    with safe_open(path, framework="pt", device=device) as stored:
        told = stored.metadata()
        tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - it is no dict
    for name, part in parts.items():
        own = {key.split("/", 1)[1]: one for key, one in tensors.items() if key.startswith(f"{name}/")}
        part.load_state_dict(own)
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer/"):
            _, place, key = name.split("/")
            moments.setdefault(int(place), {})[key] = tensor
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": moments, "param_groups": groups})
    return int(told["steps"]), float(told["elapsed_s"])
