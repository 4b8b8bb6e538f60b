"""Watching the workers of a cluster while they work: lost, frozen and paused ones are told of."""

import time
from dataclasses import dataclass, field
from typing import Any, Final, final

from eckart.cluster.connection import Cluster
from eckart.errors import ClusterError

LOOK_SECONDS: Final = 1.0
"""Seconds after which it is looked at again how many workers there are."""
LOST_SECONDS: Final = 60.0
"""Seconds that fewer workers than at the start, and workers that have paused, are waited for."""
FROZEN_SECONDS: Final = 60.0
"""Seconds in which nothing is heard of a worker, after which it counts as frozen."""


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
