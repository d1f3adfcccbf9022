"""``triad train``: the bundled models, from nothing but the line simulator."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from workers.commands.context import loaded_settings
from workers.terminal import say


class Trained(StrEnum):
    ENCODER = "encoder"
    TRIAD = "triad"


def train(
    context: typer.Context,
    model: Annotated[Trained | None, typer.Argument(help="Which one; all where not given.")] = None,
    minutes: Annotated[float, typer.Option(min=0.01, help="Of training, for each model.")] = 60.0,
    out: Annotated[
        Path | None, typer.Option(help="A folder for the weights, instead of the package's own.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the first weights and of the order of frames.")] = 0,
) -> None:
    """Train the bundled models on simulated frames; stopped in the middle, it goes on from there.

    Recipes name the weights they were calibrated on: after training, products have to be added again.

    Example: triad train encoder --minutes 30
    """
    from workers.loaded_models import torch_device

    settings = loaded_settings(context).settings
    checkpoints = settings.home / "training"
    checkpoints.mkdir(parents=True, exist_ok=True)
    device = torch_device(settings.device)
    if model in (None, Trained.ENCODER):
        _train_encoder(out, checkpoints / "encoder.pt", device, minutes=minutes, seed=seed)
    if model in (None, Trained.TRIAD):
        _train_triad(out, checkpoints / "triad", device, minutes=minutes, seed=seed)


def _train_encoder(out: Path | None, checkpoint: Path, device: str, *, minutes: float, seed: int) -> None:
    from importlib.resources import files

    from pipelines.learn.train_encoder import train_encoder
    from pipelines.localize.encoder import BUNDLED

    file = Path(str(files("pipelines.weights"))) / BUNDLED if out is None else out / BUNDLED
    file.parent.mkdir(parents=True, exist_ok=True)

    def tell(numbers: dict[str, float]) -> None:
        say("encoder: " + ", ".join(f"{name} {value:.4g}" for name, value in numbers.items()))

    train_encoder(out=file, minutes=minutes, checkpoint=checkpoint, device=device, seed=seed, progress=tell)
    say(f"encoder: saved to {file}")


def _train_triad(out: Path | None, checkpoints: Path, device: str, *, minutes: float, seed: int) -> None:
    from pipelines.learn.train_triad import TriadTraining, train_triad
    from pipelines.triad.manifest import BUNDLED

    training = TriadTraining(minutes=minutes, seed=seed, device=device)
    train_triad(BUNDLED if out is None else out / BUNDLED.name, checkpoints, training, say)
