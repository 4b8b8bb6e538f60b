"""Optimisers of pairs: the gauge, known optima, state, decay and clipping."""

import copy

import numpy as np
import pytest
import torch

from eckart.errors import ArgumentError
from eckart.finetuning.optimizers import (
    AdamW,
    LoRAMuon,
    LoRARite,
    ScaledAdam,
    ScaledGradient,
    msign,
)
from eckart.finetuning.pairs import Pair

pytestmark = pytest.mark.torch
INVARIANT = {
    "scaled": lambda pairs, **more: ScaledGradient(pairs, lr=0.2, **more),
    "scaled with momentum": lambda pairs, **more: ScaledGradient(
        pairs, lr=0.1, momentum=0.9, **more
    ),
    "scaled Adam": lambda pairs, **more: ScaledAdam(pairs, lr=0.05, **more),
    "rite": lambda pairs, **more: LoRARite(pairs, lr=0.05, **more),
    "muon": lambda pairs, **more: LoRAMuon(pairs, lr=0.05, **more),
}
ALL = {**INVARIANT, "adamw": lambda pairs, **more: AdamW(pairs, lr=0.05, **more)}
OUT, INPUTS, RANK, SCALE, STEPS = 12, 16, 3, 2.0, 20
DECAYED = {"weight_decay": 0.1, "clip": 3.0}


def gauges():
    generator = torch.Generator().manual_seed(3)
    rotation, _ = torch.linalg.qr(torch.randn(RANK, RANK, generator=generator).double())
    other, _ = torch.linalg.qr(torch.randn(RANK, RANK, generator=generator).double())
    stretch = torch.diag(torch.tensor([20.0, 3.0, 1.0], dtype=torch.float64))
    return {
        "8·I": 8 * torch.eye(RANK, dtype=torch.float64),
        "orthogonal": rotation,
        "general": rotation @ stretch @ other,
    }


def problem(seed=0):
    """The weights W of ½‖s·B·A − W‖² in a metric that is no multiple of I, and a start."""
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=generator).double()  # noqa: E731
    return draw(OUT, INPUTS), draw(INPUTS, INPUTS) / 4, draw(OUT, RANK), draw(RANK, INPUTS)


def trained(make, gauge=None, changed=None, *, zero=False):
    """s·B·A after some steps from a start in a gauge, which is changed in the middle."""
    W, X, B, A = problem()
    B = 0 * B if zero else B
    if gauge is not None:
        B, A = B @ gauge, torch.linalg.solve(gauge, A)
    pair = Pair(
        name="layer", B=torch.nn.Parameter(B.clone()), A=torch.nn.Parameter(A.clone()), scale=SCALE
    )
    optimizer = make([pair])
    for step in range(STEPS):
        if step == STEPS // 2 and changed is not None:
            with torch.no_grad():
                pair.B.copy_(pair.B @ changed)
                pair.A.copy_(torch.linalg.solve(changed, pair.A))
        optimizer.zero_grad()
        ((SCALE * pair.B @ pair.A - W) @ X).square().sum().div(2).backward()
        optimizer.step()
    return (SCALE * pair.B @ pair.A).detach()


def distance(one, other):
    return float((one - other).norm() / other.norm())


@pytest.mark.parametrize("more", [{}, DECAYED], ids=["plain", "decayed and clipped"])
@pytest.mark.parametrize("gauge", gauges())
@pytest.mark.parametrize("kind", INVARIANT)
def test_another_gauge_takes_the_same_steps(kind, gauge, more):
    make = lambda pairs: INVARIANT[kind](pairs, **more)  # noqa: E731
    turned = gauges()[gauge]
    plain = trained(make)
    assert torch.isfinite(plain).all()
    assert distance(trained(make, turned), plain) < 1e-12
    assert distance(trained(make, None, turned), plain) < 1e-12


@pytest.mark.parametrize("gauge", ["8·I", "general"])
@pytest.mark.parametrize("kind", INVARIANT)
def test_another_gauge_of_a_start_from_zero_takes_the_same_steps(kind, gauge):
    make = INVARIANT[kind]
    assert distance(trained(make, gauges()[gauge], zero=True), trained(make, zero=True)) < 1e-12


def test_plain_adam_depends_on_the_gauge():
    assert distance(trained(ALL["adamw"], gauges()["8·I"]), trained(ALL["adamw"])) > 0.1


def test_adamw_is_that_of_pytorch():
    W, X, B, A = problem()
    found = []
    for mine in (True, False):
        pair = Pair(name="x", B=torch.nn.Parameter(B.clone()), A=torch.nn.Parameter(A.clone()))
        both = [pair.B, pair.A]
        plain = torch.optim.AdamW(both, lr=0.05, weight_decay=0)
        optimizer = AdamW([pair], lr=0.05) if mine else plain
        for _ in range(STEPS):
            optimizer.zero_grad()
            ((pair.B @ pair.A - W) @ X).square().sum().backward()
            optimizer.step()
        found.append((pair.B @ pair.A).detach())
    assert distance(*found) < STEPS * 64 * np.finfo(float).eps


@pytest.mark.parametrize("kind", ALL)
def test_decay_alone_decays_the_change(kind):
    _, _, B, A = problem()
    pair = Pair(name="layer", B=torch.nn.Parameter(B.clone()), A=torch.nn.Parameter(A.clone()))
    rest = torch.nn.Parameter(torch.ones(3, dtype=torch.float64))
    optimizer = ALL[kind]([pair], rest=[rest], weight_decay=0.5, rest_lr=0.01)
    (0 * pair.B.sum() + 0 * pair.A.sum() + 0 * rest.sum()).backward()
    optimizer.step()
    rate = optimizer.param_groups[0]["lr"]
    assert distance((pair.B @ pair.A).detach(), B @ A * (1 - rate * 0.5)) < 1e-14
    assert torch.allclose(rest, torch.full_like(rest, 1 - 0.01 * 0.5), atol=1e-15)


@pytest.mark.parametrize("kind", ALL)
def test_a_saved_state_goes_on_bit_for_bit(kind, tmp_path):
    W, X, B, A = problem()

    def begun():
        pairs = [
            Pair(name=f"{number}", B=torch.nn.Parameter(b.clone()), A=torch.nn.Parameter(A.clone()))
            for number, b in enumerate((B, 0 * B))
        ]
        rest = torch.nn.Parameter(torch.ones(OUT, 1, dtype=torch.float64))
        return pairs, rest, ALL[kind](pairs, rest=[rest])

    def run(pairs, rest, optimizer, steps):
        for _ in range(steps):
            optimizer.zero_grad()
            change = sum(pair.B @ pair.A for pair in pairs) + rest
            ((change - W) @ X).square().sum().backward()
            optimizer.step()

    pairs, rest, optimizer = begun()
    run(pairs, rest, optimizer, 5)
    parameters = [rest, *(one for pair in pairs for one in (pair.B, pair.A))]
    torch.save(optimizer.state_dict(), tmp_path / "state.pt")
    kept = [one.detach().clone() for one in parameters]
    run(pairs, rest, optimizer, 5)
    again, other, fresh = begun()
    targets = [other, *(one for pair in again for one in (pair.B, pair.A))]
    with torch.no_grad():
        for target, value in zip(targets, kept, strict=True):
            target.copy_(value)
    fresh.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    run(again, other, fresh, 5)
    assert all(torch.equal(one, two) for one, two in zip(parameters, targets, strict=True))


def test_a_state_of_other_pairs_is_refused():
    _, _, B, A = problem()
    made = [
        AdamW([Pair(name=name, B=torch.nn.Parameter(B.clone()), A=torch.nn.Parameter(A.clone()))])
        for name in ("one", "other")
    ]
    with pytest.raises(ArgumentError) as error:
        made[0].load_state_dict(copy.deepcopy(made[1].state_dict()))
    assert error.value.code == "other-pairs"


def test_pairs_of_one_shape_are_moved_as_if_alone():
    W, X, B, A = problem()
    for make in ALL.values():
        found = []
        for others in (0, 2):
            pairs = [
                Pair(name=str(n), B=torch.nn.Parameter(B * (n + 1)), A=torch.nn.Parameter(A + n))
                for n in range(others + 1)
            ]
            optimizer = make(pairs)
            for _ in range(5):
                optimizer.zero_grad()
                for pair in pairs:
                    ((pair.B @ pair.A - W) @ X).square().sum().backward()
                optimizer.step()
            found.append((pairs[0].B @ pairs[0].A).detach())
        assert distance(*found) < 1e-12


def conditioned(kappa, seed=0):
    """A matrix of rank 4 whose singular values fall from 1 to 1/κ, for XᵀX = I."""
    generator = torch.Generator().manual_seed(seed)
    U, _ = torch.linalg.qr(torch.randn(24, 4, generator=generator).double())
    V, _ = torch.linalg.qr(torch.randn(32, 4, generator=generator).double())
    return U @ torch.diag(torch.logspace(0, -np.log10(kappa), 4, dtype=torch.float64)) @ V.mT


@pytest.mark.parametrize("seed", range(5))
def test_the_scaled_gradient_does_not_mind_singular_values_of_all_sizes(seed):
    W = conditioned(100, seed)
    generator = torch.Generator().manual_seed(seed + 100)
    A = torch.rand(4, 32, generator=generator).double().mul(2).sub(1) / 32**0.5
    pair = Pair(
        name="layer", B=torch.nn.Parameter(torch.zeros(24, 4).double()), A=torch.nn.Parameter(A)
    )
    optimizer = ScaledGradient([pair])
    for step in range(11):
        loss = (pair.B @ pair.A - W).square().sum() / 2
        if step == 0:
            first = float(loss.detach())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) / first < 1e-10  # whatever the smallest direction holds


def test_msign_is_the_polar_factor():
    X = torch.randn(5, 9, 4, generator=torch.Generator().manual_seed(0)).double()
    U, _, Vt = torch.linalg.svd(X, full_matrices=False)
    assert torch.allclose(msign(X), U @ Vt, atol=1e-13)
    assert torch.equal(msign(torch.zeros(2, 5, 3)), torch.zeros(2, 5, 3))


@pytest.mark.parametrize(
    ("name", "value"), [("lr", -1.0), ("lr", float("nan")), ("weight_decay", -0.1), ("clip", 0.0)]
)
def test_numbers_out_of_range_are_refused(name, value):
    _, _, B, A = problem()
    pair = Pair(name="x", B=torch.nn.Parameter(B.clone()), A=torch.nn.Parameter(A.clone()))
    with pytest.raises(ArgumentError):
        ScaledAdam([pair], **{name: value})
