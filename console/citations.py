"""The words behind a rationale's knowledge citations, so that a reader need not look them up."""

from pipelines.knowledge import ProductKnowledge
from pipelines.triad.rationale import knowledge_ref


def knowledge_words(knowledge: ProductKnowledge, revision: int) -> dict[str, str]:
    """Every citable entry of this revision: its ref, and what is written there."""
    entries = {("normal", "description"): knowledge.normal}
    entries |= {("step", step.id): f"{step.name}: {step.text}" for step in knowledge.steps}
    entries |= {("defect", defect.id): f"{defect.name}: {defect.look}" for defect in knowledge.defects}
    entries |= {("tolerance", tolerance.id): tolerance.text for tolerance in knowledge.tolerances}
    return {
        knowledge_ref(knowledge.product, revision, kind, entry): words
        for (kind, entry), words in entries.items()
    }
