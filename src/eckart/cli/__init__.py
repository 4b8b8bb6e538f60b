"""The command line: a table of commands, each loaded when it is called."""

import sys

INTERRUPTED = 130
SENTENCE = "error: Interrupted before there was a result.\n"

try:
    import signal
    from types import FrameType

    from eckart.cli.main import main
except KeyboardInterrupt:  # Ctrl-C while the first packages are loaded
    sys.stderr.write(SENTENCE)
    sys.exit(INTERRUPTED)

__all__ = ["main", "run"]


def run() -> None:
    """Run the command of this process and exit with its status."""
    pressed: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        pressed.append(number)
        signal.default_int_handler(number, frame)

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupt)
    try:
        status = main()
    except BaseException:
        # a package of which half was loaded when Ctrl-C came fails later, and in its own way
        if not pressed:
            raise
        sys.stderr.write(SENTENCE)
        status = INTERRUPTED
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # nothing is left to be interrupted
    sys.exit(status)
