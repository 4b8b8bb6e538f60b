"""Kill a run at a moment that can be named: when it has asked the system so many times."""

import os
import signal
import sys


def killed(moment, work):
    """Do some work in a child that is killed when it has asked the system so many times.

    Gives how many times it has; less than `moment` if it came to its end.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        count = 0

        def seen(event, _arguments):
            nonlocal count
            if event == "open" or (event.startswith(("os.", "shutil.")) and event != "os.kill"):
                count += 1
                if count == moment:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(seen)
        try:
            work()
            os.write(writing, str(count).encode())
        finally:
            os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading) as pipe:
        return int(pipe.read() or moment)
