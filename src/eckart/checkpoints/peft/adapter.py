"""An adapter in memory: its layers, the orientation of their factors, and names of experts."""

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final, final

import numpy as np

from eckart.arrays import Array
from eckart.checkpoints.safetensors_file import Tensor
from eckart.errors import MatrixError
from eckart.factors import Factors


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
        axes, wrong = len(self.shape), ""
        if axes < 3 if self.kind is Kind.CONVOLUTION else axes != 2:
            wrong = f"a {self.kind} weight cannot have the shape {self.shape}"
        elif self.factors.shape != matrix_shape(self.shape):
            wrong = f"factors of {self.factors.shape} are not of a weight of {self.shape}"
        elif self.bias is not None and self.bias.shape != (self.outputs,):
            wrong = f"a bias of {self.bias.shape} does not fit {self.outputs} outputs"
        if wrong:
            raise MatrixError(
                f"The layer '{self.module}' of the adapter does not fit: {wrong}.",
                hint="Give factors in the orientation of the stored weight.",
                code="shapes-differ",
            )

    @property
    def rank(self) -> int:
        """Number of columns of B."""
        return self.factors.rank

    @property
    def outputs(self) -> int:
        """Number of outputs, the length of the bias."""
        return outline(self).outputs


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
    saved: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])
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
        # a transposed weight has its outputs on the second axis
        return self.shape[1 if self.kind is Kind.TRANSPOSED else 0]


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


PREFIX: Final = "base_model.model."
"""The prefix that PEFT adds to the names of a model."""
_WRAPPER: Final = r"(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\."
"""Parts of names from torch.compile, FSDP and activation checkpointing, which wrap modules."""

# torch.compile, FSDP and PEFT may wrap one another, in any order
_WRAPPED: Final = re.compile(
    rf"^(?:{_WRAPPER}|module\.)*(?:{re.escape(PREFIX)})*|(?<=\.){_WRAPPER}"
)


def unwrap(name: str) -> str:
    """The name of a tensor or a module without the parts that wrappers add.

    Example:
        >>> unwrap("module.base_model.model.layers.0._orig_mod.q_proj.weight")
        'layers.0.q_proj.weight'
        >>> unwrap("_orig_mod._fsdp_wrapped_module.module.norm.weight")
        'norm.weight'
    """
    return _WRAPPED.sub("", name)


SEEING: Final = (
    (re.compile(r"^language_model\.lm_head\b"), "lm_head"),
    (re.compile(r"^language_model\.model\b"), "model.language_model"),
    (re.compile(r"^(?=(?:vision_tower|multi_modal_projector|vision_embed_tokens)\b)"), "model."),
)
"""Names of models with images in transformers 4, and their names since transformers 5."""


def since(name: str) -> str:
    """The name that a module or parameter has since transformers 5.

    Example:
        >>> since("language_model.model.layers.0.self_attn.q_proj")
        'model.language_model.layers.0.self_attn.q_proj'
    """
    for pattern, replacement in SEEING:
        name = pattern.sub(replacement, name)
    return name


def also(names: Iterable[str]) -> list[str]:
    """The names, and for a model with images also their names since transformers 5.

    Example:
        >>> also(["model.layers.0.self_attn.q_proj"])
        ['model.layers.0.self_attn.q_proj']
    """
    known = list(names)
    # only names of transformers 4 begin so
    if not any(name.startswith("language_model.model.") for name in known):
        return known
    return sorted({*known, *map(since, known)})


GATE_UP: Final = "gate_up_proj"
DOWN: Final = "down_proj"
FUSED: Final = {
    "gate_proj": GATE_UP,
    "up_proj": GATE_UP,
    "down_proj": DOWN,
    # names of Mixtral: w1 is gate_proj, w3 is up_proj and w2 is down_proj
    "w1": GATE_UP,
    "w3": GATE_UP,
    "w2": DOWN,
}
"""Projections of an expert in a checkpoint, and the parameters that hold them in the model."""
ROUTER: Final = "gate"
"""Last name of the layer that chooses the experts."""
PARTS: Final = ({"gate_proj", "up_proj", "down_proj"}, {"w1", "w3", "w2"})
"""All projections of an expert, in both layouts of names."""
OUTPUTS: Final = ({"down_proj"}, {"w2"})
"""The projection that is a parameter of its own in the model, so it may be adapted alone."""
_EXPERT: Final = re.compile(r"(?P<block>.+\.experts)\.(?P<number>\d+)\.(?P<projection>[^.]+)")


@final
@dataclass(frozen=True, slots=True)
class Expert:
    """The parts of the name of one projection of one expert.

    Fields:
        block: Name of the module that holds the experts, in the checkpoint.
        number: Number of the expert, counted from 0.
        projection: Name of the projection, such as `gate_proj`.
    """

    block: str
    number: int
    projection: str

    @property
    def parameter(self) -> str:
        """Full name of the parameter of the running model that holds this projection."""
        return f"{live_name(self.block)}.{FUSED.get(self.projection, self.projection)}"


def expert_of(module: str) -> Expert | None:
    """The expert to which a module of a checkpoint belongs; None if it belongs to none.

    Example:
        >>> expert_of("model.layers.0.block_sparse_moe.experts.7.w1").parameter
        'model.layers.0.mlp.experts.gate_up_proj'
        >>> expert_of("model.layers.0.mlp.gate_proj")
    """
    match = _EXPERT.fullmatch(module)
    return match and Expert(match["block"], int(match["number"]), match["projection"])


def live_name(module: str) -> str:
    """The name of a module in the running model: blocks of Mixtral have another name on disk."""
    return module.replace(".block_sparse_moe.", ".mlp.")


def is_taken_for_an_expert(module: str) -> bool:
    """Whether PEFT would mistake a layer for a part of an expert because of its name."""
    name = module.rpartition(".")[2]
    return expert_of(module) is None and (name == ROUTER or name in FUSED)


def uniform_groups(modules: Iterable[str]) -> list[tuple[str, ...]]:
    """The groups of expert layers that must share one rank, sorted.

    All `gate_proj` and `up_proj` of a layer form one group, and all its `down_proj` another; the
    ranks of different layers may differ.

    Example:
        >>> uniform_groups(["mlp.experts.0.up_proj", "mlp.experts.0.gate_proj", "q_proj"])
        [('mlp.experts.0.gate_proj', 'mlp.experts.0.up_proj')]
    """
    groups: dict[str, list[str]] = {}
    for module in sorted(modules):
        expert = expert_of(module)
        if expert is not None:
            groups.setdefault(expert.parameter, []).append(module)
    return [tuple(group) for _, group in sorted(groups.items())]


def pad_experts(adapter: Adapter) -> Adapter:
    """The adapter with its experts padded with zeros, where they must share a rank."""
    ranks = {layer.module: layer.rank for layer in adapter.layers}
    for group in uniform_groups(ranks):
        ranks |= dict.fromkeys(group, max(ranks[module] for module in group))
    # padded with zeros: the product B·A stays what it is
    padded = (replace(one, factors=one.factors.pad(ranks[one.module])) for one in adapter.layers)
    return replace(adapter, layers=tuple(padded))
