"""The command line: a table of commands, each loaded when it is called."""

import sys

INTERRUPTED = 130
"""Exit status after Ctrl-C, by convention 128 + SIGINT."""
SENTENCE = "error: Interrupted before there was a result.\n"
"""Message after Ctrl-C, for a moment at which the console may not be imported yet."""

try:
    import signal
    from types import FrameType

    from eckart.cli.main import main
except KeyboardInterrupt:  # Ctrl-C while the first packages are imported
    sys.stderr.write(SENTENCE)
    sys.exit(INTERRUPTED)

__all__ = ["main", "run"]


def run() -> None:
    """Run the command of this process and exit with its status."""
    pressed: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        pressed.append(number)
        signal.default_int_handler(number, frame)

    # a parent may have set SIGINT to be ignored, as shells do for the background jobs of a script
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupt)
    try:
        status = main()
    except BaseException:
        # a package that was half imported at Ctrl-C fails later with an error of its own
        if not pressed:
            raise
        sys.stderr.write(SENTENCE)
        status = INTERRUPTED
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a late Ctrl-C would print a traceback at exit
    sys.exit(status)
