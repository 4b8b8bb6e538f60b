"""Tables that a model uses under several names, and adapters that change some of them."""

import itertools

from eckart.errors import MatrixError
from eckart.jobs.extract.matching import Shapes
from eckart.jobs.extract.placement import Placement
from eckart.jobs.extract.sources import HEAD
from eckart.jobs.placing import Placing
from eckart.storage.adapters import Adapter
from eckart.storage.adapters.adapter import split_parameter


def own_table(placement: Placement) -> str:
    """The stored table that the base uses as its head and for nothing else, or empty."""
    pairs = (group for group in placement.ties if len(group) == 2 and HEAD in group)
    live = next((name for group in pairs for name in group if name != HEAD), "")
    return placement.base.get(live, "")


def changes_alone(adapter: Adapter, placing: Placing, table: str) -> bool:
    """Whether PEFT would change a table beside a head that keeps the one of the base."""
    changed = table in placing.saved or table in placing.layers
    return changed and HEAD not in placing.unplaced and not _is_shared(adapter, table)


def _is_shared(adapter: Adapter, *names: str) -> bool:
    """Whether PEFT changes a table under all of its names, as the adapter is loaded."""
    pairs = itertools.product(names, adapter.in_place)
    return adapter.tied or any(x.endswith(y) or y.endswith(x) for x, y in pairs)


def check_ties(
    adapter: Adapter, placing: Placing, placement: Placement, table: str, shapes: Shapes
) -> None:
    """Refuse changes of some uses of a table that a merged model cannot have two of.

    Raises:
        MatrixError: With the table and its uses.
    """
    for group in placement.ties:
        stored = placement.base.get(group[0], "")
        changed = [name for name in group if name in placing.unplaced or name in placing.apart]
        if stored in placing.layers or stored in placing.saved:
            changed.append(group[0])
        some = 0 < len(changed) < len(group) and len(shapes.get(stored, ())) > 1
        is_head = changed == [HEAD] and HEAD in placing.unplaced  # which gets values of its own
        if some and stored != table and not is_head and not _is_shared(adapter, *group):
            uses = " and ".join(split_parameter(name)[0] for name in group)
            raise MatrixError(
                f"The adapter changes '{changed[0]}' alone of one table that is used as {uses}.",
                hint="Load it with PEFT instead: a merged model has the same table for all.",
                code="tied",
            )
