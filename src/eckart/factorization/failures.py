"""Runs that end without an answer to return, and carry what they had."""

from eckart.errors import EckartError
from eckart.factorization.result import Factorization


class Diverged(EckartError, ArithmeticError):
    """The loss grew without bound; `partial` is the run up to there, with its last good factors."""

    def __init__(self, message: str, *, hint: str, partial: Factorization) -> None:
        super().__init__(message, hint=hint, code="diverged")
        self.partial = partial


class Interrupted(KeyboardInterrupt):
    """Ctrl-C; `partial` is the run up to there."""

    def __init__(self, partial: Factorization) -> None:
        super().__init__(partial.message)
        self.partial = partial
