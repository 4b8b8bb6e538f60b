"""Optimisers of pairs ΔW = s·B·A, whose steps are steps of ΔW wherever the method allows it.

B·T and T⁻¹·A are the same change for every regular T, the gauge of the pair. Apart from `AdamW`,
the methods here take the same steps of ΔW in every gauge, also if it changes between two steps:
they see the gradient G = ∂L/∂(ΔW) through orthonormal bases of the factors, which are the singular
vectors of B·A, and what they remember is carried from the old bases to the new ones.

The two factors are treated alike, as the sides of ΔW: B is the left one and Aᵀ the right one, both
tall. What one side sees of G is written in the basis of the other: G·V for B, and Gᵀ·U for Aᵀ.

Reference: LoRA-RITE (Yen et al., arXiv 2410.20625) for the bases and their transport.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, final

import torch
from torch.optim.adamw import adamw

from eckart.errors import ArgumentError
from eckart.finetuning.pairs import Pair

OTHERS: Final = ""
"""Name of the group of parameters that belong to no pair."""
BETAS: Final = (0.9, 0.999)
"""Decay of the means of gradients and of their squares, as Adam has it."""
EPS: Final = 1e-8
"""Number beside a root of squared gradients, as Adam has it."""
LEAST: Final = 1e-4
"""Square of the size of a row of A in the balanced gauge, as a share of that of the largest."""


@final
@dataclass(slots=True, kw_only=True)
class Side:
    """One factor of each pair of a batch, as tall matrices: B, or Aᵀ.

    Fields:
        factor, gradient: The factors and their gradients, of shape (pairs, rows, rank).
        states: What the optimiser remembers of each factor.
        basis: Orthonormal basis of the factors: the left or right singular vectors of B·A.
        seen: What the factors see of the gradient of ΔW, in the basis of the other side.
    """

    factor: Any
    gradient: Any
    states: Sequence[dict[str, Any]]
    basis: Any = None
    seen: Any = None

    def remembered(self, key: str, empty: Any) -> Any:
        """One entry of the states as one tensor; zeros for those that have none yet."""
        known = [state.get(key) for state in self.states]
        return torch.stack([torch.zeros_like(empty) if one is None else one for one in known])

    def remember(self, key: str, values: Any) -> None:
        """Put the parts of one tensor into the states."""
        for state, value in zip(self.states, values, strict=True):
            state[key] = value.clone()


@final
@dataclass(slots=True, kw_only=True)
class Batch:
    """Pairs of one shape, worked on together.

    Fields:
        groups: The groups of the pairs in the optimiser.
        left, right: B, and Aᵀ.
        scale, rate: s and the learning rate of each pair, of shape (pairs, 1, 1).
        sigma: Singular values of B·A, of shape (pairs, 1, rank).
    """

    groups: Sequence[dict[str, Any]]
    left: Side
    right: Side
    scale: Any = field(init=False)
    rate: Any = field(init=False)
    sigma: Any = None

    def __post_init__(self) -> None:
        like = self.left.factor
        self.scale, self.rate = (
            torch.tensor([group[key] for group in self.groups], dtype=like.dtype)
            .to(like.device)
            .reshape(-1, 1, 1)
            for key in ("scale", "lr")
        )

    @property
    def sides(self) -> tuple[tuple[Side, Side], tuple[Side, Side]]:
        """Each side with the other one."""
        return (self.left, self.right), (self.right, self.left)

    def look(self) -> None:
        """Find the singular vectors of B·A, and what the factors see of the gradient of ΔW."""
        (Q, R), (P, L) = (torch.linalg.qr(side.factor) for side, _ in self.sides)
        U, sigma, Vt = torch.linalg.svd(R @ L.mT)
        self.sigma = sigma[:, None, :]
        self.left.basis, self.right.basis = Q @ U, P @ Vt.mT
        # the gradient of B is s·G·Aᵀ; a factor of zeros shows nothing, and its inverse is 0
        for side, triangle, turn in ((self.left, L, Vt.mT), (self.right, R, U)):
            side.seen = side.gradient @ (torch.linalg.pinv(triangle) @ turn) / self.scale

    def move(self, directions: Sequence[Any], damping: float) -> None:
        """Change ΔW by −η·D of each side, and by a part of second order.

        The factors are brought into the balanced gauge first, B = U·√Σ and A = √Σ·Vᵀ, but for rows
        of A that would vanish: in another gauge one of them may come to be so small, and its column
        of B so large, that B·A is nothing but rounding.

        The part of second order is η²·D_B·Σ⁻¹·D_Aᵀ / s, which is endless where a singular value σ
        of B·A is close to 0: while B grows from 0, and for ranks that the change does not need.
        There the step of A is lowered, by σ² / (σ² + c²) with c = damping·η·‖D_B‖ / s. The factor
        depends on B·A and on the step only, so it is the same in every gauge.
        """
        sigma, step = self.sigma, self.rate / self.scale
        first = sigma[:, :, :1]
        own = self.right.factor.flatten(1).norm(dim=1)[:, None, None] / sigma.shape[-1] ** 0.5
        size = torch.where(first > 0, torch.maximum(sigma, LEAST * first).sqrt(), own)
        # factors of zeros have no size, and no gradient to be moved by
        size = torch.where(size > 0, size, torch.ones_like(size))
        limit = damping * step * directions[0].flatten(1).norm(dim=1)[:, None, None]
        squares = sigma.square() + limit.square()
        # where both are 0 there is no direction of A to move in
        shares = torch.where(squares > 0, sigma / squares.clamp_min(_tiny(squares)), 0)
        self.left.factor = self.left.basis * (sigma / size) - step * directions[0] / size
        self.right.factor = (self.right.basis - step * directions[1] * shares) * size


def _tiny(like: Any) -> float:
    return float(torch.finfo(like.dtype).tiny)


class PairOptimizer(torch.optim.Optimizer, ABC):
    """An optimiser of pairs and of other parameters, such as those of a head.

    Every pair is a group of its own, which has its name and its s; the other parameters are one
    group, which is moved by AdamW. Schedulers of rates change all groups, and the state is made of
    tensors only, so that it can be saved and loaded as that of any optimiser of PyTorch.

    Args:
        known: The pairs, from `pairs`.
        rest: Other parameters.
        lr: Learning rate η of the pairs.
        rest_lr: Learning rate of the other parameters; None takes `lr`.
        weight_decay: Share λ of ΔW and of the other parameters by which a step decays them, as
            (1 − η·λ): both factors of a pair by its root.
        clip: Largest norm of the whole gradient, by which it is scaled down; that of a pair is the
            norm of what its factors see of G, which is the same in every gauge. None clips nothing.

    Raises:
        ArgumentError: If a number is out of its range, or two pairs have the same name.
    """

    def __init__(
        self,
        known: Iterable[Pair],
        rest: Iterable[Any] = (),
        *,
        lr: float,
        rest_lr: float | None = None,
        weight_decay: float = 0.0,
        clip: float | None = None,
        **defaults: Any,
    ) -> None:
        pairs, free = list(known), list(rest)
        if len({pair.name for pair in pairs}) < len(pairs):
            raise ArgumentError(
                "Two pairs have one name.", hint="Give each its own.", code="name-taken"
            )
        check_range(lr=lr, rest_lr=rest_lr, weight_decay=weight_decay)
        if clip is not None and not 0 < clip < math.inf:
            raise ArgumentError(f"`clip` is {clip}.", hint="Give a number.", code="bad-number")
        groups: list[dict[str, Any]] = [
            {"params": [pair.B, pair.A], "name": pair.name, "scale": pair.scale} for pair in pairs
        ]
        if free:
            rate = lr if rest_lr is None else rest_lr
            groups.append({"params": free, "name": OTHERS, "scale": 1.0, "lr": rate})
        self.clip = clip
        super().__init__(groups, {"lr": lr, "weight_decay": weight_decay, **defaults})

    @abstractmethod
    def _move(self, rest: Sequence[Any]) -> None:
        """Move all pairs with gradients, after the gradients and those of `rest` were clipped."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step; parameters without a gradient stay."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        rest = [group for group in self.param_groups if group["name"] == OTHERS]
        self._move([p for group in rest for p in group["params"] if p.grad is not None])
        for group in rest:
            own = [one for one in group["params"] if one.grad is not None]
            adam(own, self.state, group["lr"], decay=group["weight_decay"])
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state; the pairs have to be the ones that it was saved of, in the same order.

        Raises:
            ArgumentError: If they are not.
        """
        names = [group["name"] for group in self.param_groups]
        if [group.get("name") for group in state_dict["param_groups"]] != names:
            raise ArgumentError(
                "The state is of other pairs.", hint="Adapt the same layers.", code="other-pairs"
            )
        super().load_state_dict(state_dict)

    def _alike(self) -> list[list[dict[str, Any]]]:
        """The groups of pairs with gradients, those of one shape together."""
        alike: dict[Any, list[dict[str, Any]]] = {}
        for group in self.param_groups:
            if group["name"] != OTHERS and all(one.grad is not None for one in group["params"]):
                B, A = group["params"]
                alike.setdefault((B.shape, A.shape, B.dtype, B.device), []).append(group)
        return list(alike.values())

    def _batches(self) -> list[Batch]:
        """The pairs with gradients, those of one shape together, with their singular vectors."""
        batches = list(map(self._batch, self._alike()))
        for batch in batches:
            batch.look()
        return batches

    def _batch(self, groups: Sequence[dict[str, Any]]) -> Batch:
        left, right = (
            Side(
                factor=torch.stack([one.detach() if is_left else one.detach().mT for one in own]),
                gradient=torch.stack([one.grad if is_left else one.grad.mT for one in own]),
                states=[self.state[one] for one in own],
            )
            for is_left, own in (
                (True, [group["params"][0] for group in groups]),
                (False, [group["params"][1] for group in groups]),
            )
        )
        return Batch(groups=groups, left=left, right=right)

    def _clip(self, batches: Sequence[Batch], rest: Sequence[Any]) -> float:
        """Scale the gradients of `rest` down to the largest norm, and return the factor for all."""
        if self.clip is None:
            return 1.0
        free = [one.grad for one in rest]
        seen = [*(side.seen for batch in batches for side, _ in batch.sides), *free]
        norm = math.sqrt(sum(float(one.double().square().sum()) for one in seen))
        share = min(1.0, self.clip / norm) if norm > 0 else 1.0
        for gradient in free:
            gradient.mul_(share)
        return share


def check_range(**numbers: float | None) -> None:
    """Refuse numbers below 0, and such that are none.

    Raises:
        ArgumentError: The message names the number.
    """
    for name, number in numbers.items():
        if number is not None and not 0 <= number < math.inf:
            raise ArgumentError(
                f"`{name}` is {number}.", hint="Give a number from 0.", code="bad-number"
            )


def adam(
    parameters: Sequence[Any],
    states: Mapping[Any, dict[str, Any]],
    rate: float,
    *,
    betas: tuple[float, float] = BETAS,
    eps: float = EPS,
    decay: float = 0.0,
) -> None:
    """Take a step of AdamW, by the kernel of PyTorch for many parameters at once.

    Source: Loshchilov and Hutter, arXiv 1711.05101, algorithm 2.
    """
    for one in parameters:
        if not states[one]:
            states[one]["step"] = torch.zeros((), dtype=torch.float32, device=one.device)
            states[one]["mean"] = torch.zeros_like(one)
            states[one]["square"] = torch.zeros_like(one)
    adamw(
        list(parameters),
        [one.grad for one in parameters],
        [states[one]["mean"] for one in parameters],
        [states[one]["square"] for one in parameters],
        [],
        [states[one]["step"] for one in parameters],
        fused=True,
        amsgrad=False,
        beta1=betas[0],
        beta2=betas[1],
        lr=rate,
        weight_decay=decay,
        eps=eps,
        maximize=False,
    )
