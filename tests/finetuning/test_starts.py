"""Starts and pairs: what A is, what stays as it is, and what is refused."""

import numpy as np
import pytest
import torch
import transformers
from peft import LoraConfig, get_peft_model
from transformers.pytorch_utils import Conv1D

from eckart.errors import ArgumentError, MatrixError
from eckart.finetuning.pairs import others, pairs
from eckart.finetuning.starts import STARTS, start_
from finetuning.models import CONFIGS

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]
RANK = 3


def adapted(kind, seed=0, **more):
    """A tiny classifier of three classes with factors at all linear layers of its base."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = CONFIGS[kind]()
        config.num_labels, config.pad_token_id = 3, 0
        model = transformers.AutoModelForSequenceClassification.from_config(config)
        layers = [
            name
            for name, module in model.named_modules()
            if isinstance(module, torch.nn.Linear | Conv1D)
            and not name.startswith(("classifier", "score", "classification_head", "pre_"))
        ]
        head = [name for name, _ in model.named_children() if name in ("classifier", "score")]
        settings = {"r": RANK, "target_modules": layers, "modules_to_save": head, **more}
        return get_peft_model(model, LoraConfig(**settings))


def batches(count=3, seed=0, filled=0):
    """Batches of random tokens; `filled` more tokens fill each text up."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        tokens = torch.randint(3, 13, (4, 7), generator=generator)
        tokens[:, -1] = 2  # the token with which texts end, which the head of BART reads
        labels = torch.randint(0, 3, (4,), generator=generator)
        mask = torch.ones_like(tokens)
        if filled:
            tokens = torch.cat([tokens, torch.zeros(4, filled, dtype=torch.int64)], 1)
            mask = torch.cat([mask, torch.zeros(4, filled, dtype=torch.int64)], 1)
        yield {"input_ids": tokens, "attention_mask": mask, "labels": labels}


def gradients_by_autograd(model):
    """∂L/∂W of every adapted layer, with W as outputs × inputs, from PyTorch alone."""
    model.eval()
    found = {}
    weights = {pair.name: pair.module.get_base_layer().weight for pair in pairs(model)}
    for weight in weights.values():
        weight.requires_grad_(True)
    for batch in batches():
        model(**batch).loss.backward()
    for pair in pairs(model):
        weight = weights[pair.name]
        gradient = weight.grad if weight.grad is not None else torch.zeros_like(weight)
        is_transposed = isinstance(pair.module.get_base_layer(), Conv1D)
        found[pair.name] = (gradient.T if is_transposed else gradient).double().numpy().copy()
        weight.requires_grad_(False)
        weight.grad = None
    model.zero_grad()
    return found


def projector(rows):
    basis, _ = np.linalg.qr(rows.T)
    return basis @ basis.T


@pytest.mark.parametrize("kind", CONFIGS)
def test_the_gradient_start_has_the_leading_rows_of_the_gradient(kind):
    model = adapted(kind)
    wanted = gradients_by_autograd(model)
    start_(model, "gradient", batches())
    compared = 0
    for pair in pairs(model):
        A = pair.A.detach().double().numpy()
        assert not pair.B.any()
        assert np.linalg.norm(A) == pytest.approx(np.sqrt(RANK / 3), rel=1e-5)
        _, sigma, Vt = np.linalg.svd(wanted[pair.name])
        # float32 tells directions apart only where their singular values differ
        if sigma[0] and sigma[RANK - 1] > 1.05 * sigma[RANK] and sigma[RANK - 1] > 1e-4 * sigma[0]:
            kept = wanted[pair.name] @ projector(A)
            best = wanted[pair.name] @ Vt[:RANK].T @ Vt[:RANK]
            assert np.linalg.norm(kept) >= (1 - 1e-4) * np.linalg.norm(best)
            compared += 1
    assert compared >= 4


@pytest.mark.parametrize("start", ["gradient", "whitened"])
def test_tokens_that_fill_up_change_nothing(start):
    found = []
    for filled in (0, 5):
        model = adapted("bert")
        start_(model, start, batches(filled=filled))
        found.append([projector(pair.A.detach().double().numpy()) for pair in pairs(model)])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-3)


def test_the_whitened_start_has_the_rows_of_the_best_change_of_the_outputs():
    model = adapted("bert")
    seen = {pair.name: [] for pair in pairs(model)}
    handles = [
        pair.module.register_forward_hook(
            lambda _module, inputs, _output, name=pair.name: seen[name].append(
                inputs[0].detach().double().flatten(0, -2).numpy()
            )
        )
        for pair in pairs(model)
    ]
    wanted = gradients_by_autograd(model)
    for handle in handles:
        handle.remove()
    start_(model, "whitened", batches(), damping=0.01)
    for pair in pairs(model):
        X = np.concatenate(seen[pair.name])
        S = X.T @ X / len(X)
        S += 0.01 * np.trace(S) / len(S) * np.eye(len(S))
        values, vectors = np.linalg.eigh(S)
        root = vectors / np.sqrt(values) @ vectors.T
        _, sigma, Vt = np.linalg.svd(-wanted[pair.name] @ root)
        if sigma[RANK - 1] > 1.05 * sigma[RANK] and sigma[RANK - 1] > 1e-3 * sigma[0]:
            rows = projector(pair.A.detach().double().numpy())
            np.testing.assert_allclose(rows, projector(Vt[:RANK] @ root), atol=5e-3)
            A = pair.A.detach().double().numpy()
            core = A @ S @ A.T
            np.testing.assert_allclose(core, core[0, 0] * np.eye(RANK), atol=1e-4 * core[0, 0])


@pytest.mark.parametrize("start", [one for one in STARTS if one != "pissa"])  # which moves W
def test_a_start_depends_on_the_seed_and_changes_nothing_else(start):
    model = adapted("bert")
    pairs_of = pairs(model)
    factors = {id(one) for pair in pairs_of for one in (pair.B, pair.A)}
    before = {
        name: one.detach().clone()
        for name, one in model.named_parameters()
        if id(one) not in factors
    }
    model.train()
    model.base_model.model.bert.encoder.eval()  # as somebody may have left it
    training = [module.training for module in model.modules()]
    torch.manual_seed(5)
    state = torch.get_rng_state()
    found = []
    for seed in (0, 0, 1):
        start_(model, start, batches(), seed=seed)
        found.append(torch.cat([pair.A.detach().flatten() for pair in pairs_of]))
    assert torch.equal(found[0], found[1])
    if start == "lora":
        assert not torch.equal(found[0], found[2])
        assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in model.modules()] == training
    for name, one in model.named_parameters():
        assert name not in before or torch.equal(one, before[name])
        assert one.grad is None


def test_the_drawn_start_is_that_of_peft_in_distribution():
    model = adapted("bert")
    own = pairs(model)
    drawn = [pair.A.detach().double().numpy() for pair in own]
    start_(model)
    for pair, theirs in zip(own, drawn, strict=True):
        A = pair.A.detach().double().numpy()
        bound = 1 / np.sqrt(A.shape[1])
        assert np.abs(A).max() <= bound
        assert np.abs(theirs).max() <= bound * (1 + 1e-6)
        # the variance of a uniform distribution on ±b is b²/3; 5 standard errors
        error = 5 * bound**2 / 3 * np.sqrt(0.8 / A.size)
        assert A.var() == pytest.approx(bound**2 / 3, abs=error)


def test_a_gradient_that_is_not_finite_is_told_with_its_layer():
    model = adapted("bert")
    with pytest.raises(MatrixError, match="not finite"):
        start_(model, "gradient", batches(), loss=lambda m, b: m(**b).loss * float("nan"))


def test_what_has_no_pairs_is_refused():
    with pytest.raises(ArgumentError):
        pairs(torch.nn.Linear(3, 3))
    with pytest.raises(ArgumentError):
        pairs(adapted("bert"), "another")
    with pytest.raises(ArgumentError):
        start_(adapted("bert"), "gradient")
    with pytest.raises(ArgumentError):
        start_(adapted("bert"), "pissa_niter_4")
    net = torch.nn.Sequential(torch.nn.Conv2d(2, 4, 3))
    with pytest.raises(ArgumentError) as error:
        pairs(get_peft_model(net, LoraConfig(r=2, target_modules=["0"])))
    assert error.value.code == "no-pair"


def test_embeddings_are_pairs_and_heads_are_not():
    model = adapted("bert", target_modules=["word_embeddings", "query"])
    names = [pair.name.rpartition(".")[2] for pair in pairs(model)]
    assert names == ["word_embeddings", "query", "query"]
    rest = dict(others(model, pairs(model)))
    assert {name.rpartition(".")[2] for name in rest} == {"weight", "bias"}
    assert all("classifier" in name for name in rest)
