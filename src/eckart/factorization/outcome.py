"""How a run can end."""

from enum import Enum
from typing import Literal, TypeAlias

Grade: TypeAlias = Literal["success", "short", "failed", "interrupted"]


class Outcome(Enum):
    """How a run ended; the value is the general sentence, `message` has this run's figures."""

    EXACT = "Computed directly; no iteration was needed."
    SKETCHED = "Computed from sketches of W; no iteration was needed."
    CONVERGED = "The loss stopped falling."
    SETTLED = "The error is estimated to be within 0.1 % of the best possible one."
    UNPROVEN = (
        "Nothing that is left out is known to be larger; the spectrum is too flat for a proof."
    )
    RESOLVED = "The leading singular directions are as exact as was wanted."
    WHOLE = "The space of the products holds all of W."
    EPOCHS_DONE = "All the epochs that were asked for were run."
    ACCURATE = "The accuracy that was wanted is certified."
    EPOCH_LIMIT = "The steps were used up while the loss was still falling."
    FAR = "The error is known to be more than 1 % above the best possible one."
    STALLED = "Further products bring nothing that numbers of this precision can tell."
    TIME_LIMIT = "The time limit came first."
    INACCURATE = "The accuracy that was asked for is not certified."
    DIVERGED = "The loss grew without bound."
    INTERRUPTED = "The run was interrupted."

    @property
    def grade(self) -> Grade:
        """Success, usable but short of a target, failed, or interrupted."""
        return _GRADES.get(self, "success")


_GRADES: dict[Outcome, Grade] = {
    Outcome.EPOCH_LIMIT: "short",
    Outcome.FAR: "short",
    Outcome.STALLED: "short",
    Outcome.TIME_LIMIT: "short",
    Outcome.INACCURATE: "short",
    Outcome.DIVERGED: "failed",
    Outcome.INTERRUPTED: "interrupted",
}
