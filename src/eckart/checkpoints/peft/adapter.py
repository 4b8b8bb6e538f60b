"""An adapter in memory: the layers that it changes, their factors, and the orientation of these."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, TypeAlias, final

import numpy as np
import numpy.typing as npt

from eckart.arrays import Array
from eckart.errors import MatrixError
from eckart.factors import Factors

Tensor: TypeAlias = npt.NDArray[Any]


class Kind(StrEnum):
    """What a module does with its weight, which decides how an adapter stores its factors.

    A convolution in groups has no factors of this form, and PEFT adapts only ungrouped ones.
    """

    LINEAR = "linear"  # weight (outputs, inputs)
    TRANSPOSED = "transposed"  # weight (inputs, outputs): the Conv1D of GPT-2 in transformers
    EMBEDDING = "embedding"  # weight (entries of the table, dimension)
    CONVOLUTION = "convolution"  # weight (outputs, inputs, then the kernel)


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AdaptedLayer:
    """The change of one weight, W_tuned − W_base ≈ B·A, and of its bias.

    Fields:
        module: Full name of the module in the running model, such as
            `model.layers.0.self_attn.q_proj`; an expert has its name in the checkpoint.
        kind: What the module does with its weight.
        factors: B and A in the orientation of the stored weight, whose axes after the first form
            the columns: (outputs, inputs · height · width) for a convolution.
        shape: Shape of the stored weight.
        bias: Change of the bias, of shape (outputs,); None leaves the bias unchanged.

    Raises:
        MatrixError: If the shapes do not fit together.

    Example:
        >>> layer = AdaptedLayer(module="fc", kind=Kind.LINEAR, shape=(3, 2),
        ...                      factors=Factors([[1.0], [0.0], [2.0]], [[1.0, 1.0]]))
        >>> layer.rank, layer.outputs
        (1, 3)
    """

    module: str
    kind: Kind
    factors: Factors
    shape: tuple[int, ...]
    bias: Array | None = None

    def __post_init__(self) -> None:
        axes = len(self.shape)
        if axes < 3 if self.kind is Kind.CONVOLUTION else axes != 2:
            raise _misfit(self.module, f"a {self.kind} weight cannot have the shape {self.shape}")
        if self.factors.shape != matrix_shape(self.shape):
            raise _misfit(
                self.module, f"factors of {self.factors.shape} are not of a weight of {self.shape}"
            )
        if self.bias is not None and self.bias.shape != (self.outputs,):
            raise _misfit(
                self.module, f"a bias of {self.bias.shape} does not fit {self.outputs} outputs"
            )

    @property
    def rank(self) -> int:
        """Number of columns of B."""
        return self.factors.rank

    @property
    def outputs(self) -> int:
        """Number of outputs, the length of the bias."""
        return _outputs(self.kind, self.shape)


def _no_tensors() -> Mapping[str, Tensor]:
    return {}


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Adapter:
    """A fine-tune as low-rank changes of some layers and new values of some parameters.

    Fields:
        layers: The changed weights. The writer reads one at a time, so a sequence that loads its
            layers from disk keeps no more than one in memory.
        saved: New values by full name of the parameter. A module that is not adapted is replaced
            as a whole, so all its parameters belong here (`.weight` and, if it has one, `.bias`),
            unless only its bias changes.
        tied: Whether the base ties its head to its embedding table.
        experts: Whether the base is a mixture of experts, whatever the adapter changes in it.
        base_name: Name of the base model, such as `meta-llama/Llama-3.2-1B`.
        task_type: Name of the task in PEFT, such as `CAUSAL_LM`. For a classifier PEFT requires the
            new values of its head, so the task is written only if `saved` has them.
        in_place: Names of `saved` whose values PEFT puts into the base itself: those of a table
            with several names, and of parameters for which no module can be replaced.
        excluded: Names of modules of the base that are not adapted although their name ends like
            that of an adapted one.
    """

    layers: Sequence[AdaptedLayer]
    saved: Mapping[str, Tensor] = field(default_factory=_no_tensors)
    tied: bool = False
    experts: bool = False
    base_name: str | None = None
    task_type: str | None = None
    in_place: Collection[str] = frozenset()
    excluded: Sequence[str] = ()


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """An adapted layer without its numbers, from which a configuration is made."""

    module: str
    kind: Kind
    rank: int
    shape: tuple[int, ...]
    has_bias: bool

    @property
    def outputs(self) -> int:
        """Number of outputs, the length of the bias."""
        return _outputs(self.kind, self.shape)


def _outputs(kind: Kind, shape: tuple[int, ...]) -> int:
    # a transposed weight has its outputs on the second axis
    return shape[1] if kind is Kind.TRANSPOSED else shape[0]


def outline(layer: AdaptedLayer) -> Outline:
    """The outline of an adapted layer."""
    return Outline(
        module=layer.module,
        kind=layer.kind,
        rank=layer.rank,
        shape=layer.shape,
        has_bias=layer.bias is not None,
    )


def matrix_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    """Rows and columns of a weight as a matrix: all axes after the first form the columns.

    Example:
        >>> matrix_shape((8, 3, 5, 5))
        (8, 75)
    """
    return shape[0], math.prod(shape[1:])


BIAS: Final = "bias"
WEIGHT: Final = "weight"


def split_parameter(name: str) -> tuple[str, str]:
    """The name of the module of a parameter, and the last name of the parameter.

    Example:
        >>> split_parameter("model.norm.weight")
        ('model.norm', 'weight')
    """
    module, _, parameter = name.rpartition(".")
    return module, parameter


def _misfit(module: str, what: str) -> MatrixError:
    return MatrixError(
        f"The layer '{module}' of the adapter does not fit: {what}.",
        hint="Give factors in the orientation of the stored weight.",
        code="shapes-differ",
    )


# names that PEFT gives to the tensors of a layer, B first
EMBEDDING_PAIR: Final = ("lora_embedding_B", "lora_embedding_A")
PAIR: Final = ("lora_B.weight", "lora_A.weight")
BIAS_TENSOR: Final = "lora_B.bias"


def stored_shapes(layer: Outline) -> dict[str, tuple[int, ...]]:
    """Shapes of the factors of a layer in the file, by the last name of the tensor.

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
            # PEFT's B of a convolution is one of 1 × 1 (× 1), its A has the whole kernel
            kernel = (1,) * (len(layer.shape) - 2)
            shapes = (rows, layer.rank, *kernel), (layer.rank, *layer.shape[1:])
        case Kind.TRANSPOSED | Kind.EMBEDDING:
            shapes = (columns, layer.rank), (layer.rank, rows)
    names = EMBEDDING_PAIR if layer.kind is Kind.EMBEDDING else PAIR
    return dict(zip(names, shapes, strict=True))


def stored_tensors(layer: Outline, factors: Factors) -> dict[str, Array]:
    """The factors of a layer as they are stored, by the last name; views where possible."""
    B, A = factors.B, factors.A
    if layer.kind in (Kind.TRANSPOSED, Kind.EMBEDDING):
        # PEFT's B and A give the change of the transposed weight: (B·A)ᵀ = Aᵀ·Bᵀ
        B, A = A.T, B.T
    shapes = stored_shapes(layer)
    pair = dict(zip(shapes, (B, A), strict=True))
    return {name: np.reshape(X, shapes[name]) for name, X in pair.items()}


def factors_of(kind: Kind, pair: Mapping[str, Array]) -> tuple[Factors, tuple[int, ...]]:
    """Factors in the orientation of the stored weight, and its shape; reverses `stored_tensors`."""
    names = EMBEDDING_PAIR if kind is Kind.EMBEDDING else PAIR
    B, A = (pair[name] for name in names)
    shape = (B.shape[0], *A.shape[1:])
    B, A = B.reshape(B.shape[0], -1), A.reshape(A.shape[0], -1)
    if kind in (Kind.TRANSPOSED, Kind.EMBEDDING):
        return Factors(A.T, B.T), shape[::-1]
    return Factors(B, A), shape
