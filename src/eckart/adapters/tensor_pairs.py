"""Tensors of a base matched with those of a fine-tune, and how an adapter takes in each change."""

from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, as_completed, wait
from contextvars import copy_context
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Final, TypeAlias, TypeVar, final

from eckart.adapters.placement import Placement, TensorPair, Way
from eckart.adapters.settings import Patterns
from eckart.checkpoints import Checkpoint
from eckart.checkpoints.peft.adapter import Tensor
from eckart.errors import FormatError
from eckart.threads import limited_threads, thread_count

Shapes: TypeAlias = Mapping[str, tuple[int, ...]]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Matching:
    """Pairs of tensors of a base model and of its fine-tune.

    Fields:
        pairs: Names in base and fine-tune of tensors of equal shape, in the order of the base.
        reshaped: Names of pairs of different shapes, such as the tables of a grown vocabulary.
        only_base, only_tuned: Names on a side without a partner, in the order of that side.
        base_prefix, tuned_prefix: Prefix of names on a side that their partners lack, or "".
    """

    pairs: tuple[tuple[str, str], ...]
    reshaped: tuple[tuple[str, str], ...]
    only_base: tuple[str, ...]
    only_tuned: tuple[str, ...]
    base_prefix: str
    tuned_prefix: str

    def prefix(self, base: str = "base checkpoint", tuned: str = "tuned checkpoint") -> str | None:
        """A sentence on the prefixes that were left out of the names; None if there are none."""
        sides = ((base, self.base_prefix), (tuned, self.tuned_prefix))
        said = [f"'{prefix}' in the {side}" for side, prefix in sides if prefix]
        return f"Names were matched without {' and '.join(said)}." if said else None


def match_names(base: Shapes, tuned: Shapes) -> Matching:
    """Pair the tensors of two checkpoints by name, leaving out a prefix where that pairs more.

    The names are tried as they are, and without each prefix (up to a dot) that at least half of
    the names of a side share, on either side and on both: `bert.`, `model.`, `base_model.model.`,
    `_orig_mod.`, `module.`. Names without the prefix stay as they are. The trial with the most
    pairs of equal shape wins, then the one with the most pairs, then with the shortest prefixes.

    Cost:
        As many look-ups as the smaller side has names, for each pair of prefixes.

    Example:
        >>> match_names({"bert.a": (2,), "cls.b": (3,)}, {"a": (2,), "cls.b": (3,)}).pairs
        (('bert.a', 'a'), ('cls.b', 'cls.b'))
    """
    tried = (
        _matching(base, tuned, left, right)
        for left in ("", *_shared_prefixes(base))
        for right in ("", *_shared_prefixes(tuned))
    )

    def merit(one: Matching) -> tuple[int, int, int]:
        """Pairs of equal shape, all pairs, and how short the prefixes are."""
        equal, other = len(one.pairs), len(one.reshaped)
        return equal, equal + other, -len(one.base_prefix) - len(one.tuned_prefix)

    return max(tried, key=merit)


def _matching(base: Shapes, tuned: Shapes, left: str, right: str) -> Matching:
    """The pairs that result if a prefix is left out on either side."""
    bare, other = _bare(base, left), _bare(tuned, right)
    partners = {ours: other[name] for name, ours in bare.items() if name in other}
    taken = set(partners.values())
    return Matching(
        pairs=tuple((x, y) for x, y in partners.items() if base[x] == tuned[y]),
        reshaped=tuple((x, y) for x, y in partners.items() if base[x] != tuned[y]),
        only_base=tuple(name for name in base if name not in partners),
        only_tuned=tuple(name for name in tuned if name not in taken),
        base_prefix=left,
        tuned_prefix=right,
    )


def _bare(names: Collection[str], prefix: str) -> dict[str, str]:
    """Names by the rest without the prefix; a name and a rest that are equal both stay whole."""
    rests = {name.removeprefix(prefix) for name in names}
    whole = {name for name in names if name in rests or name.removeprefix(prefix) in names}
    return {name if name in whole else name.removeprefix(prefix): name for name in names}


def _shared_prefixes(names: Collection[str]) -> list[str]:
    """Prefixes of at least half of the names, the shorter ones first."""
    counts: Counter[str] = Counter()
    for name in names:
        # the last word is the parameter, which is no part of a prefix
        words = name.split(".")[:-1]
        counts.update(".".join(words[:end]) + "." for end in range(1, len(words) + 1))
    return sorted(prefix for prefix, count in counts.items() if 2 * count >= len(names))


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """Every tensor of both checkpoints, of which a table that is stored twice counts once."""

    tensors: tuple[TensorPair, ...]
    matching: Matching
    placement: Placement


def cover(base: Checkpoint, tuned: Checkpoint, patterns: Patterns) -> Coverage:
    """Decide for every tensor of two checkpoints how an adapter would take in its change.

    Weights of linear layers, embeddings and convolutions become factors; biases and norms are
    small and keep their values; tables of another size, tables that are used twice, new heads and
    weights that PEFT cannot adapt are saved whole. Any other tensor is named with the reason.
    """
    placement = Placement.of(base, tuned)
    before = {live: base.tensors[name].shape for live, name in placement.base.items()}
    matching = match_names(before, placement.shapes)
    if not matching.pairs:
        raise FormatError(
            f"{base.path} and {tuned.path} have no tensor of the same name and shape.",
            hint="Give a base and a fine-tune of it.",
            code="nothing-matches",
        )
    found = tuple(_tensors(base, matching, placement))
    patterns.check([tensor.name for tensor in found])
    wanted: list[TensorPair] = []
    for number, tensor in enumerate(found):
        # a tensor that no adapter can cover keeps that reason
        if tensor.way is not Way.NONE and not patterns.allow(tensor.name):
            tensor = replace(tensor, way=Way.NONE, why="excluded by a pattern")
        wanted.append(replace(tensor, number=number))
    return Coverage(tensors=tuple(wanted), matching=matching, placement=placement)


def _tensors(base: Checkpoint, matching: Matching, placement: Placement) -> Iterator[TensorPair]:
    both = (*matching.pairs, *matching.reshaped)
    for ours, theirs in (*both, *((None, name) for name in matching.only_tuned)):
        shape, own = placement.shapes[theirs], None if ours is None else placement.base[ours]
        known = None if own is None else base.tensors[own].shape
        pair = TensorPair(
            name=theirs,
            base=own,
            tuned=placement.tuned[theirs],
            shape=shape,
            # tensors of two shapes cannot be subtracted, so these are saved whole
            resized=known is not None and shape != known,
        )
        yield placement.treat(pair, known)
    # an adapter adds to the modules of the base and cannot remove one
    for ours in matching.only_base:
        own, why = placement.base[ours], "its module is not in the fine-tune"
        shape = base.tensors[own].shape
        yield TensorPair(name=ours, base=own, tuned=None, shape=shape, why=why)


StoredPair: TypeAlias = tuple[TensorPair, Tensor | None, Tensor | None]
"""A pair with its tensors of the base and of the fine-tune, as stored."""


def read_pair(base: Checkpoint, tuned: Checkpoint, pair: TensorPair) -> StoredPair:
    """A pair with its tensors."""
    before = None if pair.base is None else base.read(pair.base)
    return pair, before, None if pair.tuned is None else tuned.read(pair.tuned)


def read_ahead(
    base: Checkpoint, tuned: Checkpoint, pairs: Iterable[TensorPair]
) -> Generator[StoredPair, None, None]:
    """Each pair with its tensors; the next pair is read while this one is worked on.

    Whoever may leave it before its end closes it.

    Cost:
        The memory of two pairs.
    """
    read = partial(read_pair, base, tuned)
    reader = ThreadPoolExecutor(1)
    try:
        rest = iter(pairs)
        following = [reader.submit(read, pair) for pair in islice(rest, 1)]
        while following:
            stored = following.pop().result()
            following = [reader.submit(read, pair) for pair in islice(rest, 1)]
            yield stored
            del stored  # else this pair would be held while the caller works on the next
    finally:
        # not waited for: this may run in any thread, if nobody closes it, and block that for ever
        reader.shutdown(wait=False, cancel_futures=True)


T = TypeVar("T")
R = TypeVar("R")

MOST_AT_ONCE: Final = 2
"""Tensors that are worked on at the same time, however many cores there are. With the change of
each and the pair that is being read they stay within four times the bytes of the largest pair."""


def side_by_side(work: Callable[[T], R], items: Iterable[T]) -> Generator[R, None, None]:
    """The result of the work on each item, in order of completion, with one thread for each item.

    Whoever may leave it before its end closes it, which waits for the work that was begun.

    The threads of BLAS wait for each other in products of a few columns; threads of different
    items do not. The result of an item does not depend on the number of items.

    Cost:
        The memory of two items and of the work on them, and of the next item.
    """
    count = min(thread_count(), MOST_AT_ONCE)
    with limited_threads(1), ThreadPoolExecutor(count) as pool:
        running: set[Future[R]] = set()
        for item in items:
            # a new thread has an empty context, without the settings of this one
            running.add(pool.submit(copy_context().run, work, item))
            if len(running) == count:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (one.result() for one in done)
        yield from (one.result() for one in as_completed(running))
