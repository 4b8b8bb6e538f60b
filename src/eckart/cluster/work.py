"""Tasks on a cluster: sent with what they need, watched, added up in a tree, and cleared away."""

import itertools
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Final, TypeVar, cast, final
from uuid import uuid4

import numpy as np

from eckart.cluster.connection import Cluster, asked
from eckart.cluster.tree import Segment, added, pairs
from eckart.errors import ClusterError, EckartError
from eckart.progress import Report, silent
from eckart.threads import one_thread_each

T = TypeVar("T")
LOOK_SECONDS: Final = 1.0
"""Seconds after which it is looked at again how many workers there are."""
LOST_SECONDS: Final = 60.0
"""Seconds that fewer workers than at the start, and workers that have paused, are waited for."""
FROZEN_SECONDS: Final = 60.0
"""Seconds in which nothing is heard of a worker, after which it counts as frozen."""
GONE: Final = ("CancelledError", "FutureCancelledError", "CommClosedError", "ClosedClientError")
"""Errors of Dask for a scheduler that is gone, by name."""
ATTEMPTS: Final = 5
"""Times that work is sent whose worker dies, or which the scheduler drops."""
RETRIES: Final = 2
"""Times that a task is tried again after an exception, such as one of a storage."""
SMALL_BYTES: Final = 2**16
"""Bytes up to which an argument travels in every task."""
SENT_BYTES: Final = 2**25
"""Bytes of an array that travel in one task."""


def there(cluster: Cluster) -> dict[str, int]:
    """The workers that are there, with their threads; if none is, one is waited for.

    Raises:
        ClusterError: If none comes.
    """
    watcher = Watcher(cluster)
    while not (now := cluster.now()):
        watcher.look()
        time.sleep(LOOK_SECONDS)
    return now


class DroppedError(ClusterError):
    """Some work has to be sent again: its worker has died, or the scheduler has dropped it."""


@final
@dataclass(slots=True)
class Watcher:
    """What is known of the workers, to tell when the work comes to nothing.

    How long a task takes says nothing: it may read for an hour. But a worker that lives tells the
    scheduler so twice a second, and one that is out of memory says that it has paused.

    Fields:
        cluster: The cluster.
        fewer: Since when there are fewer workers than at the start; None if there are not.
        paused: Since when all workers have paused; None if one works.
        heard: What each worker said last, and when that was heard.
    """

    cluster: Cluster
    fewer: float | None = None
    paused: float | None = None
    heard: dict[str, tuple[Any, float]] = field(default_factory=dict[str, tuple[Any, float]])

    def look(self) -> set[str]:
        """Look at the workers, and return the addresses of those that are there.

        Raises:
            ClusterError: If workers are missing, frozen or all of them paused for too long.
        """
        workers, now = self.cluster.state(), time.monotonic()
        for address, worker in workers.items():
            said = worker.get("last_seen")
            if address not in self.heard or self.heard[address][0] != said:
                self.heard[address] = (said, now)
        frozen = [one for one in workers if now - self.heard[one][1] > FROZEN_SECONDS]
        if frozen:
            raise ClusterError(
                f"Nothing was heard of the worker {frozen[0]} for {FROZEN_SECONDS:.0f} seconds.",
                hint="It is frozen, or its machine is: stop it, and begin again.",
                code="worker-frozen",
            )
        missing = self.cluster.workers - len(workers)
        self.fewer = (self.fewer or now) if missing > 0 else None
        if self.fewer is not None and now - self.fewer > LOST_SECONDS:
            raise ClusterError(
                f"{missing} of {self.cluster.workers} workers are gone, and did not come back in "
                f"{LOST_SECONDS:.0f} seconds.",
                hint="Look at their logs (was their memory enough?), and begin again.",
                code="workers-lost",
            )
        still = workers and all(one.get("status") == "paused" for one in workers.values())
        self.paused = (self.paused or now) if still else None
        if self.paused is not None and now - self.paused > LOST_SECONDS:
            raise ClusterError(
                f"All workers have paused for {LOST_SECONDS:.0f} seconds: their memory is full.",
                hint="Give them more, or more workers, and begin again.",
                code="workers-paused",
            )
        return set(workers)


def summed(
    cluster: Cluster,
    parts: Sequence[Any],
    segments: Sequence[Segment],
    owners: Sequence[str],
    over: Callable[..., T],
    thin: Sequence[Any],
    add: Callable[[T, T], T],
    report: Report = silent,
) -> T:
    """The sum of what a function gives for parts of rows, added in the order of the tree.

    Args:
        cluster: The cluster.
        parts: For each segment what its rows are read from: a future, or anything small.
        segments: The segments.
        owners: The worker of each, which alone works on it, so that no rows ever move.
        over: Function of a part, the edges of its pieces and `thin`.
        thin: What every part needs. Arrays go to a task of their own, from which each worker
            takes them once.
        add: What adds two results.
        report: Called for each finished segment.

    Raises:
        ClusterError: If the cluster cannot do it.
        EckartError: If a part raises one.
    """
    with sending(cluster) as send:
        shared = [send.shared(one) for one in thin]
        leaves = [
            send.task(_segment_sum, part, segment.edges, over, add, *shared, at=owner)
            for part, segment, owner in zip(parts, segments, owners, strict=True)
        ]
        level = list(zip(leaves, owners, strict=True))
        while len(level) > 1:
            level = [
                (one, owner)
                if other is None
                else (send.task(_added, one, other[0], add, at=owner), owner)
                for (one, owner), other in pairs(level)
            ]
        send.wait(leaves, report)
        return send.result(level[0][0])


def mapped(
    cluster: Cluster,
    owners: Sequence[str],
    function: Callable[..., T],
    own: Sequence[Sequence[Any]],
    thin: Sequence[Any],
) -> list[T]:
    """What a function gives for each part of a job, in their order.

    Args:
        cluster: The cluster.
        owners: The worker of each part.
        function: Function of what belongs to a part alone and of `thin`.
        own: What belongs to each part: futures of its worker, arrays, or anything small.
        thin: What every part needs, as in `summed`.

    Raises:
        ClusterError: If the cluster cannot do it.
        EckartError: If a part raises one.
    """
    with sending(cluster) as send:
        shared = [send.shared(one) for one in thin]
        futures = [
            send.part(function, *some, *shared, at=at) for some, at in zip(own, owners, strict=True)
        ]
        return send.results(futures)


def retried(work: Callable[[], T]) -> T:
    """Do some work, again if it is lost with a worker.

    Raises:
        ClusterError: If it is lost again and again.
    """
    for _ in range(ATTEMPTS - 1):
        with suppress(DroppedError):
            return work()
    return work()


JOBS_PER_THREAD: Final = 2
"""Jobs that are sent ahead for each thread: no more are held, however many there are."""


def each(cluster: Cluster, jobs: Iterable[Callable[[], T]]) -> Generator[T, None, None]:
    """The results of independent jobs, in the order in which they end.

    Raises:
        ClusterError: If the cluster cannot do it.
        EckartError: If a job raises one.
    """
    most, watcher = JOBS_PER_THREAD * sum(cluster.threads.values()), Watcher(cluster)
    rest = iter(jobs)
    with sending(cluster) as send:
        waiting = {send.task(_job, job): (job, 1) for job in itertools.islice(rest, most)}
        while waiting:
            for future in send.done(set(waiting), watcher):
                job, times = waiting.pop(future)
                try:
                    result = send.result(future)
                except DroppedError:
                    if times == ATTEMPTS:
                        raise
                    waiting[send.task(_job, job)] = (job, times + 1)
                    continue
                send.release(future)
                waiting |= {
                    send.task(_job, next_one): (next_one, 1)
                    for next_one in itertools.islice(rest, 1)
                }
                yield result


@final
@dataclass(frozen=True, slots=True)
class _Refused:
    """An error in the data or the arguments in place of a result: to try again would not help."""

    error: EckartError


def _job(job: Callable[[], T]) -> T | _Refused:
    return _part(job)


def _part(function: Callable[..., T], *arguments: Any) -> T | _Refused:
    # the same bits whatever the number of threads of a worker
    with one_thread_each():
        try:
            return function(*map(_arrived, arguments))
        except EckartError as error:
            return _Refused(error)


def _segment_sum(
    part: Any, edges: Sequence[int], over: Callable[..., T], add: Callable[[T, T], T], *thin: Any
) -> T | _Refused:
    def sum_of(*arrays: Any) -> T:
        return added((over(part, a, z, *arrays) for a, z in itertools.pairwise(edges)), add)

    return _part(sum_of, *thin)


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


def _added(one: T | _Refused, other: T | _Refused, add: Callable[[T, T], T]) -> T | _Refused:
    # the first in the order of the rows is told
    if isinstance(one, _Refused):
        return one
    return other if isinstance(other, _Refused) else add(one, other)


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
        return self.task(_part, function, *(self.shared(one, at=at) for one in own), at=at)

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
            if isinstance(one, _Refused):
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


@final
class Held:
    """Parts of a job that workers hold between its passes, made anew where a worker has died."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._sender = Sender(cluster)
        self._known: dict[tuple[int, int], tuple[Any, str]] = {}
        self._named: dict[int, object] = {}

    def parts(
        self, what: object, owners: Sequence[str], place: Callable[[Sender, int, str], Any]
    ) -> tuple[list[Any], list[str]]:
        """A future of each part, and the worker that holds it.

        Args:
            what: The object that the parts are of.
            owners: Worker of each part that no worker holds yet.
            place: Sends the task that makes a part, of a number, on a worker.
        """
        now, name = there(self.cluster), id(what)
        self._named[name] = what  # kept, since another object may have the place of a lost one
        for number, owner in enumerate(owners):
            known, at = self._known.get((name, number), (None, ""))
            if known is None or at not in now or known.status in ("cancelled", "lost", "error"):
                self._known[name, number] = place(self._sender, number, owner), owner
        found = [self._known[name, number] for number in range(len(owners))]
        return [part for part, _ in found], [at for _, at in found]

    def close(self) -> None:
        """Release all parts."""
        self._sender.clear()
        self._known.clear()
        self._named.clear()


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
