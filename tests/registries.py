"""The lists that every contract test is parametrised by."""

from collections.abc import Callable

import numpy as np

import eckart
import market
from eckart.factor import factor_command
from eckart.matrices import Dense, Difference, Matrix, Rescaled, Sparse, Transposed
from eckart.solvers import Solver
from eckart.solvers.starts import GivenStart, Start

DENSE_AND_SPARSE = market.sparse()
KINDS: dict[str, tuple[Matrix, np.ndarray]] = {
    "dense": (Dense(market.spectral("power law")), market.spectral("power law")),
    "dense float32": (
        Dense(market.MATRICES["float32"]()),
        market.MATRICES["float32"](),
    ),
    "dense, columns first": (
        Dense(np.asfortranarray(market.spectral("exponential"))),
        market.spectral("exponential"),
    ),
    "dense integers": (Dense(np.arange(12).reshape(3, 4)), np.arange(12.0).reshape(3, 4)),
    "sparse": (Sparse(DENSE_AND_SPARSE), DENSE_AND_SPARSE.toarray()),
    "sparse float32": (
        Sparse(DENSE_AND_SPARSE.astype(np.float32)),
        DENSE_AND_SPARSE.toarray().astype(np.float32),
    ),
    "factors": (
        eckart.Factors(np.arange(8.0).reshape(4, 2), np.arange(6.0).reshape(2, 3)),
        np.arange(8.0).reshape(4, 2) @ np.arange(6.0).reshape(2, 3),
    ),
    "difference": (
        Difference(Dense(market.spectral("flat")), Dense(market.spectral("clustered"))),
        market.spectral("flat") - market.spectral("clustered"),
    ),
    "difference of sparse and factors": (
        Difference(Sparse(DENSE_AND_SPARSE), eckart.Factors(np.ones((50, 1)), np.ones((1, 40)))),
        DENSE_AND_SPARSE.toarray() - 1.0,
    ),
    "rescaled": (
        Rescaled(Dense(market.spectral("exponential")), 70),
        market.spectral("exponential") * 2.0**70,
    ),
    "transposed": (
        Transposed(Dense(market.spectral("exponential"))),
        market.spectral("exponential").T,
    ),
    "transposed sparse": (Transposed(Sparse(DENSE_AND_SPARSE)), DENSE_AND_SPARSE.toarray().T),
}
SOLVERS: dict[str, Solver] = {
    # every solver of the command line, with its defaults
    **{name: entry.make({}) for name, entry in factor_command.SOLVERS.items()},
    "gd": eckart.GradientDescent(epochs=4000),
    "gd with momentum": eckart.GradientDescent(epochs=4000, momentum=0.5),
}


def _given(W: Matrix, rank: int) -> Start:
    generator = np.random.default_rng(5)
    B = generator.standard_normal((W.shape[0], rank))
    return GivenStart(given=eckart.Factors(B, generator.standard_normal((rank, W.shape[1]))))


STARTS: dict[str, Callable[[Matrix, int], Start]] = {
    "lora": lambda *_: eckart.LoRAStart(),
    "lora, B random": lambda *_: eckart.LoRAStart(gaussian="B"),
    "lora, sigma given": lambda *_: eckart.LoRAStart(sigma=0.5),
    "spectral": lambda *_: eckart.SpectralStart(),
    "given": _given,
}
