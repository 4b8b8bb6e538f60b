"""The pairs of factors of a model that PEFT has adapted, found by module and never by position."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, final

from eckart.errors import ArgumentError


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pair:
    """The two factors of the learnt change of one weight, ΔW = scale·B·A.

    Fields:
        name: Name of the module that has the factors.
        B: Parameter of shape (outputs, rank).
        A: Parameter of shape (rank, inputs).
        scale: The factor s before the product: α / rank, or α / √rank with rsLoRA.
        module: The module of PEFT; None for a pair that was made by hand.
    """

    name: str
    B: Any
    A: Any
    scale: float = 1.0
    module: Any = None

    @property
    def rank(self) -> int:
        """The number of columns of B."""
        return int(self.A.shape[0])

    @property
    def weight(self) -> Any:
        """W of the layer with outputs down and inputs across, as B·A has them."""
        return self.turned(self.module.get_base_layer().weight)

    def turned(self, weight: Any) -> Any:
        """A weight as the layer stores it, with outputs down and inputs across."""
        # an embedding, and some layers of GPT-2, store the transpose
        is_table = hasattr(self.module.get_base_layer(), "num_embeddings")
        return weight.T if is_table or getattr(self.module, "fan_in_fan_out", False) else weight

    def __post_init__(self) -> None:
        if self.B.ndim != 2 or self.A.ndim != 2 or self.B.shape[1] != self.A.shape[0]:
            raise ArgumentError(
                f"The factors of '{self.name}' are {tuple(self.B.shape)} and "
                f"{tuple(self.A.shape)}: no B·A.",
                hint="Adapt linear layers and embeddings only.",
                code="no-pair",
            )


def pairs(model: Any, adapter: str = "default") -> list[Pair]:
    """The pairs of an adapter of a model, in the order of the modules.

    Args:
        model: A model that `peft.get_peft_model` returned, or one that holds such a model.
        adapter: Name of the adapter.

    Raises:
        ArgumentError: If the model has no such adapter, or one of a layer whose factors are no
            matrices, such as a convolution.

    Example:
        >>> pairs(model)  # doctest: +SKIP
        [Pair(name='base_model.model.bert.encoder.layer.0.attention.self.query', …), …]
    """
    from peft.tuners.lora import LoraLayer

    found: list[Pair] = []
    for name, module in model.named_modules():
        if not isinstance(module, LoraLayer):
            continue
        for before, behind in (
            (module.lora_A, module.lora_B),
            (module.lora_embedding_A, module.lora_embedding_B),
        ):
            if adapter in before:
                # a linear layer holds its factor as the weight of a layer, an embedding as itself
                A, B = (
                    getattr(table[adapter], "weight", table[adapter]) for table in (before, behind)
                )
                scale = float(module.scaling[adapter])
                found.append(Pair(name=name, B=B, A=A, scale=scale, module=module))
    if not found:
        raise ArgumentError(
            f"The model has no LoRA factors of an adapter '{adapter}'.",
            hint="Adapt it with peft.get_peft_model first.",
            code="no-pair",
        )
    return found


def others(model: Any, known: Sequence[Pair]) -> Iterator[tuple[str, Any]]:
    """Yield the other parameters that are learnt, such as those of a head, with their names."""
    factors = {id(one) for pair in known for one in (pair.B, pair.A)}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and id(parameter) not in factors:
            yield name, parameter
