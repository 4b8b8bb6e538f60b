"""Time to nearly the best factors (error at most 1.001 × the optimum) beside the peers.

Every contender runs in a process of its own, one at a time, with the same number of threads. Each
peer gets the setting that reaches the target error fastest, found before anything is timed; the
timed runs take turns. The error is that of the factors, computed here in float64, over the best
possible one. Run with `make bench`, or with --help for smaller runs.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from contenders import DENSE_ONLY, PEERS, Job
from machine import machine, prepare_processes
from race import TARGET, Entry, Race, products, race
from spectra import SPECTRA, Case
from workers import Worker

Target = tuple[bool, str]


def main() -> None:
    options = arguments()
    prepare_processes(options.threads)
    print(machine())
    print(
        f"{options.threads} threads; the machine has to be quiet. {options.repetitions} rounds.\n"
    )
    print(
        "| matrix | rank | who | setting | products | ms, best (worst) | × eckart | error / opt. |"
    )
    print("|---|---:|---|---|---:|---:|---:|---:|")
    races: list[Race] = []
    for ranks, case in cases(options):
        case.make(max(options.ranks))
        names = ["eckart", *(peer for peer in options.peers if plays(peer, case))]
        workers = {name: Worker(name, case) for name in names}
        for rank in ranks:
            races.append(race(rank, workers, options.repetitions))
            print("\n".join(rows(races[-1])), flush=True)
        for worker in workers.values():
            worker.stop()
    print()
    for one in races:
        print("\n".join(remarks(one)))
    wanted = [target for one in races for target in targets(one)]
    print()
    for met, sentence in wanted:
        print(f"{'met   ' if met else 'MISSED'} {sentence}")
    if options.json:
        options.json.write_text(json.dumps(record(races, wanted), indent=1))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--sizes", nargs="*", default=["4096x4096", "16384x2048"], help="rows x columns")
    add("--ranks", nargs="+", type=int, default=[32, 128])
    add("--spectra", nargs="*", default=list(SPECTRA), choices=list(SPECTRA))
    add("--sparse", action=argparse.BooleanOptionalAction, default=True)
    add("--sparse-size", default="200000x50000")
    add("--sparse-entries", type=int, default=10**7)
    add("--peers", nargs="*", default=list(PEERS), choices=PEERS)
    add("--repetitions", type=int, default=3)
    add("--threads", type=int, default=2)
    add("--cache", type=Path, default=Path(tempfile.gettempdir()) / "eckart-bench")
    add("--json", type=Path, help="write the figures here too")
    return parser.parse_args()


def plays(peer: str, case: Case) -> bool:
    return not (case.entries and peer in DENSE_ONLY)


def cases(options: argparse.Namespace) -> Iterator[tuple[list[int], Case]]:
    """Each matrix with the ranks it is for: an exponential decay is made for one."""
    for size in options.sizes:
        rows, columns = map(int, size.split("x"))
        for name in options.spectra:
            kind = {"spectrum": name, "rows": rows, "columns": columns, "cache": options.cache}
            if name == "exponential":
                yield from (([rank], Case(**kind, rank=rank)) for rank in options.ranks)
            else:
                yield options.ranks, Case(**kind)
    if options.sparse:
        rows, columns = map(int, options.sparse_size.split("x"))
        yield (
            options.ranks,
            Case(
                spectrum="ratings",
                rows=rows,
                columns=columns,
                entries=options.sparse_entries,
                cache=options.cache,
            ),
        )


def rows(one: Race) -> Iterator[str]:
    """Its rows of the table."""
    for entry in (one.plain, one.certified, one.bare, *one.peers):
        cells = [one.case.name, str(one.rank), entry.who, setting(entry.job), products(entry)]
        if entry.samples:
            cells.append(f"{1e3 * entry.best:.0f} ({1e3 * entry.worst:.0f})")
            cells.append(f"{entry.best / one.plain.best:.2f}")
            cells.append("" if entry.ratio is None else f"{entry.ratio:.5f}")
        else:
            cells += [entry.remark, "", ""]
        yield "| " + " | ".join(cells) + " |"


def setting(chosen: Job | None) -> str:
    if chosen is None or chosen.depth is None:
        return ""
    parts = [
        part for part in (chosen.width, chosen.depth, chosen.variant) if part not in (None, "")
    ]
    return ", ".join(map(str, parts))


def remarks(one: Race) -> Iterator[str]:
    """What the table has no column for: certificate, widths, memory."""
    cost = one.certified.best - one.plain.best
    gap, widths = one.certified.detail("gap"), one.bare.detail("widths")
    yield f"{one.case.name}, rank {one.rank}:"
    yield (
        f"  certificate: {1e3 * cost:.0f} ms ({cost / one.plain.best:+.0%}), certified gap "
        + ("none" if gap is None else f"{gap:.2%}")
        + f" where the true one is {(one.certified.ratio or 1) - 1:.3%}"
    )
    yield (
        f"  {one.plain.best / one.bare.best:.2f} × its bare products, "
        f"of widths {', '.join(map(str, widths))}"
    )
    if one.peak[0] is not None and one.peak[1] is not None:
        plain, certified = (f"{peak / 1e6:.1f}" for peak in one.peak if peak is not None)
        yield (
            f"  peak memory above W: {plain} MB, with certificate {certified} MB; "
            + ", ".join(f"{text} {size / 1e6:.1f} MB" for text, size in bounds(one))
        )


def bounds(one: Race) -> list[tuple[str, float]]:
    """The memory that the solver promises to stay below the larger of."""
    import eckart

    case, width = one.case, one.rank + eckart.BlockKrylov().oversampling
    stored = 8 * case.entries + 4 * case.rows if case.entries else 4 * case.rows * case.columns
    own = 4 * 6 * (case.rows + case.columns) * width
    return [("6·(rows + columns)·(rank + oversampling)", own), ("W/4", stored / 4)]


def targets(one: Race) -> Iterator[Target]:
    """What was promised of this matrix at this rank, and whether it is so."""
    place = f"{one.case.name}, rank {one.rank}"
    ratio = one.plain.ratio or 1.0
    yield ratio <= TARGET, f"{place}: error {ratio:.5f} × the optimum, at most {TARGET} wanted"
    peer = one.fastest
    if peer is None:
        yield True, f"{place}: no peer reaches the target in time"
    else:
        least = wanted_speed(one, peer)
        for entry, factor in ((one.plain, least), (one.certified, 1.2)):
            if entry is one.plain or peer.reads_much:
                speed = peer.best / entry.best
                yield (
                    speed >= factor,
                    f"{place}: {entry.who} {speed:.2f} × as fast as the fastest peer ({peer.who}, "
                    f"{products(peer)} products), {factor} wanted",
                )
    share = one.plain.best / one.bare.best
    yield share <= 1.5, f"{place}: {share:.2f} × the bare products, at most 1.5 wanted"
    full = next((peer for peer in one.peers if peer.who == "LAPACK" and peer.samples), None)
    if full is not None and (one.case.rows, one.case.columns, one.rank) == (4096, 4096, 32):
        speed = full.best / one.plain.best
        yield speed >= 100, f"{place}: {speed:.0f} × as fast as the full SVD, 100 wanted"


def wanted_speed(one: Race, peer: Entry) -> float:
    """How much faster than the fastest peer: no slower where that needs few products."""
    if not peer.reads_much:
        return 1.0
    if one.case.entries:
        return 1.5
    return 2.5 if one.rank >= 128 else 2.0


def record(races: list[Race], wanted: list[Target]) -> dict[str, Any]:
    """Everything measured, as plain numbers."""
    return {
        "machine": machine(),
        "targets": [{"met": met, "sentence": sentence} for met, sentence in wanted],
        "races": [
            {
                "matrix": one.case.name,
                "rank": one.rank,
                "peak": one.peak,
                "entries": [
                    asdict(entry) for entry in (one.plain, one.certified, one.bare, *one.peers)
                ],
            }
            for one in races
        ],
    }


if __name__ == "__main__":
    main()
