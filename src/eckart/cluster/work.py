"""Jobs of many parts on a cluster: summed in a tree, in their order, or one by one."""

import itertools
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import suppress
from typing import Any, Final, TypeVar, final

from eckart.cluster.connection import Cluster
from eckart.cluster.sender import DroppedError, Refused, Sender, run_part, sending
from eckart.cluster.tree import Segment, added, pairs
from eckart.cluster.watcher import Watcher, there
from eckart.progress import Report, silent

T = TypeVar("T")
ATTEMPTS: Final = 5
"""Times that work is sent whose worker dies, or which the scheduler drops."""


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
        waiting = {send.task(run_part, job): (job, 1) for job in itertools.islice(rest, most)}
        while waiting:
            for future in send.done(set(waiting), watcher):
                job, times = waiting.pop(future)
                try:
                    result = send.result(future)
                except DroppedError:
                    if times == ATTEMPTS:
                        raise
                    waiting[send.task(run_part, job)] = (job, times + 1)
                    continue
                send.release(future)
                waiting |= {
                    send.task(run_part, next_one): (next_one, 1)
                    for next_one in itertools.islice(rest, 1)
                }
                yield result


def _segment_sum(
    part: Any, edges: Sequence[int], over: Callable[..., T], add: Callable[[T, T], T], *thin: Any
) -> T | Refused:
    def sum_of(*arrays: Any) -> T:
        return added((over(part, a, z, *arrays) for a, z in itertools.pairwise(edges)), add)

    return run_part(sum_of, *thin)


def _added(one: T | Refused, other: T | Refused, add: Callable[[T, T], T]) -> T | Refused:
    # the first in the order of the rows is told
    if isinstance(one, Refused):
        return one
    return other if isinstance(other, Refused) else add(one, other)


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
