"""Tasks on a cluster: sent with what they need, waited for, collected, and cleared away."""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final, TypeVar, cast, final
from uuid import uuid4

import numpy as np

from eckart.cluster.connection import Cluster, asked
from eckart.cluster.watcher import LOOK_SECONDS, Watcher
from eckart.errors import ClusterError, EckartError
from eckart.progress import Report, silent
from eckart.threads import one_thread_each

T = TypeVar("T")
GONE: Final = ("CancelledError", "FutureCancelledError", "CommClosedError", "ClosedClientError")
"""Errors of Dask for a scheduler that is gone, by name."""
RETRIES: Final = 2
"""Times that a task is tried again after an exception, such as one of a storage."""
SMALL_BYTES: Final = 2**16
"""Bytes up to which an argument travels in every task."""
SENT_BYTES: Final = 2**25
"""Bytes of an array that travel in one task."""


class DroppedError(ClusterError):
    """Some work has to be sent again: its worker has died, or the scheduler has dropped it."""


@final
@dataclass(frozen=True, slots=True)
class Refused:
    """An error in the data or the arguments in place of a result: to try again would not help."""

    error: EckartError


def run_part(function: Callable[..., T], *arguments: Any) -> T | Refused:
    """Do a part of a job on a worker; an error of eckart's is returned, and not tried again."""
    # the same bits whatever the number of threads of a worker
    with one_thread_each():
        try:
            return function(*map(_arrived, arguments))
        except EckartError as error:
            return Refused(error)


def _arrived(one: Any) -> Any:
    return aligned(one.joined() if isinstance(one, Pieces) else one)


def aligned(value: Any) -> Any:
    """What arrived from another process, with its arrays where numbers of their size may lie.

    Arrays arrive at any address, and NumPy reads one whose numbers do not lie at multiples of their
    size from a copy in another order, for which the products of BLAS are rounded otherwise.
    """
    if isinstance(value, np.ndarray):
        return value if value.flags.aligned else value.copy(order="K")
    if isinstance(value, tuple):
        return tuple(aligned(one) for one in cast("tuple[Any, ...]", value))
    if type(value).__module__.startswith("eckart."):
        for name in (*getattr(value, "__dict__", ()), *getattr(value, "__slots__", ())):
            one = getattr(value, name)
            if (moved := aligned(one)) is not one:
                object.__setattr__(value, name, moved)  # of frozen ones too
    return value


@final
class Pieces:
    """Pieces of an array that is too large to travel in one task."""

    def __init__(self, *pieces: Any) -> None:
        self._pieces = pieces

    def __sizeof__(self) -> int:
        return sum(one.nbytes for one in self._pieces)

    def joined(self) -> Any:
        """The array."""
        return np.concatenate(self._pieces)


@final
class Sender:
    """Tasks of one pass, which are cleared away together."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster, self._client = cluster, cluster.client
        self._futures: list[Any] = []
        self._pinned: set[str] = set()

    def task(self, function: Callable[..., Any], *arguments: Any, at: str = "") -> Any:
        """Send a task, if a worker is named to that one alone: else Dask would move its rows."""
        pinned: dict[str, Any] = {"workers": [at]} if at else {}
        name = getattr(function, "__name__", "task").strip("_")
        key = f"eckart-{name}-{uuid4().hex}"
        try:
            future = self._client.submit(
                function, *arguments, key=key, pure=False, retries=RETRIES, **pinned
            )
        except Exception as error:  # of a client that lost its scheduler
            raise lost(error) from error
        self._cluster.tasks += 1
        self._futures.append(future)
        if at:
            self._pinned.add(at)
        return future

    def part(self, function: Callable[..., Any], *own: Any, at: str) -> Any:
        """Send a task with what it alone needs, of any size."""
        return self.task(run_part, function, *(self.shared(one, at=at) for one in own), at=at)

    def computed(self, lazy: Any, *, at: str) -> Any:
        """The result of a lazy object of Dask, on a worker."""
        future = self._client.compute(lazy, workers=[at])
        self._futures.append(future)
        return future

    def shared(self, one: Any, *, at: str = "") -> Any:
        """An argument of tasks: a large one becomes a task, whose recipe the scheduler has.

        What is scattered is lost with its worker; the result of a task is made again.
        """
        if hasattr(one, "key"):  # it is there already
            return one
        cloudpickle: Any = import_module("cloudpickle")
        is_array = hasattr(one, "__array__")
        nbytes = int(one.nbytes) if is_array else len(cloudpickle.dumps(one))
        if nbytes <= SMALL_BYTES:
            return one
        if not is_array or nbytes <= SENT_BYTES:
            return self.task(_same, one, at=at)
        rows = max(1, SENT_BYTES * len(one) // nbytes)
        starts = range(0, len(one), rows)
        pieces = [self.task(_same, one[start : start + rows], at=at) for start in starts]
        return self.task(Pieces, *pieces, at=at)

    def wait(self, futures: Sequence[Any], report: Report = silent) -> None:
        """Wait for tasks."""
        waiting, watcher = set(futures), Watcher(self._cluster)
        while waiting:
            done = self.done(waiting, watcher)
            for future in done:
                self._check(future)
            report(len(done))
            waiting -= done

    def done(self, waiting: set[Any], watcher: Watcher) -> set[Any]:
        """Those of some tasks that have ended; some have, with a look at the workers meanwhile."""
        distributed: Any = import_module("distributed")
        while True:
            try:
                done = distributed.wait(waiting, LOOK_SECONDS, return_when="FIRST_COMPLETED").done
            except TimeoutError:
                self._look(watcher)
                continue
            except distributed.CancelledError:  # some were dropped, which is seen by their status
                done = {future for future in waiting if future.done()}
            return done

    def _look(self, watcher: Watcher) -> None:
        """Look at the workers, and raise the error for work of one that has died."""
        gone = self._pinned - watcher.look()
        if gone:
            raise DroppedError(
                f"The worker {min(gone)} has died again and again while it did this work.",
                hint="Its memory may be too small: give it more, or more workers.",
                code="workers-killed",
            )

    def release(self, future: Any) -> None:
        """Release a task whose result is not needed any more."""
        self._futures.remove(future)
        future.release()

    def result(self, future: Any) -> Any:
        """The result of a task."""
        return self.results([future])[0]

    def results(self, futures: Sequence[Any]) -> list[Any]:
        """The results of tasks; of those that refuse the data, the first is told."""
        watcher = Watcher(self._cluster)
        self.wait(futures)
        answer = asked(lambda: self._client.gather(list(futures)))
        while not answer.done():  # it waits for ever for what lay on a worker that has died
            with suppress(TimeoutError):
                answer.exception(LOOK_SECONDS)
            if not answer.done():
                self._look(watcher)
        if (error := answer.exception()) is not None:
            for future in futures:
                self._check(future)
            raise lost(error) from error
        found = answer.result()
        for one in found:
            if isinstance(one, Refused):
                raise one.error
        return [aligned(one) for one in found]

    def _check(self, future: Any) -> None:
        if future.status == "finished":
            return
        error = future.exception(timeout=LOOK_SECONDS) if future.status == "error" else None
        if isinstance(error, EckartError):
            raise error
        if error is None and self._client.status == "running":
            self._cluster.now()  # an error if the scheduler is gone
            raise DroppedError(
                "The scheduler dropped work that was sent to it.",
                hint="Look at its log, and begin again.",
                code="work-dropped",
            )
        raise lost(error) from error

    def clear(self) -> None:
        """Release all tasks, those under way too."""
        with suppress(Exception):
            self._client.cancel(self._futures, reason="eckart", msg="the pass has ended")
        for future in self._futures:
            with suppress(Exception):
                future.release()
        self._futures.clear()


def _same(one: T) -> T:
    return one


@contextmanager
def sending(cluster: Cluster) -> Generator[Sender, None, None]:
    """Send tasks; those that are not needed any more are cleared away, whatever happens."""
    send = Sender(cluster)
    try:
        yield send
    finally:
        send.clear()


def lost(error: BaseException | None) -> ClusterError:
    """The error for work that the cluster could not do."""
    kind = type(error).__name__
    if kind == "KilledWorker":
        return ClusterError(
            "Several workers died, one after the other, while they did the same work.",
            hint="Their memory may be too small: give them more, or more workers, and begin again.",
            code="workers-killed",
        )
    if error is None or kind in GONE:
        return ClusterError(
            "The connection to the scheduler was lost, and with it the work under way.",
            hint="Start it again, and begin again.",
            code="scheduler-lost",
        )
    said = str(error).strip().splitlines()
    return ClusterError(
        f"A worker could not do its work: {kind}{f': {said[0]}' if said else ''}.",
        hint="Check that every worker can read the input, and begin again.",
        code="worker-failed",
    )
