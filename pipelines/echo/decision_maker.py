"""The Decision Maker: one outcome from the calibrated evidence and the reasoner's answer."""

from pipelines.reasoning import Answer
from pipelines.recipe import AmendPolicy
from pipelines.verdict import Outcome


def amended_outcome(*, is_grey: bool, answer: Answer, policy: AmendPolicy) -> Outcome | None:
    """What the reasoner's A/B answer makes of a fast verdict; None leaves it as it is.

    Calibrated evidence keeps a promised false-reject rate and the reasoner does not, so it only settles the
    grey zone (``Verdict.is_grey``). Its words change nothing.
    """
    if policy is AmendPolicy.NEVER or not is_grey:
        return None
    return Outcome.FAIL if answer.is_defective else Outcome.PASS
