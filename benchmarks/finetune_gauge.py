"""How far factors of one product end from each other: optimisers and the gauge (B·T, T⁻¹·A).

    PYTHONPATH=tests python benchmarks/finetune_gauge.py

Twenty steps from B and A, and from B·T and T⁻¹·A, with decay and clipping; then once more with the
gauge changed after ten steps. The table has ‖ΔW − ΔW'‖ / ‖ΔW'‖ at the end, in float64.
"""

from typing import Any, Final

import torch
from peft import LoraConfig, get_peft_model
from peft.optimizers import create_riemannian_optimizer

from eckart.torch import AdamW
from finetuning.test_optimizers import DECAYED, INVARIANT, SCALE, distance, gauges, trained

RATE: Final = 0.05
OTHERS: Final = {
    "AdamW": lambda pairs: AdamW(pairs, lr=RATE, **DECAYED),
    "LoRA+": lambda pairs: AdamW(pairs, lr=RATE, ratio=16.0, **DECAYED),
    "PEFT's Riemannian": lambda pairs: riemannian(pairs[0]),
}


def riemannian(pair: Any) -> Any:
    """PEFT's optimiser for a layer that has the factors of a pair."""
    outputs, inputs = pair.B.shape[0], pair.A.shape[1]
    base = torch.nn.Sequential(torch.nn.Linear(inputs, outputs, bias=False))
    config = LoraConfig(r=pair.rank, lora_alpha=SCALE * pair.rank, target_modules=["0"])
    model = get_peft_model(base.double(), config)
    layer: Any = model.base_model.model[0]
    layer.lora_B.default.weight, layer.lora_A.default.weight = pair.B, pair.A
    return create_riemannian_optimizer(model, optimizer_cls=torch.optim.AdamW, lr=RATE)


def main() -> None:
    turned = gauges()
    invariant = {
        name: lambda pairs, make=make: make(pairs, **DECAYED) for name, make in INVARIANT.items()
    }
    print(f"| optimiser | start in a gauge: {', '.join(turned)} | gauge changed in mid-run |")
    print("|---|---|---|")
    for name, make in {**invariant, **OTHERS}.items():
        plain = trained(make)
        start = [distance(trained(make, one), plain) for one in turned.values()]
        changed = [distance(trained(make, None, one), plain) for one in turned.values()]
        cells = (", ".join(f"{value:.0e}" for value in row) for row in (start, changed))
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
