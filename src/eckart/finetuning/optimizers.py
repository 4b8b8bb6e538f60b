"""Optimisers of pairs: AdamW and LoRA+, the scaled gradient, LoRA-RITE and LoRA-Muon."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, final

import torch

from eckart.finetuning.pair_optimizer import (
    BETAS,
    EPS,
    Batch,
    PairOptimizer,
    Side,
    adam,
    check_range,
)
from eckart.finetuning.pairs import Pair

DAMPING: Final = 1.0
"""Default of `damping`: the part of second order is at most half as large as that of first."""


@final
class AdamW(PairOptimizer):
    """Adam on every number of the factors; with `ratio` above 1 it is LoRA+.

    It depends on the gauge: which factors a run begins with matters, not only their product.

    Args:
        ratio: Learning rate of B, as a multiple of that of A.
        betas, eps: Those of Adam.

    Source: Loshchilov and Hutter, arXiv 1711.05101; Hayou et al., arXiv 2402.12354, for `ratio`.
    """

    def __init__(
        self,
        known: Iterable[Pair],
        rest: Iterable[Any] = (),
        *,
        lr: float = 1e-3,
        ratio: float = 1.0,
        betas: tuple[float, float] = BETAS,
        eps: float = EPS,
        **settings: Any,
    ) -> None:
        check_range(ratio=ratio)
        super().__init__(known, rest, lr=lr, ratio=ratio, betas=betas, eps=eps, **settings)

    def _move(self, rest: Sequence[Any]) -> None:
        groups = [group for alike in self._alike() for group in alike]
        if self.clip is not None:
            share = self._clip(self._batches(), rest)
            for one in (one for group in groups for one in group["params"]):
                one.grad.mul_(share)
        sides: dict[tuple[float, tuple[float, float], float], list[Any]] = {}
        for group in groups:
            for one, ratio in zip(group["params"], (group["ratio"], 1.0), strict=True):
                key = (ratio * group["lr"], group["betas"], group["eps"])
                sides.setdefault(key, []).append(one)
        for (rate, betas, eps), own in sides.items():
            adam(own, self.state, rate, betas=betas, eps=eps)
        for group in (group for group in groups if group["weight_decay"]):
            for one in group["params"]:
                one.mul_(kept_share(group["lr"], group["weight_decay"]))


def kept_share(rate: float, decay: float) -> float:
    """The share that a step keeps of both factors of a pair, so that B·A keeps 1 − η·λ."""
    return math.sqrt(max(0.0, 1 - rate * decay))


class _Invariant(PairOptimizer, ABC):
    """What the methods have in common that do not depend on the gauge."""

    def __init__(
        self,
        known: Iterable[Pair],
        rest: Iterable[Any] = (),
        *,
        lr: float,
        damping: float = DAMPING,
        **settings: Any,
    ) -> None:
        check_range(damping=damping)
        super().__init__(known, rest, lr=lr, damping=damping, **settings)

    @abstractmethod
    def _directions(self, batch: Batch) -> list[Any]:
        """The direction of each side of a batch; what is remembered is brought up to date."""

    def _move(self, rest: Sequence[Any]) -> None:
        batches = self._batches()
        share = self._clip(batches, rest)
        for batch in batches:
            for side, _ in batch.sides:
                side.gradient, side.seen = side.gradient * share, side.seen * share
            batch.move(self._directions(batch), batch.groups[0]["damping"])
            for place, group in enumerate(batch.groups):
                kept = kept_share(group["lr"], group["weight_decay"])
                for one, factor in zip(
                    group["params"], (batch.left.factor, batch.right.factor.mT), strict=True
                ):
                    one.copy_(kept * factor[place])

    @staticmethod
    def _turns(batch: Batch) -> list[Any]:
        """For each side Q(before)ᵀ·Q of the bases of the other side; 0 at the first step."""
        turns: list[Any] = []
        for side, other in batch.sides:
            turns.append(side.remembered("basis", other.basis[0]).mT @ other.basis)
            side.remember("basis", other.basis)
        return turns

    def _means(self, batch: Batch, turns: Sequence[Any], keep: float, add: float) -> list[Any]:
        """For each side: keep × the mean of before, in the bases of now, + add × what is seen."""
        means: list[Any] = []
        for (side, _), turn in zip(batch.sides, turns, strict=True):
            mean = keep * side.remembered("mean", side.seen[0]) @ turn + add * side.seen
            side.remember("mean", mean)
            means.append(mean)
        return means

    @staticmethod
    def _steps(side: Side) -> Any:
        """Raise the number of steps of each pair by one, and return the numbers."""
        counts = side.remembered("step", torch.zeros((), dtype=torch.float64)) + 1
        side.remember("step", counts)
        return counts.to(side.seen.dtype)[:, None, None]


@final
class ScaledGradient(_Invariant):
    """Gradient descent of ΔW within what the factors can change.

    It is B − η·∇_B·(AAᵀ)⁻¹ / s² and A − η·(BᵀB)⁻¹·∇_A / s², and does not slow down if the singular
    values of ΔW differ. For ½‖X·ΔWᵀ − Y‖² with XᵀX = I the rate 1 is right.

    Args:
        momentum: Share of the direction before that is kept.

    Source: Tong, Ma and Chi, arXiv 2005.08898.
    """

    def __init__(
        self,
        known: Iterable[Pair],
        rest: Iterable[Any] = (),
        *,
        lr: float = 1.0,
        momentum: float = 0.0,
        **settings: Any,
    ) -> None:
        check_range(momentum=momentum)
        super().__init__(known, rest, lr=lr, momentum=momentum, **settings)

    def _directions(self, batch: Batch) -> list[Any]:
        momentum = batch.groups[0]["momentum"]
        if not momentum:
            return [side.seen for side, _ in batch.sides]
        return self._means(batch, self._turns(batch), momentum, 1.0)


class _Adaptive(_Invariant):
    """What the invariant methods have in common that keep means of squares, as Adam does.

    Args:
        betas, eps: Those of Adam.
    """

    def __init__(
        self,
        known: Iterable[Pair],
        rest: Iterable[Any] = (),
        *,
        lr: float = 1e-3,
        betas: tuple[float, float] = BETAS,
        eps: float = EPS,
        **settings: Any,
    ) -> None:
        super().__init__(known, rest, lr=lr, betas=betas, eps=eps, **settings)


@final
class ScaledAdam(_Adaptive):
    """`ScaledGradient` with means as in Adam, and one mean of squares for each factor.

    Args:
        betas, eps: Those of Adam.
    """

    def _directions(self, batch: Batch) -> list[Any]:
        (first, second), eps = batch.groups[0]["betas"], batch.groups[0]["eps"]
        found: list[Any] = []
        means = self._means(batch, self._turns(batch), first, 1 - first)
        for (side, _), mean in zip(batch.sides, means, strict=True):
            size = side.seen.square().mean(dim=(1, 2), keepdim=True)
            squares = torch.lerp(side.remembered("square", size[0]), size, 1 - second)
            side.remember("square", squares)
            counts = self._steps(side)
            root = (squares / (1 - second**counts)).sqrt() + eps
            found.append(mean / (1 - first**counts) / root)
        return found


@final
class LoRARite(_Adaptive):
    """LoRA-RITE: Adam in the bases of the factors, with a rank × rank matrix as mean of squares.

    D = m̂·(V̂^½ + ε)⁻¹ for each side, with V the mean of GᵢᵀGᵢ / rows of what it sees. The step of A
    is damped as in `Batch.move`, without which the method does not learn from B = 0.

    Args:
        betas, eps: Those of Adam.

    Source: Yen et al., arXiv 2410.20625, algorithm 1, without the escaped mass.
    """

    def _directions(self, batch: Batch) -> list[Any]:
        (first, second), eps = batch.groups[0]["betas"], batch.groups[0]["eps"]
        found: list[Any] = []
        turns = self._turns(batch)
        means = self._means(batch, turns, first, 1 - first)
        for (side, _), turn, mean in zip(batch.sides, turns, means, strict=True):
            now = side.seen.mT @ side.seen / side.seen.shape[1]
            before = turn.mT @ side.remembered("square", now[0]) @ turn
            squares = second * before + (1 - second) * now
            side.remember("square", squares)
            counts = self._steps(side)
            values, vectors = torch.linalg.eigh(squares / (1 - second**counts))
            root = values.clamp_min(0).sqrt() + eps
            turned = mean / (1 - first**counts) @ vectors
            found.append(turned / root[:, None, :] @ vectors.mT)
        return found


@final
class LoRAMuon(_Invariant):
    """LoRA-Muon: steps of ΔW whose singular values are all alike, at most η.

    D = ½·msign(m) for each side, where msign(U·Σ·Vᵀ) = U·Vᵀ and m is the gradient with momentum in
    the manner of Nesterov.

    Args:
        momentum: Share of the mean before that is kept.

    Source: Jordan et al., Muon, 2024, in the bases of the factors.
    """

    def __init__(
        self,
        known: Iterable[Pair],
        rest: Iterable[Any] = (),
        *,
        lr: float = 0.02,
        momentum: float = 0.9,
        **settings: Any,
    ) -> None:
        check_range(momentum=momentum)
        super().__init__(known, rest, lr=lr, momentum=momentum, **settings)

    def _directions(self, batch: Batch) -> list[Any]:
        momentum = batch.groups[0]["momentum"]
        means = self._means(batch, self._turns(batch), momentum, 1.0)
        return [
            msign(side.seen + momentum * mean) / 2
            for (side, _), mean in zip(batch.sides, means, strict=True)
        ]


def msign(X: Any) -> Any:
    """U·Vᵀ of X = U·Σ·Vᵀ for tall matrices, without the directions that are rounding.

    Example:
        >>> msign(torch.tensor([[[0.0, -3.0], [0.0, 0.0]]])).tolist()
        [[[0.0, -1.0], [0.0, 0.0]]]
    """
    # by the triangle, whose SVD costs little and loses nothing
    Q, R = torch.linalg.qr(X)
    U, sigma, Vt = torch.linalg.svd(R)
    least = sigma[:, :1] * max(X.shape[-2:]) * torch.finfo(X.dtype).eps
    kept = torch.where(sigma > least, 1.0, 0.0).to(X.dtype)
    return Q @ (U * kept[:, None, :]) @ Vt


RECIPES: Final[Mapping[str, tuple[type[PairOptimizer], float, dict[str, Any]]]] = {
    "adamw": (AdamW, 1e-3, {}),
    "lora+": (AdamW, 3e-4, {"ratio": 16.0}),
    "scaled": (ScaledAdam, 1e-3, {}),
    "rite": (LoRARite, 1e-3, {}),
    "muon": (LoRAMuon, 3e-2, {}),
}
"""Class, rate in the middle of those to try, and settings of each optimiser of `finetune`."""
