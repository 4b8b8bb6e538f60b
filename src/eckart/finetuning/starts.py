"""Starts of the factors: drawn, from the first gradient, or from the weights."""

import hashlib
import math
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, Literal, TypeAlias, get_args

import numpy as np
import torch

from eckart.arguments import is_one_of
from eckart.arrays import FLOAT64, Array, rounding
from eckart.errors import ArgumentError, MatrixError
from eckart.factorization import factorize
from eckart.factors import Factors
from eckart.finetuning.pairs import Pair, pairs
from eckart.objectives import Entire, Weighted

Start: TypeAlias = Literal["lora", "gradient", "whitened", "pissa"]
"""lora draws A; gradient and whitened take A from the gradient of the loss; B is 0 in all of them.
pissa takes B and A from W."""
STARTS: Final[tuple[Start, ...]] = get_args(Start)
Moved: TypeAlias = dict[str, tuple[Any, Any]]
"""B₀ and A₀ by the name of a pair: s·B₀·A₀ was taken from its W."""
DAMPING: Final = 1e-3
"""Share of the mean second moment of an input that is added to the moment of each."""
TINY: Final = 1e-12
"""Damping of moments that are damped already."""
Loss: TypeAlias = Callable[[Any, Any], Any]
"""A function of the model and a batch that returns the loss."""


def start_(
    model: Any,
    start: Start = "lora",
    batches: Iterable[Any] = (),
    *,
    loss: Loss | None = None,
    damping: float = DAMPING,
    seed: int = 0,
    adapter: str = "default",
) -> Moved:
    """Set the factors of an adapted model to a start at which its outputs are those of the base.

    "lora" draws A from the uniform distribution on ±1/√inputs, as PEFT does, but from the seed and
    the name of the layer alone. "gradient" takes the leading right singular vectors of −G for A,
    with G = ∂L/∂W over the batches: the first step of B is then the best change of its rank.
    "whitened" takes those of −G·S^(-½), times S^(-½), with S = E[x·xᵀ] of the inputs of the layer:
    for one layer and squared loss these are the rows of the best change. The rows are as large as
    those of PEFT, so that learning rates carry over. W is left as it is in all of them, and B is 0.

    "pissa" takes the best approximation of W of the rank for s·B·A, with BᵀB = AAᵀ, and takes it
    from W. What is learnt then belongs to a W that nobody else has, until `plain_` turns it back.

    Args:
        model: A model that `peft.get_peft_model` returned; its factors are overwritten.
        start: The start.
        batches: Batches for the gradient; some dozen examples are enough.
        loss: Function of the model and a batch; None calls the model with the batch as keywords
            and takes the `loss` of what it returns.
        damping: Share of the mean second moment of an input that "whitened" adds to that of each.
        seed: Seed of everything random.
        adapter: Name of the adapter.

    Returns:
        B₀ and A₀ of each pair whose W was changed, by name: none but with "pissa".

    Raises:
        ArgumentError: If there is no such start, or it needs batches and there are none.
        MatrixError: If a gradient is not finite.

    Cost:
        A forward and a backward pass for each batch, in evaluation mode, and memory of one gradient
        of the size of W for each layer ("whitened": of inputs² numbers more); a few products with
        each gradient. "pissa": a few products with each W.

    Source: Meng, Wang and Zhang, arXiv 2404.02948, for "pissa".
    """
    if not is_one_of(start, STARTS):
        raise ArgumentError(
            f"There is no start '{start}'.", hint=f"Give {', '.join(STARTS)}.", code="no-such-start"
        )
    found = pairs(model, adapter)
    for pair in found:
        _assign(pair, drawn_rows(pair, seed))
    if start == "pissa":
        return {pair.name: _taken_from_weight(pair, seed) for pair in found}
    if start != "lora":
        for pair, gradient, moments in gradients(
            model, found, batches, loss or _own_loss, whitened=start == "whitened"
        ):
            _assign(pair, leading_rows(pair, gradient, moments, damping, seed))
    return {}


def _taken_from_weight(pair: Pair, seed: int) -> tuple[Any, Any]:
    weight = pair.weight.detach()
    best = _best(weight.double().numpy(), pair.rank, Entire(), own_seed(pair.name, seed))
    put_factors(pair, best, seed)
    B, A = pair.B.detach().clone(), pair.A.detach().clone()
    move_weight(pair, B, A)
    return B, A


def put_factors(pair: Pair, factors: Factors, seed: int) -> float:
    """Set a pair to the best s·B·A of its rank for a given product, with BᵀB = AAᵀ.

    Rows of A that the product does not need are drawn, beside zeros of B: with zeros on both sides
    they would never be learnt.

    Returns:
        The relative error of the product, which is above 0 if its rank is higher.
    """
    wide = factors.astype(FLOAT64)
    sigma = wide.singular_values()
    needed = int(np.count_nonzero(sigma > rounding(wide.shape, factors.dtype) * sigma[0]))
    kept = min(pair.rank, needed)
    B, A = np.zeros(tuple(pair.B.shape)), drawn_rows(pair, seed)
    if kept:
        cut = wide.truncate(kept)
        B[:, :kept], A[:kept] = cut.B / math.sqrt(pair.scale), cut.A / math.sqrt(pair.scale)
    with torch.no_grad():
        pair.B.copy_(torch.from_numpy(B))
        pair.A.copy_(torch.from_numpy(A))
    size, lost = (float(np.linalg.norm(one)) for one in (sigma, sigma[kept:needed]))
    return lost / size if size else 0.0


def move_weight(pair: Pair, B: Any, A: Any) -> None:
    """Take s·B·A from the weight of a pair."""
    with torch.no_grad():
        pair.weight.sub_(pair.scale * (B @ A))


def plain_(
    model: Any,
    moved: Moved,
    *,
    weights: Mapping[str, Any] | None = None,
    adapter: str = "default",
) -> dict[str, float]:
    """Turn factors that were learnt beside a moved W into factors for the W of before.

    W − s·B₀·A₀ + s·B·A = W + s·[B, −B₀]·[A; A₀], whose rank is twice as large: it is cut to the
    rank of the pair by the singular value decomposition, as well as can be.

    Args:
        model: The model, whose W and factors are changed.
        moved: What `start_` returned.
        weights: W of before by the name of the pair; None adds what was taken, which differs from W
            by rounding in the last digit.
        adapter: Name of the adapter.

    Returns:
        The relative error of the cut of each pair, ‖ΔW − s·B·A‖ / ‖ΔW‖, by name.

    Raises:
        ArgumentError: If a pair of `moved` is not in the model.
    """
    known = {pair.name: pair for pair in pairs(model, adapter)}
    lost = [name for name in moved if name not in known]
    if lost:
        raise ArgumentError(
            f"The model has no pair '{lost[0]}'.", hint="Give what it began with.", code="no-pair"
        )
    errors: dict[str, float] = {}
    for name, (B, A) in moved.items():
        pair = known[name]
        own = [one.detach().double().numpy() for one in (pair.B, pair.A, B, A)]
        whole = Factors(np.hstack([own[0], -own[2]]), np.vstack([own[1], own[3]]))
        sigma = whole.singular_values()
        size = float(np.linalg.norm(sigma))
        errors[name] = float(np.linalg.norm(sigma[pair.rank :])) / size if size else 0.0
        cut = whole.truncate(pair.rank)
        with torch.no_grad():
            pair.B.copy_(torch.from_numpy(cut.B))
            pair.A.copy_(torch.from_numpy(cut.A))
            if weights is None:
                before = pair.weight.double() + pair.scale * (B.double() @ A.double())
                pair.weight.copy_(before)
            else:
                pair.weight.copy_(weights[name])
    return errors


def drawn_rows(pair: Pair, seed: int) -> Array:
    """A of the start of LoRA: uniform on ±1/√inputs, of the seed and the name alone."""
    rank, inputs = pair.A.shape
    generator = np.random.default_rng(own_seed(pair.name, seed))
    return generator.uniform(-1, 1, (rank, inputs)) / math.sqrt(inputs)


def own_seed(name: str, seed: int) -> int:
    """The seed of a layer, which does not depend on the other layers."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:8], "little")


def leading_rows(
    pair: Pair, gradient: Array, moments: Array | None, damping: float, seed: int
) -> Array:
    """The rows of the best change of the rank of a pair, to first order of the loss.

    Args:
        pair: The pair.
        gradient: G of shape (outputs, inputs).
        moments: S of shape (inputs, inputs); None takes them to be a multiple of I.
        damping: Share of the mean of the diagonal of S that is added to its diagonal.
        seed: Seed of the solver, and of the rows that a gradient of lower rank leaves open.

    Returns:
        Array of shape (rank, inputs), as large as a drawn start.
    """
    rank, inputs = pair.A.shape
    drawn = drawn_rows(pair, seed)
    if not np.any(gradient):  # nothing of the loss depends on this layer
        return drawn
    least, S = min(rank, *gradient.shape), np.eye(inputs)
    if moments is None:
        found = _best(-gradient, least, Entire(), seed)
    else:
        S = moments + damping * np.trace(moments) / inputs * S
        # the best change in the sense of the outputs: −G·S⁻¹ has the gradient −G
        found = _best(
            -np.linalg.solve(S, gradient.T).T, least, Weighted(moments=S, damping=TINY), seed
        )
    # drawn rows fill what a gradient of lower rank leaves open
    basis, _ = np.linalg.qr(np.vstack([found.A.astype(FLOAT64), drawn]).T)
    rows = basis.T[:rank]
    # orthonormal in the sense of S, so that B learns no direction faster than another
    rows = np.linalg.solve(np.linalg.cholesky(rows @ S @ rows.T), rows)
    return rows * math.sqrt(rank / 3) / np.linalg.norm(rows)


def _best(W: Array, rank: int, objective: Any, seed: int) -> Factors:
    found = factorize(W, rank, objective=objective, certificate=False, seed=seed)
    assert isinstance(found.approximation, Factors)
    return found.approximation


def gradients(
    model: Any, known: Sequence[Pair], batches: Iterable[Any], loss: Loss, *, whitened: bool
) -> Iterator[tuple[Pair, Array, Array | None]]:
    """Yield G = ∂L/∂W of each layer of some pairs, and the second moments of its inputs if wanted.

    G is added up from the inputs x of the layers and the gradients δ of their outputs, as Σ δ·xᵀ,
    so that W itself needs no gradient.
    """
    watched = {pair.name: _Watched(whitened=whitened) for pair in known}
    count = 0
    with _evaluating(model):
        handles = [
            pair.module.register_forward_hook(watched[pair.name].see, with_kwargs=False)
            for pair in known
        ]
        try:
            for batch in batches:
                mask = batch.get("attention_mask") if isinstance(batch, Mapping) else None
                for one in watched.values():
                    one.mask = mask
                loss(model, batch).backward()
                count += 1
        finally:
            for handle in handles:
                handle.remove()
            model.zero_grad(set_to_none=True)
    if not count:
        raise ArgumentError(
            "The start needs batches, and there are none.",
            hint="Give some dozen examples.",
            code="no-batches",
        )
    for pair in known:
        yield pair, *watched[pair.name].found(pair)


class _Watched:
    """The sums of one layer: Σ δ·xᵀ and Σ x·xᵀ over its inputs x."""

    def __init__(self, *, whitened: bool) -> None:
        self.mask: Any = None
        self._whitened, self._count = whitened, 0
        self._total: Any = None
        self._moments: Any = None

    def see(self, _module: Any, inputs: tuple[Any, ...], output: Any) -> None:
        """Take the inputs of a pass, and the gradient of the outputs when it comes."""
        x = inputs[0].detach()

        def back(gradient: Any) -> None:
            product = gradient.flatten(0, -2).mT @ x.flatten(0, -2)
            self._total = product if self._total is None else self._total + product

        output.register_hook(back)
        if self._whitened:
            # what only fills a text up is no input
            mask = self.mask
            X = x.flatten(0, -2)
            if mask is not None and mask.shape == x.shape[:-1]:
                X = X[mask.flatten().bool()]
            X = X.double()
            square = X.mT @ X
            self._moments = square if self._moments is None else self._moments + square
            self._count += len(X)

    def found(self, pair: Pair) -> tuple[Array, Array | None]:
        """G, and the mean of x·xᵀ if it was wanted; zeros if the layer was not used."""
        if self._total is None:
            return np.zeros((pair.B.shape[0], pair.A.shape[1])), None
        gradient = self._total.double().numpy()
        if not np.isfinite(gradient).all():
            raise MatrixError(
                f"The gradient of '{pair.name}' is not finite.",
                hint="Check the model and the data.",
                code="not-finite",
            )
        return gradient, self._moments.numpy() / self._count if self._whitened else None


@contextmanager
def _evaluating(model: Any) -> Generator[None, None, None]:
    """Put a model into evaluation mode, without dropout, for a block."""
    before = {name: module.training for name, module in model.named_modules()}
    model.eval()
    try:
        yield
    finally:
        for name, module in model.named_modules():
            module.training = before[name]


def _own_loss(model: Any, batch: Any) -> Any:
    return model(**batch).loss


def _assign(pair: Pair, rows: Array) -> None:
    with torch.no_grad():
        pair.A.copy_(torch.from_numpy(rows))
        pair.B.zero_()
