"""Between B·A of a stored weight and the two tensors that PEFT keeps for it.

PEFT computes in the sense (outputs, inputs) for a linear layer and (dimension, entries) for an
embedding, so where the weight is stored the other way round, Wᵀ ≈ Aᵀ·Bᵀ is what it is given.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np

from eckart.arrays import Array
from eckart.factors import Factors
from eckart.storage.adapters.adapter import Kind, Outline, matrix_shape

EMBEDDING_PAIR: Final = ("lora_embedding_B", "lora_embedding_A")
PAIR: Final = ("lora_B.weight", "lora_A.weight")
BIAS_TENSOR: Final = "lora_B.bias"


def stored_shapes(layer: Outline) -> dict[str, tuple[int, ...]]:
    """Shapes of the tensors of a layer by their last name, without its bias.

    Example:
        >>> stored_shapes(Outline(module="conv", kind=Kind.CONVOLUTION, rank=2,
        ...                       shape=(8, 3, 5, 5), has_bias=False))
        {'lora_B.weight': (8, 2, 1, 1), 'lora_A.weight': (2, 3, 5, 5)}
    """
    rows, columns = matrix_shape(layer.shape)
    match layer.kind:
        case Kind.LINEAR:
            shapes = (rows, layer.rank), (layer.rank, columns)
        case Kind.CONVOLUTION:
            kernel = (1,) * (len(layer.shape) - 2)
            shapes = (rows, layer.rank, *kernel), (layer.rank, *layer.shape[1:])
        case Kind.TRANSPOSED | Kind.EMBEDDING:
            shapes = (columns, layer.rank), (layer.rank, rows)
    names = EMBEDDING_PAIR if layer.kind is Kind.EMBEDDING else PAIR
    return dict(zip(names, shapes, strict=True))


def stored_tensors(layer: Outline, factors: Factors) -> dict[str, Array]:
    """The tensors of a layer by their last name, without its bias; views where that is possible."""
    B, A = factors.B, factors.A
    if layer.kind in (Kind.TRANSPOSED, Kind.EMBEDDING):
        B, A = A.T, B.T
    shapes = stored_shapes(layer)
    pair = dict(zip(shapes, (B, A), strict=True))
    return {name: np.reshape(X, shapes[name]) for name, X in pair.items()}


def factors_of(kind: Kind, pair: Mapping[str, Array]) -> tuple[Factors, tuple[int, ...]]:
    """Factors in the orientation of the stored weight, and its shape: `stored_tensors` undone.

    Raises:
        MatrixError: If the two tensors do not fit together, or hold NaN or infinity.
    """
    names = EMBEDDING_PAIR if kind is Kind.EMBEDDING else PAIR
    B, A = (pair[name] for name in names)
    shape = (B.shape[0], *A.shape[1:])
    B, A = B.reshape(B.shape[0], -1), A.reshape(A.shape[0], -1)
    if kind in (Kind.TRANSPOSED, Kind.EMBEDDING):
        return Factors(A.T, B.T), shape[::-1]
    return Factors(B, A), shape
