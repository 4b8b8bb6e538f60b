"""Arrays of PyTorch stay tensors: products, factors and the answer of every solver."""

import numpy as np
import pytest

import eckart
import market
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


def test_a_sparse_tensor_is_refused_with_what_to_do():
    with pytest.raises(MatrixError, match="SciPy sparse"):
        eckart.factorize(torch.eye(4).to_sparse(), 1)
