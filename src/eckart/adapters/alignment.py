"""Matching the parts of an adapter with the tensors of a model, tied tables included."""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, final

from eckart.adapters.model_pair import HEAD
from eckart.adapters.placement import Placement
from eckart.adapters.tensor_pairs import Shapes, match_names
from eckart.arrays import FLOAT32, Array, rounding
from eckart.checkpoints.peft import AdaptedLayer, Adapter, Kind
from eckart.checkpoints.peft.adapter import BIAS, WEIGHT, Tensor, live_name, split_parameter
from eckart.checkpoints.running import CONV1D, kind_of
from eckart.errors import MatrixError
from eckart.factors import Factors
from eckart.objectives import distance

STRAIGHT: Final = (Kind.LINEAR, Kind.TRANSPOSED)
"""Kinds of layers that differ only in whether the weight is stored transposed."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Alignment:
    """The parts of an adapter by the stored names of the tensors of a model.

    Fields:
        layers: Adapted weights, oriented as the model stores them.
        biases: Changes of biases.
        saved: New values of tensors that the adapter saves whole.
        unplaced: Saved values without a tensor in the model, by their names in the adapter.
        apart: Adapted weights that the model stores only under another name, because it shares
            one table between the two.
        unknown: Names of weights and biases that the adapter changes and the model lacks.
        misfits: Sentences about shapes that do not fit.
        prefix: Sentence about the prefix that was left out to match names, or None.
    """

    layers: Mapping[str, AdaptedLayer]
    biases: Mapping[str, Array]
    saved: Mapping[str, Tensor]
    unplaced: Mapping[str, Tensor]
    apart: Mapping[str, AdaptedLayer]
    unknown: tuple[str, ...]
    misfits: tuple[str, ...]
    prefix: str | None


def align(adapter: Adapter, shapes: Shapes, placement: Placement) -> Alignment:
    """Find the tensor that each part of an adapter changes.

    An adapter does not tell whether a weight is stored as (outputs, inputs) or as (inputs,
    outputs). The shape of the tensor in the model tells; for a square weight the type of the model
    does; where that is unknown, the setting that the adapter has for all its layers decides.
    """
    changes = {
        f"{layer.module}.{BIAS}": layer.bias for layer in adapter.layers if layer.bias is not None
    }
    names, prefix = _names(adapter, changes, shapes, placement)
    model_type = str(placement.config.get("model_type", ""))
    weights = _once_each(adapter, placement)
    layers: dict[str, AdaptedLayer] = {}
    biases: dict[str, Array] = {}
    misfits: list[str] = []
    for name, layer in weights.items():
        # without a tensor in the model any orientation fits: the name is reported as unknown
        shape = shapes[names[name]] if name in names else layer.shape
        found = _oriented(layer, shape, model_type)
        if found is None:
            misfits.append(_misfit(name, layer.shape, shape))
        elif name in names:
            layers[names[name]] = found
    for name, change in changes.items():
        shape = shapes[names[name]] if name in names else change.shape
        if shape != change.shape:
            misfits.append(_misfit(name, change.shape, shape))
        elif name in names:
            biases[names[name]] = change
    shared = {name for group in placement.ties for name in group}
    apart = {name: layer for name, layer in weights.items() if name in shared - names.keys()}
    return Alignment(
        layers=layers,
        biases=biases,
        saved={names[name]: tensor for name, tensor in adapter.saved.items() if name in names},
        unplaced={name: tensor for name, tensor in adapter.saved.items() if name not in names},
        apart=apart,
        unknown=tuple(n for n in (*weights, *changes) if n not in names and n not in apart),
        misfits=tuple(misfits),
        prefix=prefix,
    )


def _names(
    adapter: Adapter, biases: Mapping[str, Array], shapes: Shapes, placement: Placement
) -> tuple[Mapping[str, str], str | None]:
    """The stored tensor of each parameter of the adapter, and a sentence about the matching."""
    wanted = {f"{layer.module}.{WEIGHT}": layer.shape for layer in adapter.layers}
    wanted |= {name: values.shape for name, values in {**biases, **adapter.saved}.items()}
    # a checkpoint of Mixtral names its tensors otherwise than the model that PEFT trains
    ours = {live_name(use.name): name for name, use in placement.uses(shapes).items()}
    shared = {name: group for group in placement.ties for name in group}
    theirs: dict[str, str] = {}
    for name, use in placement.uses(wanted).items():
        live = live_name(use.name)
        # of one table PEFT may train two copies; a vector or a value put in place stays one
        is_one = name in adapter.in_place or len(wanted[name]) == 1
        if is_one and live not in ours:  # the model stores it under another of its names
            live = next((other for other in shared.get(live, ()) if other in ours), live)
        theirs[live] = name
    matching = match_names(
        {live: shapes[name] for live, name in ours.items()},
        {live: wanted[name] for live, name in theirs.items()},
    )
    found = {theirs[y]: ours[x] for x, y in (*matching.pairs, *matching.reshaped)}
    return found, matching.prefix("model", "adapter")


def _once_each(adapter: Adapter, placement: Placement) -> dict[str, AdaptedLayer]:
    """The adapted weights by name; a table that is adapted under two names counts once."""
    weights = {f"{layer.module}.{WEIGHT}": layer for layer in adapter.layers}
    for group in placement.ties:
        shared = [name for name in group if name in weights]
        for other in shared[1:]:
            change, copy = weights[shared[0]].factors, weights[other].factors
            # equal up to rounding, whichever factor is scaled; read in float32 from any dtype
            noise = rounding(change.shape, FLOAT32) * math.sqrt(change.squared_norm())
            if change.shape == copy.shape and distance(change, copy) <= noise:
                del weights[other]
    return weights


def _oriented(layer: AdaptedLayer, shape: tuple[int, ...], model_type: str) -> AdaptedLayer | None:
    """The layer with its factors oriented as the weight is stored; None where none fits."""
    found = layer
    if layer.kind in STRAIGHT and len(shape) == 2:
        wanted, other = layer.kind, STRAIGHT[layer.kind is Kind.LINEAR]
        if shape[0] != shape[1]:
            wanted = layer.kind if layer.shape == shape else other
        # a square weight fits both ways, so its shape cannot tell: the kind of module does
        elif model_type or layer.module.rpartition(".")[2] not in CONV1D:
            wanted = kind_of(layer.module, shape, model_type)
            wanted = wanted if wanted in STRAIGHT else Kind.LINEAR
        if layer.kind is not wanted:
            found = turned(layer)
    return found if found.shape == shape else None


def turned(layer: AdaptedLayer) -> AdaptedLayer:
    """The same change of a weight that is stored the other way round."""
    return replace(
        layer,
        kind=STRAIGHT[layer.kind is Kind.LINEAR],
        factors=Factors(layer.factors.A.T, layer.factors.B.T),
        shape=layer.shape[::-1],
    )


def _misfit(name: str, shape: tuple[int, ...], wanted: tuple[int, ...]) -> str:
    return (
        f"'{name}' is {' × '.join(map(str, shape))} in the adapter "
        f"and {' × '.join(map(str, wanted))} in the model."
    )


def own_table(placement: Placement) -> str:
    """The stored table that the base uses as its input table and head only; "" if none is."""
    pairs = (group for group in placement.ties if len(group) == 2 and HEAD in group)
    live = next((name for group in pairs for name in group if name != HEAD), "")
    return placement.base.get(live, "")


def changes_alone(adapter: Adapter, alignment: Alignment, table: str) -> bool:
    """Whether PEFT would change the input table while the head keeps the values of the base."""
    changed = table in alignment.saved or table in alignment.layers
    return changed and HEAD not in alignment.unplaced and not _is_shared(adapter, table)


def _is_shared(adapter: Adapter, *names: str) -> bool:
    """Whether PEFT changes a table under all of its names when it loads the adapter."""
    # by endings, since names in an adapter and in the model may differ in a prefix
    pairs = itertools.product(names, adapter.in_place)
    return adapter.tied or any(x.endswith(y) or y.endswith(x) for x, y in pairs)


def check_ties(
    adapter: Adapter, alignment: Alignment, placement: Placement, table: str, shapes: Shapes
) -> None:
    """Refuse an adapter that changes only some uses of a table that the model shares.

    A merged model stores such a table once, so its uses cannot differ.
    """
    for group in placement.ties:
        stored = placement.base.get(group[0], "")
        changed = [name for name in group if name in alignment.unplaced or name in alignment.apart]
        if stored in alignment.layers or stored in alignment.saved:
            changed.append(group[0])
        some = 0 < len(changed) < len(group) and len(shapes.get(stored, ())) > 1
        # a saved head is no conflict: the merged model gives it a tensor of its own
        is_head = changed == [HEAD] and HEAD in alignment.unplaced
        if some and stored != table and not is_head and not _is_shared(adapter, *group):
            uses = " and ".join(split_parameter(name)[0] for name in group)
            raise MatrixError(
                f"The adapter changes '{changed[0]}' alone of one table that is used as {uses}.",
                hint="Load it with PEFT instead: a merged model has the same table for all.",
                code="tied",
            )
