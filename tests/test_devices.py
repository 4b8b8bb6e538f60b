"""Arrays of PyTorch stay tensors: products, factors and the answer of every solver."""

import numpy as np
import pytest

import eckart
import market
from eckart import backends
from eckart.backends import HOST, OnDevice
from eckart.errors import MatrixError
from registries import SOLVERS
from tolerances import SETTLED, agree, close, rounding

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_tensor_comes_back_as_tensors_with_the_error_of_the_array(solver, dtype):
    W = market.spectral("exponential").astype(dtype)
    run = eckart.factorize(torch.from_numpy(W), 5, solver=SOLVERS[solver])
    assert isinstance(run.factors.B, torch.Tensor)
    assert str(run.factors.A.dtype) == f"torch.{dtype}"
    product = run.factors.dense().numpy()
    plain = eckart.factorize(W, 5, solver=SOLVERS[solver])
    assert abs(np.linalg.norm(W - product) - run.certificate.error) <= rounding(W, 2)
    assert agree(run.certificate.error, plain.certificate.error, SETTLED)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_computed_in_float32(dtype):
    W = torch.from_numpy(market.spectral("power law")).to(getattr(torch, dtype))
    run = eckart.factorize(W, 3)
    assert run.factors.B.dtype == torch.float32
    exact = W.to(torch.float64).numpy()
    assert run.certificate.error <= market.optimum(exact, 3) * (1 + SETTLED)


def test_factors_of_tensors_multiply_truncate_and_are_saved(tmp_path):
    B, A = torch.ones((4, 2), dtype=torch.float64), torch.eye(2, 3, dtype=torch.float64)
    factors = eckart.Factors(B, A)
    assert isinstance(factors @ torch.ones((3, 1)), torch.Tensor)
    assert isinstance(factors.truncate(1).B, torch.Tensor)
    factors.save(tmp_path / "factors.npz")
    stored = eckart.read_factors(tmp_path / "factors.npz")
    assert close(stored.dense(), (B @ A).numpy(), 0.0)


def test_a_place_is_a_module_and_a_device():
    here, there = OnDevice(torch.ones(2)), OnDevice(torch.ones(2, device="meta"))
    assert here == OnDevice(torch.zeros(3, 1))
    assert hash(here) == hash(OnDevice(torch.zeros(1)))
    assert here not in (there, HOST)
    factors = eckart.Factors(torch.ones((3, 1)), torch.ones((1, 3)))
    assert factors.on(here) is factors
    assert isinstance(factors.on(HOST).B, np.ndarray)


def test_what_is_on_another_device_is_taken_to_that_of_the_matrix(monkeypatch):
    """Two devices that PyTorch itself tells apart, and between which it refuses to multiply."""
    moved = []
    elsewhere, plain = torch.ones((3, 1)), backends.namespace_of
    other = OnDevice(torch.ones(2, device="meta"))
    monkeypatch.setattr(backends, "namespace_of", lambda X: other if X is elsewhere else plain(X))
    monkeypatch.setattr(OnDevice, "get", lambda self, X: moved.append(self) or X.numpy())
    W = eckart.as_matrix(torch.eye(3))
    assert isinstance(W @ elsewhere, torch.Tensor)
    assert moved == [other]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.int64])
def test_arrays_and_tensors_multiply_one_another_where_the_left_one_is(dtype):
    W = market.spectral("exponential")
    rank, columns = 3, W.shape[1]
    tensor, array = torch.ones((columns, 2), dtype=dtype), np.ones((columns, 2))
    kept = eckart.factorize(W, rank).factors
    lent = eckart.Factors(torch.from_numpy(kept.B).float(), kept.A.astype(np.float32))
    for left in (kept, eckart.as_matrix(W)):
        product = left @ tensor
        assert isinstance(product, np.ndarray)
        assert close(product, left @ array, rounding(W))
    for left in (lent, eckart.as_matrix(torch.from_numpy(W))):
        product = left @ array
        assert isinstance(product, torch.Tensor)
        assert close(
            product.numpy(),
            W @ array if left is not lent else kept @ array,
            rounding(W, 4, np.float32),
        )


@pytest.mark.filterwarnings("ignore:torch.quantize")
def test_a_tensor_of_codes_is_refused():
    codes = torch.quantize_per_tensor(torch.ones((3, 3)), 0.1, 0, torch.qint8)
    with pytest.raises(MatrixError, match="not numbers"):
        eckart.factorize(codes, 1)


def test_a_sparse_tensor_is_refused_with_what_to_do():
    with pytest.raises(MatrixError, match="SciPy sparse"):
        eckart.factorize(torch.eye(4).to_sparse(), 1)
