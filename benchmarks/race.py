"""One matrix, one rank: the fastest setting of each peer, then everyone's time in turns."""

import math
from dataclasses import dataclass, field, replace
from typing import Any

from contenders import EVERY_PRODUCT, Grid, Job, grid
from spectra import Case
from workers import Sample, Worker

TARGET = 1.001
"""Error over the optimum that a peer's setting has to reach."""
GIVE_UP = 20
"""Times our time after which a run of a peer is ended."""
LEAST_LIMIT = 0.5
"""Seconds; for matrices so small that starting threads takes longer than the work."""
UNLIMITED = ("LAPACK",)


@dataclass(slots=True, kw_only=True)
class Entry:
    """A row of the table.

    Fields:
        who: The contender.
        job: The one that was timed; None where no setting reached the target.
        samples: One for each repetition.
        remark: Why there are no samples.
    """

    who: str
    job: Job | None = None
    samples: list[Sample] = field(default_factory=list)
    remark: str = ""

    @property
    def best(self) -> float:
        """Seconds of the fastest turn."""
        return min((sample.seconds for sample in self.samples), default=math.inf)

    @property
    def worst(self) -> float:
        """Seconds of the slowest turn."""
        return max((sample.seconds for sample in self.samples), default=math.inf)

    @property
    def ratio(self) -> float | None:
        """The largest of any repetition."""
        return max((one.ratio for one in self.samples if one.ratio is not None), default=None)

    @property
    def products(self) -> int:
        """With W, at most in any repetition."""
        return max((sample.products for sample in self.samples), default=0)

    @property
    def reads_much(self) -> bool:
        """Whether it needs eight products with W, or reads W in other ways."""
        return self.products >= 8

    def detail(self, name: str) -> Any:
        """Of the repetition with the largest, or None."""
        found = [one.details[name] for one in self.samples if one.details.get(name) is not None]
        return max(found, default=None)


@dataclass(slots=True, kw_only=True)
class Race:
    """Everyone on one matrix at one rank.

    Fields:
        peak: Bytes that our first two runs took, without and with the certificate.
    """

    case: Case
    rank: int
    plain: Entry
    certified: Entry
    bare: Entry
    peers: list[Entry]
    peak: tuple[int | None, ...]

    @property
    def fastest(self) -> Entry | None:
        """The fastest peer that reached the target."""
        return min((one for one in self.peers if one.samples), key=lambda e: e.best, default=None)


def race(rank: int, workers: dict[str, Worker], repetitions: int) -> Race:
    """Search first, untimed; then take turns."""
    ours = workers["eckart"]
    own = {
        who: Entry(who=who, job=Job(rank=rank, variant=variant))
        for who, variant in (
            ("eckart", "plain"),
            ("eckart with certificate", "certificate"),
            ("bare products", "bare"),
        )
    }
    plain, certified, bare = own.values()
    peak = tuple(
        sound(ours.run(Job(rank=rank, variant=variant, memory=True))).peak
        for variant in ("plain", "certificate")
    )
    limit = max(LEAST_LIMIT, GIVE_UP * sound(ours.run(plain.job)).seconds)
    peers = [
        Search(worker, repetitions, None if name in UNLIMITED else limit).entry(rank)
        for name, worker in workers.items()
        if worker is not ours
    ]
    for seed in range(repetitions):
        for entry in (*own.values(), *peers):
            if entry.job is not None:
                worker = ours if entry.who in own else workers[entry.who]
                entry.samples.append(sound(worker.run(replace(entry.job, seed=seed))))
    return Race(
        case=ours.case,
        rank=rank,
        plain=plain,
        certified=certified,
        bare=bare,
        peers=peers,
        peak=peak,
    )


def sound(sample: Sample | None) -> Sample:
    if sample is None or sample.failure:
        raise RuntimeError(sample.failure if sample else "ended")
    return sample


class Search:
    """For the fastest setting of a peer that reaches the target, whatever the seed.

    Args:
        worker: The peer.
        seeds: From 0 up to this; the target has to be reached with each.
        limit: Seconds after which a run is ended.
    """

    def __init__(self, worker: Worker, seeds: int, limit: float | None) -> None:
        self._worker, self._seeds, self._limit = worker, seeds, limit
        self._reached: list[tuple[float, Job]] = []
        self._missed: list[float] = []
        self._failures: list[str] = []

    def entry(self, rank: int) -> Entry:
        """Without a job where nothing reaches the target."""
        name = self._worker.name
        choice = grid(name, rank, sparse=self._worker.case.entries > 0)
        for width in choice.widths:
            job = Job(rank=rank, width=width, variant=choice.variants[0])
            found = self._shallowest(job, choice)
            for variant in choice.variants[1:] if found else ():
                self._reaches(replace(found, variant=variant))
        if self._reached:
            return Entry(who=name, job=min(self._reached, key=lambda pair: pair[0])[1])
        remarks = self._failures[-1:] or ["target missed"]
        remarks += [f"best {ratio:.4f}" for ratio in sorted(self._missed)[:1]]
        return Entry(who=name, remark="; ".join(remarks))

    def _shallowest(self, job: Job, choice: Grid) -> Job | None:
        """With the first depth that reaches the target, if any does and is not too slow."""
        for depth in choice.depths:
            tried = replace(job, depth=depth)
            if self._reaches(tried):
                return tried
            if self._too_slow:
                return None
        return None

    def _reaches(self, job: Job) -> bool:
        """Whether every seed reaches the target in time."""
        fastest = min((seconds for seconds, _ in self._reached), default=math.inf)
        self._too_slow, spent = False, []
        for seed in range(self._seeds):
            sample = self._worker.run(replace(job, seed=seed), self._limit)
            if sample is None or sample.failure:
                self._too_slow = sample is None
                self._failures.append(sample.failure if sample else f"given up after {GIVE_UP}×")
                return False
            spent.append(sample.seconds)
            if sample.ratio is None or sample.ratio > TARGET:
                self._too_slow = sample.seconds > fastest
                self._missed.append(sample.ratio or math.inf)
                return False
        self._reached.append((min(spent), job))
        return True


def products(entry: Entry) -> str:
    if entry.products >= EVERY_PRODUCT:
        return "all of W"
    return str(entry.products) if entry.samples else ""
