"""One pass of the smallest kind through a model, to hold two models against one another."""

import inspect
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from eckart.jobs.running.model import Running

LENGTH: Final = 10
"""Tokens of a text."""


def answers(network: Any) -> Any:
    """What a model makes of random inputs of the smallest kind, as one row of numbers.

    Raises:
        Exception: Any, where the model wants inputs of another kind.
    """
    import torch

    inputs = _inputs(network, torch.Generator().manual_seed(1))
    names = inspect.signature(type(network).forward).parameters
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # some models draw what they mask
        made = network(**{name: value for name, value in inputs.items() if name in names})
    found = [value for value in _tensors(made) if value.is_floating_point()]
    return torch.cat([value.double().reshape(-1) for value in found])


def forward_distances(
    running: Running, base: Path, tuned: Path, adapter: Path
) -> tuple[float, float] | None:
    """How far base + adapter is from the fine-tune in units of the change, loaded and merged.

    0 is right and 1 is no effect; None where one pass through the two models shows no difference.

    Args:
        running: The model of the fine-tune.
        base: The folder of the base.
        tuned: That of the fine-tune.
        adapter: That of the adapter.

    Raises:
        Exception: Any, where a model cannot be loaded or run.

    Cost:
        One model after the other in memory in float32, and four passes.
    """
    import torch
    from peft import PeftModel

    def load(folder: Path) -> Any:
        return (
            type(running.network)
            .from_pretrained(
                folder,
                config=running.network.config,
                local_files_only=True,
                ignore_mismatched_sizes=True,
                dtype=torch.float32,
            )
            .eval()
        )

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted = answers(load(tuned))
        network = load(base)
        change = float((answers(network) - wanted).norm())
        if not change:
            return None
        model = PeftModel.from_pretrained(network, adapter).eval()
        loaded = float((answers(model.get_base_model()) - wanted).norm())
        merged = float((answers(model.merge_and_unload()) - wanted).norm())
    return loaded / change, merged / change


def _inputs(network: Any, generator: Any) -> dict[str, Any]:
    import torch

    config, main = network.config, network.main_input_name
    vocabulary = getattr(config.get_text_config(), "vocab_size", None) or 100
    tokens = torch.randint(0, vocabulary, (1, LENGTH), generator=generator)
    inputs: dict[str, Any] = {"decoder_input_ids": tokens}
    if main == "pixel_values":
        sizes = getattr(config, "image_size", None)
        size = sizes if isinstance(sizes, int) else 224
        channels = getattr(config, "num_channels", None) or 3
        inputs[main] = torch.randn(1, channels, size, size, generator=generator)
    elif main == "input_features":
        bins = getattr(config, "num_mel_bins", None) or 80
        length = 2 * (getattr(config, "max_source_positions", None) or 50)
        inputs[main] = torch.randn(1, bins, length, generator=generator)
    elif main == "input_values":
        inputs[main] = torch.randn(1, 4000, generator=generator)
    else:
        inputs["input_ids"] = tokens
    return inputs


def _tensors(made: Any) -> Iterator[Any]:
    """All tensors of an answer, however deep."""
    if hasattr(made, "is_floating_point"):
        yield made
    elif hasattr(made, "to_tuple"):
        yield from _tensors(made.to_tuple())
    elif isinstance(made, tuple | list):
        for part in made:
            yield from _tensors(part)
