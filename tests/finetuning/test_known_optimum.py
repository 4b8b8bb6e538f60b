"""One linear layer and squared loss: reduced-rank regression, whose optimum is known."""

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model

import eckart
from eckart.finetuning.optimizers import AdamW, LoRAMuon, LoRARite, ScaledAdam, ScaledGradient
from eckart.finetuning.pairs import Pair, pairs
from eckart.finetuning.starts import start_

pytestmark = pytest.mark.torch
ROWS, INPUTS, OUT, RANK = 600, 32, 24, 4


class Regression(torch.nn.Module):
    """½·‖Y − X·Wᵀ‖² / N of one layer, as a model of transformers gives its loss."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(INPUTS, OUT, bias=False).double()

    def forward(self, X, Y):
        return (self.layer(X) - Y).square().sum() / (2 * len(X))


def data(kappa, of_inputs, seed=0):
    """Inputs with κ(S) ≈ `of_inputs`, and answers of a change of rank 4 with κ(ΔW), and noise."""
    generator = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(generator.standard_normal((INPUTS, INPUTS)))
    spread = np.geomspace(1, of_inputs**-0.5, INPUTS)
    X = generator.standard_normal((ROWS, INPUTS)) @ (turn * spread)
    U, _ = np.linalg.qr(generator.standard_normal((OUT, RANK)))
    V, _ = np.linalg.qr(generator.standard_normal((INPUTS, RANK)))
    change = (U * np.geomspace(1, 1 / kappa, RANK)) @ V.T
    clean = X @ change.T
    noise = generator.standard_normal(clean.shape)
    return X, clean + 0.05 * noise * np.linalg.norm(clean) / np.linalg.norm(noise), clean


def model_of(X, Y):
    """An adapted layer with a W₀ of its own, for which the change is what Y lacks."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        base = Regression()
    config = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules=["layer"])
    model = get_peft_model(base, config)
    for pair in pairs(model):
        pair.module.lora_A["default"].double()
        pair.module.lora_B["default"].double()
    weight = base.layer.get_base_layer().weight.detach().numpy()
    batch = {"X": torch.from_numpy(X), "Y": torch.from_numpy(Y + X @ weight.T)}
    return model, batch


def own_loss(model, batch):
    return model(batch["X"], batch["Y"])


def best(X, Y):
    """The loss of the closed form: what a line misses, and the singular values that a rank cuts."""
    fitted = X @ np.linalg.lstsq(X, Y, rcond=None)[0]
    sigma = np.linalg.svd(fitted, compute_uv=False)
    return (np.linalg.norm(Y - fitted) ** 2 + np.sum(sigma[RANK:] ** 2)) / (2 * len(X))


def losses_of(model, batch, optimizer, steps, *, decays, goal=0.0):
    """The losses before each step up to a goal, with a rate that falls to 0 if `decays`."""
    highest = [group["lr"] for group in optimizer.param_groups]
    found = []
    for step in range(steps):
        for group, rate in zip(optimizer.param_groups, highest, strict=True):
            group["lr"] = rate * (1 - step / steps) if decays else rate
        optimizer.zero_grad()
        loss = own_loss(model, batch)
        loss.backward()
        optimizer.step()
        found.append(float(loss.detach()))
        if found[-1] < goal:
            return np.array(found)
    return np.array([*found, float(own_loss(model, batch).detach())])


def begun(X, Y, start, damping=1e-9):
    model, batch = model_of(X, Y)
    start_(model, start, [batch], loss=own_loss, damping=damping)
    return model, batch


@pytest.mark.parametrize(
    ("make", "steps"),
    [
        (lambda found: AdamW(found, lr=0.03), 1500),
        (lambda found: AdamW(found, lr=0.01, ratio=4.0), 1500),
        (lambda found: ScaledGradient(found), 200),
        (lambda found: ScaledAdam(found, lr=0.01), 1000),
        (lambda found: LoRARite(found, lr=0.01), 1000),
        (lambda found: LoRAMuon(found, lr=0.1), 2000),
    ],
    ids=["adamw", "lora+", "scaled gradient", "scaled", "rite", "muon"],
)
def test_every_optimizer_reaches_the_closed_form(make, steps):
    X, Y, _ = data(10, 1)
    model, batch = begun(X, Y, "lora")
    found = losses_of(model, batch, make(pairs(model)), steps, decays=True)
    assert found[-1] >= best(X, Y) * (1 - 1e-12)
    assert (found[-1] - best(X, Y)) / (found[0] - best(X, Y)) < 1e-6


@pytest.mark.parametrize("of_inputs", [1, 100])
def test_the_whitened_start_and_one_exact_step_are_the_optimum(of_inputs):
    X, Y, _ = data(100, of_inputs)
    model, batch = begun(X, Y, "whitened")
    (pair,) = pairs(model)
    with torch.no_grad():
        rest = batch["Y"] - batch["X"] @ pair.module.get_base_layer().weight.T
        shown = batch["X"] @ pair.A.T
        pair.B.copy_(torch.linalg.lstsq(shown, rest).solution.T / pair.scale)
    assert float(own_loss(model, batch).detach()) == pytest.approx(best(X, Y), rel=1e-8)


def scaled(found, rate):
    return ScaledGradient(found, lr=rate)


def iterations(make, start, rates, X, Y):
    """Steps until all but a thousandth of what can be gained is gained, at the best rate."""
    most, least = 350, best(X, Y)
    for rate in rates:
        model, batch = begun(X, Y, start)
        goal = least + 1e-3 * (float(own_loss(model, batch).detach()) - least)
        optimizer = make(pairs(model), rate)
        losses = losses_of(model, batch, optimizer, most, decays=False, goal=goal)
        most = min(most, len(losses) - 1)
    return most


def plain(found, rate):
    return torch.optim.SGD([one for pair in found for one in (pair.B, pair.A)], lr=rate)


def test_a_whitened_start_helps_where_inputs_are_badly_conditioned():
    of_plain, of_scaled = [], []
    for seed in range(3):
        X, Y, _ = data(10, 100, seed)
        largest = float(np.linalg.eigvalsh(X.T @ X / ROWS)[-1])
        for make, shares, found in (
            (plain, (0.5, 1, 2), of_plain),
            (scaled, (0.75, 1, 1.25), of_scaled),
        ):
            rates = [share / largest for share in shares]
            found.append(
                iterations(make, "whitened", rates, X, Y) / iterations(make, "lora", rates, X, Y)
            )
    assert max(of_plain) <= 0.4
    assert np.median(of_scaled) <= 0.6


def test_the_worked_example_descends_as_it_does_by_factorize():
    W = np.loadtxt("examples/article.csv", delimiter=",")
    rate = 0.01
    found = eckart.factorize(
        W, 2, solver=eckart.GradientDescent(learning_rate=rate, epochs=200, stop_early=False),
        start=eckart.LoRAStart(sigma=1.0), certificate=False,
    )  # fmt: skip
    # the same start: one epoch at a rate of nearly 0 leaves it as it is
    first = eckart.factorize(
        W, 2, solver=eckart.GradientDescent(learning_rate=1e-300, epochs=1, stop_early=False),
        start=eckart.LoRAStart(sigma=1.0), certificate=False,
    ).factors  # fmt: skip
    pair = Pair(
        name="W",
        B=torch.nn.Parameter(torch.zeros(4, 2).double()),
        A=torch.nn.Parameter(torch.from_numpy(np.array(first.A))),
    )
    optimizer = plain([pair], rate)
    losses = []
    for _ in range(200):
        optimizer.zero_grad()
        loss = (torch.from_numpy(W) - pair.B @ pair.A).square().sum()
        loss.backward()
        optimizer.step()
        losses.append(float((torch.from_numpy(W) - pair.B @ pair.A).square().sum().detach()))
    np.testing.assert_allclose(losses, [one.loss for one in found.history], rtol=1e-4)
