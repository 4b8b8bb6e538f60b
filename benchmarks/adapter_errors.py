"""How good an extracted adapter is: beside the best of its rank, and beside the planted change."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from llama import Llama, change
from safetensors import safe_open

from eckart.checkpoints import Checkpoint, open_checkpoint

Array: TypeAlias = npt.NDArray[np.float64]

PREFIX = "base_model.model."
ROWS = 8192
"""That are subtracted at a time."""


@dataclass(frozen=True, slots=True)
class Product:
    """B·A of a layer, with W's orientation.

    Fields:
        B: Array of shape (rows, rank).
        A: Array of shape (rank, columns).
    """

    B: Array
    A: Array


def products(adapter: Path) -> dict[str, Product]:
    """Of all layers of an adapter of PEFT, whose alpha is its rank, by the name of the weight."""
    with safe_open(adapter / "adapter_model.safetensors", framework="numpy") as file:
        tensors = {
            name.removeprefix(PREFIX): file.get_tensor(name).astype(np.float64)
            for name in file.keys()  # noqa: SIM118 the handle is no dict
            if "lora_" in name
        }
    found: dict[str, Product] = {}
    for name, A in tensors.items():
        if name.endswith(".lora_A.weight"):
            stem = name.removesuffix(".lora_A.weight")
            found[f"{stem}.weight"] = Product(tensors[f"{stem}.lora_B.weight"], A)
        elif name.endswith(".lora_embedding_A"):  # PEFT keeps the change of a table transposed
            stem = name.removesuffix(".lora_embedding_A")
            B = tensors[f"{stem}.lora_embedding_B"]
            found[f"{stem}.weight"] = Product(A.T, B.T)
    return found


@dataclass(frozen=True, slots=True)
class Judge:
    """The pair whose change was extracted.

    Fields:
        llama: Its shapes and seeds.
        base, tuned: Opened.
        known: The file that keeps the squared singular values of ΔW.
    """

    llama: Llama
    base: Checkpoint
    tuned: Checkpoint
    known: Path

    @staticmethod
    def of(llama: Llama, base: Path, tuned: Path) -> "Judge":
        """Open both."""
        known = base.parent / "squares.json"
        return Judge(llama, open_checkpoint(base), open_checkpoint(tuned), known)

    def names(self, layers: int) -> list[str]:
        """Of the weights of the tables and of some layers, evenly chosen."""
        chosen = np.linspace(0, self.llama.layers - 1, min(layers, self.llama.layers)).astype(int)
        stems = tuple(f"model.layers.{number}." for number in chosen)
        shapes = self.llama.shapes()
        return [
            name
            for name in shapes
            if len(shapes[name]) == 2 and (name.startswith(stems) or ".layers." not in name)
        ]

    def optimum(self, name: str, rank: int) -> float:
        """The error of the best factors of a rank, from the eigenvalues of ΔWᵀΔW in float64."""
        known: dict[str, list[float]] = {}
        if self.known.exists():
            known = json.loads(self.known.read_text())
        if name not in known:
            known[name] = [float(value) for value in self._squares(name)]
            self.known.write_text(json.dumps(known))
        return math.sqrt(math.fsum(sorted(known[name])[:-rank]))

    def error(self, name: str, product: Product) -> float:
        """‖ΔW − B·A‖ in float64."""
        return math.sqrt(
            math.fsum(
                float(np.square(block - product.B[start : start + len(block)] @ product.A).sum())
                for start, block in self._deltas(name)
            )
        )

    def distance(self, name: str, product: Product) -> tuple[float, float]:
        """‖B·A − P‖² and ‖P‖², with P the planted change."""
        planted = change(self.llama, name).planted
        left, right = planted.B.astype(np.float64), planted.A.astype(np.float64)
        B, A = np.hstack([product.B, -left]), np.vstack([product.A, right])
        # both by QR, so that the squares of what is near do not cancel
        return _squared_norm(B, A), _squared_norm(left, right)

    def _squares(self, name: str) -> Any:
        rows, columns = self.llama.shapes()[name]
        gram: Any = 0.0
        if rows < columns:
            whole = np.vstack([block for _, block in self._deltas(name)])
            gram = whole @ whole.T
        else:
            for _, block in self._deltas(name):
                gram = gram + block.T @ block
        return np.maximum(np.linalg.eigvalsh(gram), 0.0)

    def _deltas(self, name: str) -> Iterator[tuple[int, Array]]:
        before, after = self.base.read(name), self.tuned.read(name)
        for start in range(0, len(before), ROWS):
            place = slice(start, start + ROWS)
            yield start, after[place].astype(np.float64) - before[place].astype(np.float64)


def _squared_norm(B: Array, A: Array) -> float:
    left, right = np.linalg.qr(B, mode="r"), np.linalg.qr(A.T, mode="r")
    return float(np.square(left @ right.T).sum())
