"""What a job on a cluster will take, told before it, and what it took, measured after it."""

from dataclasses import asdict, dataclass
from typing import Any, Final, Protocol, final

from eckart.cluster.connection import Cluster
from eckart.cluster.tree import Segment

SKETCH_SUMS: Final = 4
"""Sums of rows in the first pass for each column of a block, as `matrices.sketches` has them."""
PROBES: Final = 32
"""Columns that are multiplied along in the first pass."""
ALONG: Final = 32
"""Columns that are multiplied along with a block."""
LIKELY_BLOCKS: Final = 2
"""Blocks that most spectra need after a sketch."""
FLOPS: Final = 2.5e10
"""Operations of a worker thread in a second, in products with some hundred columns."""
READ_BYTES: Final = 5e8
"""Bytes that a worker reads in a second."""
MOVED_BYTES: Final = 2e8
"""Bytes that a worker sends in a second."""
TASK_SECONDS: Final = 4e-3
"""Seconds of the scheduler and the client for a task."""
BUFFERS: Final = 2**27
"""Bytes of the two buffers of rows that are read anew, at most."""
OTHER_SUMS: Final = 2
"""Sums that a worker has beside those of the levels of the tree in its task."""


class Placed(Protocol):
    """What a plan needs to know of a matrix on a cluster."""

    cluster: Cluster
    segments: list[Segment]
    rereads: bool
    passes: int

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (rows, columns)."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes of the rows."""
        ...

    @property
    def itemsize(self) -> int:
        """Bytes of a number."""
        ...

    @property
    def is_squared(self) -> bool:
        """Whether the first pass forms WᵀW."""
        ...


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a job will take.

    Fields:
        passes: Passes over the rows, B included.
        read_bytes: Bytes that are read.
        moved_bytes: Bytes between workers, and from them to the client.
        tasks: Number of tasks.
        worker_bytes: Peak memory of a worker, beside what it has before.
        client_bytes: Peak memory of thin arrays at the client.
        seconds: Estimate of the time, from measured constants.
        workers, threads: Workers and their threads together.
        held: Whether the rows are held in the memory of the workers.
    """

    passes: int
    read_bytes: int
    moved_bytes: int
    tasks: int
    worker_bytes: int
    client_bytes: int
    seconds: float
    workers: int
    threads: int
    held: bool

    @staticmethod
    def of(W: Placed, width: int, rank: int, *, passes: int | None = None) -> "Plan":
        """The plan of a matrix.

        Args:
            W: The matrix.
            width: Columns of a block.
            rank: Columns of B.
            passes: Passes, if they are known; else those that most spectra need.
        """
        rows, columns = W.shape
        cluster, tasks = W.cluster, len(W.segments)
        likely = 2 if W.is_squared else 2 + LIKELY_BLOCKS
        made = likely if passes is None else passes
        blocks = max(0, made - 2)
        workers, threads = cluster.workers, sum(cluster.threads.values())
        beside, others = width + ALONG, workers - 1
        # a sum goes from each worker to another one, and in the end here
        summed = 8 * columns * workers
        if W.is_squared:
            first = summed * (columns + 1)
            operations = rows * columns * columns
        else:
            sketch = 4 * columns * SKETCH_SUMS * width * (1 + others / workers)
            first = sketch + summed * (PROBES + 1)
            operations = rows * columns * (2 + 4 * PROBES)
        # X goes from one worker to the others
        each = summed * beside + 4 * columns * beside * others
        operations += blocks * 4 * rows * columns * beside + 2 * rows * columns * rank
        moved = int(first + blocks * each + W.itemsize * columns * rank * others)
        # each task, what adds two of them, and arrays that go to all
        count = made * (2 * tasks - 1 + 1) + (0 if W.rereads else tasks)
        read = W.nbytes * (made if W.rereads else 1)
        sums = 8 * columns * (columns if W.is_squared else beside)
        segment = W.segments[0]
        piece = W.nbytes // rows * (segment.edges[1] - segment.edges[0])
        held = min(BUFFERS, 2 * piece) if W.rereads else W.nbytes // workers
        # those on each level of the tree in a task, and those that are being made
        levels = (len(segment.edges) - 1).bit_length() + OTHER_SUMS
        seconds = (
            operations / FLOPS / threads
            + read / READ_BYTES / workers
            + moved / MOVED_BYTES / workers
            + count * TASK_SECONDS
        )
        return Plan(
            passes=made,
            read_bytes=read,
            moved_bytes=moved,
            tasks=count,
            worker_bytes=held + levels * sums,
            client_bytes=8 * columns * (5 * rank + 8 * width),
            seconds=seconds,
            workers=workers,
            threads=threads,
            held=not W.rereads,
        )

    def spent(self, W: Placed) -> "Spent":
        """What was done up to now, beside this plan."""
        return Spent(
            planned=self,
            passes=W.passes,
            moved_bytes=W.cluster.moved() - W.cluster.moved_before,
            tasks=W.cluster.tasks,
            worker_bytes=W.cluster.peak(),
        )

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain numbers."""
        return asdict(self)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What a job took, beside its plan.

    Fields:
        planned: The plan.
        passes, moved_bytes, tasks, worker_bytes: As in `Plan`, measured.
    """

    planned: Plan
    passes: int
    moved_bytes: int
    tasks: int
    worker_bytes: int

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain numbers."""
        return asdict(self)
