"""Small adapters without a model behind them."""

import numpy as np

from eckart import Factors
from eckart.checkpoints.peft import AdaptedLayer, Adapter, Kind, matrix_shape


def layer(
    module: str = "q",
    shape: tuple[int, ...] = (6, 5),
    rank: int = 2,
    kind: Kind = Kind.LINEAR,
    seed: int = 0,
    *,
    bias: bool = False,
) -> AdaptedLayer:
    """A layer with random factors."""
    generator = np.random.default_rng([seed, *module.encode()])
    rows, columns = matrix_shape(shape)
    B = generator.standard_normal((rows, rank)).astype(np.float32)
    A = generator.standard_normal((rank, columns)).astype(np.float32)
    outputs = shape[1] if kind is Kind.TRANSPOSED else shape[0]
    change = generator.standard_normal(outputs).astype(np.float32) if bias else None
    return AdaptedLayer(module=module, kind=kind, factors=Factors(B, A), shape=shape, bias=change)


def mixed(seed: int = 0) -> Adapter:
    """One layer of each kind, of different ranks, and saved values in three dtypes."""
    import ml_dtypes

    generator = np.random.default_rng(seed)
    layers = (
        layer("model.layers.1.fc", (6, 5), 2, seed=seed),
        layer("model.layers.11.fc", (6, 5), 3, seed=seed),
        layer("model.c_attn", (4, 9), 2, Kind.TRANSPOSED, seed),
        layer("model.table", (30, 7), 4, Kind.EMBEDDING, seed),
        layer("model.conv", (8, 3, 5, 5), 2, Kind.CONVOLUTION, seed),
    )
    saved = {
        "model.norm.weight": generator.standard_normal(5).astype(np.float16),
        "model.norm.bias": generator.standard_normal(5).astype(ml_dtypes.bfloat16),
        "model.layers.1.fc.bias": generator.standard_normal(6).astype(np.float32),
    }
    return Adapter(layers=layers, saved=saved, task_type="CAUSAL_LM", base_name="someone/model")


def experts(block: str = "layers.0.mlp.experts", count: int = 2, rank: int = 2) -> list:
    """All projections of all experts of a layer."""
    shapes = {"gate_proj": (8, 6), "up_proj": (8, 6), "down_proj": (6, 8)}
    return [
        layer(f"{block}.{number}.{name}", shape, rank)
        for number in range(count)
        for name, shape in shapes.items()
    ]
