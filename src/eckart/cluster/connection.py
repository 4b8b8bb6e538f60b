"""A Dask cluster: connecting to it, what its workers are, and how long anything may take."""

import sys
import threading
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib import import_module, metadata
from pathlib import Path
from platform import node
from typing import Any, Final, TypeVar, final

from eckart.errors import ArgumentError, ClusterError, MissingExtra

T = TypeVar("T")
LOCAL: Final = "local"
"""The word for a cluster of processes on this machine."""
CONNECT_SECONDS: Final = 15.0
"""Seconds to wait for a scheduler, and for its answers."""
WORKERS_SECONDS: Final = 30.0
"""Seconds to wait for a first worker."""
COMPARED: Final = ("eckart", "numpy", "scipy", "numba")
"""Packages that every worker needs in the version of the client."""
FAILURES: Final = 20
"""Workers that may die while they hold a task, on a cluster that is started here."""
SHARE_HELD: Final = 0.5
"""Share of the memory of all workers for rows that are held; a dead worker's share has room."""


@final
@dataclass(slots=True, kw_only=True)
class Cluster:
    """A connection to the scheduler of a Dask cluster, with what its workers are.

    Fields:
        client: The client of `distributed`.
        threads: Number of threads of each worker, by address, as they were at the start.
        memory: Bytes that all workers together may take; 0 if that is not known.
        tasks: Number of tasks that were sent.
        moved_before: Bytes that the workers had sent before, by their counters.
        memory_before: Bytes of memory of each worker before.
    """

    client: Any
    threads: Mapping[str, int]
    memory: int
    tasks: int = 0
    moved_before: int = 0
    memory_before: Mapping[str, int] = field(default_factory=dict[str, int])

    @property
    def workers(self) -> int:
        """Number of workers at the start."""
        return len(self.threads)

    @property
    def link(self) -> str:
        """The address of the dashboard; empty if there is none."""
        with suppress(Exception):  # a cluster need not have one
            return str(self.client.dashboard_link or "")
        return ""

    def state(self) -> Mapping[str, Mapping[str, Any]]:
        """What the scheduler knows of each worker now, by address.

        Raises:
            ClusterError: If the scheduler does not answer.
        """
        return answered(
            lambda: self.client.scheduler_info(n_workers=-1)["workers"],
            CONNECT_SECONDS,
            "The scheduler does not answer",
        )

    def now(self) -> dict[str, int]:
        """The workers that are there now, with their threads, in the order of their addresses.

        Raises:
            ClusterError: If the scheduler does not answer.
        """
        found = answered(self.client.nthreads, CONNECT_SECONDS, "The scheduler does not answer")
        return dict(sorted(found.items()))

    def moved(self) -> int:
        """Bytes that all workers have sent up to now, by their own counters."""
        found = answered(
            lambda: self.client.run(_sent, on_error="return"),
            CONNECT_SECONDS,
            "The workers do not answer",
        )
        return sum(value for value in found.values() if isinstance(value, int))

    def peak(self) -> int:
        """Most bytes of memory that any worker took since it was connected to, beside before."""
        found = answered(
            lambda: self.client.run(_peak, on_error="return"),
            CONNECT_SECONDS,
            "The workers do not answer",
        )
        grown = (
            value - self.memory_before.get(address, value)
            for address, value in found.items()
            if isinstance(value, int)
        )
        return max(grown, default=0)

    def holds(self, nbytes: int) -> bool:
        """Whether the workers may hold so many bytes of rows in their memory."""
        return nbytes <= SHARE_HELD * self.memory


@contextmanager
def connected(cluster: Any) -> Generator[Cluster, None, None]:
    """Connect to a cluster, and leave it as it was.

    Args:
        cluster: The address of a scheduler, "local" for processes on this machine, a
            `distributed.Client`, which stays open, or None for the client that is current.

    Raises:
        ArgumentError: If it is none of them.
        ClusterError: If there is no scheduler, no worker, or a worker lacks a package or has
            another version of it.
        MissingExtra: If Dask is not installed.
    """
    distributed = _distributed()
    if cluster is None:
        with suppress(ValueError):
            cluster = distributed.Client.current()
    if isinstance(cluster, distributed.Client):
        yield _looked_at(cluster)
        return
    if not isinstance(cluster, str) or not (cluster == LOCAL or "://" in cluster):
        raise ArgumentError(
            f"The cluster is {cluster!r}.",
            hint="Give the address of its scheduler, such as tcp://host:8786, or local.",
            code="bad-cluster",
        )
    with _opened(distributed, cluster) as client:
        yield _looked_at(client)


@contextmanager
def client_of(cluster: object) -> Generator[Any, None, None]:
    """The client of a cluster as in `connected`, for several jobs; None if there is no cluster."""
    if cluster is None:
        yield None
        return
    with connected(cluster) as found:
        yield found.client


def has_client() -> bool:
    """Whether this process has a client of Dask, which counts as current."""
    module: Any = sys.modules.get("distributed")
    if module is None:
        return False
    try:
        module.Client.current()
    except ValueError:
        return False
    return True


def _distributed() -> Any:
    try:
        return import_module("distributed")
    except ImportError as error:
        raise MissingExtra(
            "A cluster is run by Dask, which is not installed.",
            hint="pip install 'eckart[cluster]'",
            code="missing-extra",
        ) from error


@contextmanager
def _opened(distributed: Any, cluster: str) -> Generator[Any, None, None]:
    """A client of a scheduler, or of one that is started here."""
    from eckart.threads import thread_count

    dask: Any = import_module("dask")
    own = None
    if cluster == LOCAL:
        limits = {
            "distributed.scheduler.allowed-failures": FAILURES,
            "distributed.worker.daemon": True,
        }
        try:
            with dask.config.set(limits):
                own = distributed.LocalCluster(
                    n_workers=thread_count(), threads_per_worker=1, dashboard_address=None
                )
        except Exception as error:  # of whatever hinders a process to start
            raise ClusterError(
                "The processes of a cluster on this machine do not start.",
                hint='In a script, what begins them stands below `if __name__ == "__main__":`.',
                code="no-workers",
            ) from error
    try:
        try:
            client = distributed.Client(own or cluster, timeout=CONNECT_SECONDS)
        except (OSError, ValueError, TypeError) as error:
            raise ClusterError(
                f"There is no scheduler at {cluster}.",
                hint="Check the address, and that `dask scheduler` runs there.",
                code="no-scheduler",
            ) from error
        try:
            yield client
        finally:
            with suppress(Exception):  # whatever is wrong with it was said before
                client.close(timeout=2)
    finally:
        if own is not None:
            with suppress(Exception):
                own.close(timeout=5)


def _looked_at(client: Any) -> Cluster:
    """The cluster of a client, whose workers have what they need."""
    try:
        client.wait_for_workers(1, timeout=WORKERS_SECONDS)
    except TimeoutError as error:
        raise ClusterError(
            f"The cluster has no worker after {WORKERS_SECONDS:.0f} seconds.",
            hint="Start some: `dask worker tcp://host:8786`.",
            code="no-workers",
        ) from error
    threads = dict(sorted(answered(client.nthreads, CONNECT_SECONDS, "No answer").items()))
    for package in COMPARED:
        _compare(client, package)
    found = Cluster(client=client, threads=threads, memory=0)
    limits = [int(worker.get("memory_limit") or 0) for worker in found.state().values()]
    if all(limits):
        found.memory = sum(limits)
    else:  # without limits, workers of one machine share its memory
        machines = answered(lambda: client.run(_machine, on_error="return"), CONNECT_SECONDS, "-")
        found.memory = sum(size for _, size in {m for m in machines.values() if type(m) is tuple})
    found.moved_before = found.moved()
    before = answered(lambda: client.run(_begin_peak, on_error="return"), CONNECT_SECONDS, "-")
    found.memory_before = {key: one for key, one in before.items() if isinstance(one, int)}
    return found


def _sent(dask_worker: Any) -> int:
    return int(dask_worker.transfer_outgoing_bytes_total)


def _compare(client: Any, package: str) -> None:
    """Refuse workers that lack a package, or have another version of it."""
    found = answered(
        lambda: client.run(metadata.version, package, on_error="return"),
        CONNECT_SECONDS,
        "The workers do not answer",
    )
    own = version_here(package)
    for address, version in sorted(found.items()):
        if version != own:
            has = f"has {version}" if isinstance(version, str) else "does not have it"
            raise ClusterError(
                f"The client has {package} {own}, and the worker {address} {has}.",
                hint=f"Install {package}=={own} on all workers.",
                code="other-version",
            )


STATUS: Final = Path("/proc/self/status")
"""What Linux tells of the memory of a process."""


def _begin_peak() -> int:
    """Begin to measure the peak of the memory of this process, and return what it takes now."""
    with suppress(OSError):  # another system, or no permission: the peak is that since the start
        Path("/proc/self/clear_refs").write_text("5")
    return _memory_of("VmRSS:")


def _peak() -> int:
    return _memory_of("VmHWM:")


def _machine() -> tuple[str, int]:
    """The name of this machine, and its bytes of memory."""
    return node(), _memory_of("MemTotal:", Path("/proc/meminfo"))


def _memory_of(key: str, source: Path = STATUS) -> int:
    with suppress(OSError):
        for line in source.read_text().splitlines():
            if line.startswith(key):
                return 1024 * int(line.split()[1])
    return 0


def version_here(package: str) -> str:
    """The version of a package in this process."""
    return metadata.version(package)


def asked(ask: Callable[[], T]) -> Future[T]:
    """A call to the cluster, made in a thread that ends with the process: it may never answer."""
    answer: Future[T] = Future()

    def call() -> None:
        try:
            answer.set_result(ask())
        except BaseException as error:  # it is raised in the thread that waits
            answer.set_exception(error)

    threading.Thread(target=call, daemon=True).start()
    return answer


def answered(ask: Callable[[], T], seconds: float, said: str) -> T:
    """What a call to the cluster returns, which has to come in time.

    Raises:
        ClusterError: If it does not come, or the connection is lost.
    """
    answer = asked(ask)
    try:
        return answer.result(seconds)
    except Exception as error:
        late = "" if answer.done() else f" within {seconds:.0f} seconds"
        raise ClusterError(
            f"{said}{late}.",
            hint="Check that its scheduler and its workers run, and begin again.",
            code="no-answer",
        ) from error
