"""Errors, each with a sentence, a hint and a stable code.

Two families decide the exit status of the command line: an `ArgumentError` follows from the
arguments and the existence of paths alone (exit 2); every other error needs the content (exit 1).
"""

from unicodedata import category


class EckartError(Exception):
    """An error that a user can act on.

    Args:
        message: One sentence that says what is wrong.
        hint: One sentence that says what to do about it; may be empty.
        code: Stable kebab-case name of the error, for programs that read `--json`.
    """

    def __init__(self, message: str, *, hint: str = "", code: str = "error") -> None:
        self.message = escape(message)
        self.hint = escape(hint)
        self.code = code
        super().__init__(self.message)

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".rstrip()


class ArgumentError(EckartError, ValueError):
    """An argument is wrong whatever the data holds, such as a rank below 1."""


class MatrixError(EckartError, ValueError):
    """The matrix cannot be factored as asked: NaN, empty, complex, a rank too large for it."""


class FormatError(EckartError, ValueError):
    """A file is damaged, or does not hold what its suffix promises."""


class StorageError(EckartError, OSError):
    """The system refused to read or write: no permission, disk full."""


class ClusterError(EckartError, ConnectionError):
    """A cluster cannot be reached, or its workers cannot do the work."""


class MissingExtra(EckartError, ImportError):
    """A part of eckart needs a package that is not installed."""


def escape(text: str, keep: str = "") -> str:
    """Escape control characters but those to keep: names read from files may contain any."""
    if text.isprintable():
        return text
    # control characters, lone surrogates (which no terminal can encode), line and paragraph breaks
    kinds = ("Cc", "Cs", "Zl", "Zp")
    # repr writes an escape such as \x1b, so that no name can control a terminal
    return "".join(
        repr(one)[1:-1] if category(one) in kinds and one not in keep else one for one in text
    )


class ConvergenceWarning(UserWarning):
    """The answer is usable but falls short of a target that was set."""
