"""What a worker needs of one recipe's models, and where it gets it."""

from collections.abc import Sequence
from typing import Protocol

from pipelines.frame import Frame
from pipelines.inspection import Inspection
from pipelines.reasoning import Reasoner
from pipelines.recipe import Recipe


class Expert(Protocol):
    """One recipe, loaded: its inspector and its references."""

    @property
    def recipe(self) -> Recipe: ...

    @property
    def view_px(self) -> int:
        """Side of the base view and of every view that the reasoner is shown."""
        ...

    def inspect(self, frames: Sequence[Frame]) -> list[Inspection]:
        """As ``pipelines.inspection.Inspector.inspect``."""
        ...

    def nearest(self, frame: Frame) -> str | None:
        """The id of the normal reference most like the frame, never itself; ``None`` without any."""
        ...


class Models(Protocol):
    """The models of one process, loaded when first asked for and kept."""

    def warm_up(self, *, is_reasoning: bool) -> None:
        """Load the weights that every recipe of a profile shares, so that no frame waits for them."""
        ...

    def parity(self) -> str:
        """In words, that all recipes loaded score as where they were fitted; asked for `/readyz`.

        Raises:
            StageUnavailable: One does not, and so nothing is judged by it.
        """
        ...

    def expert(self, recipe: Recipe) -> Expert:
        """Raises ``StageUnavailable`` if the weights cannot be had now, ``InputRefused`` if never."""
        ...

    def reasoner(self, recipe: Recipe) -> Reasoner:
        """The reasoner that the recipe names; it has a reason rule. Raises as ``expert``."""
        ...
