"""One pass of the smallest kind through a model, to hold two models against one another."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from eckart.jobs.running.building import alone
from eckart.jobs.running.inputs import Inputs
from eckart.jobs.running.model import Running


def answers(network: Any, like: Any = None) -> Any:
    """What a model makes of random inputs of the smallest kind, as one row of numbers.

    Args:
        network: The model.
        like: The same model without an adapter, whose layers tell what inputs it takes; None where
            it has none.

    Raises:
        Exception: Any, where the model wants inputs of another kind.
    """
    import torch

    first: Exception | None = None
    for inputs in Inputs(like or network, torch.Generator().manual_seed(1)).sets():
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # some models draw what they mask
            try:
                made = network(**inputs)
            except Exception as error:  # a model refuses inputs with any error of its own
                first = first or error
                continue
        found = [value for value in _tensors(made) if value.is_floating_point()]
        return torch.cat([value.double().reshape(-1) for value in found])
    raise first or TypeError("what it takes as inputs is not known")


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
        Two models in memory in float32, and four passes.
    """
    from peft import PeftModel

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain, _ = loaded_network(running, tuned)
        wanted = answers(plain)
        network, _ = loaded_network(running, base)
        change = float((answers(network) - wanted).norm())
        if not change:
            return None
        model = PeftModel.from_pretrained(network, adapter).eval()
        loaded = float((answers(model.get_base_model(), plain) - wanted).norm())
        merged = float((answers(model.merge_and_unload()) - wanted).norm())
    return loaded / change, merged / change


def loaded_network(running: Running, folder: Path) -> tuple[Any, list[str]]:
    """A network with the weights of a folder in float32, and the names of those it lacks.

    Raises:
        Exception: Any, where the weights cannot be loaded.

    Cost:
        The network in memory.
    """
    import torch

    with alone():
        network, found = type(running.network).from_pretrained(
            folder,
            config=running.network.config,
            local_files_only=True,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            dtype=torch.float32,
        )
    mismatched = [str(name) for name, *_ in found["mismatched_keys"]]
    return network.eval(), sorted([*found["missing_keys"], *mismatched])


def _tensors(made: Any) -> Iterator[Any]:
    """All tensors of an answer, however deep."""
    if hasattr(made, "is_floating_point"):
        yield made
    elif hasattr(made, "to_tuple"):
        yield from _tensors(made.to_tuple())
    elif isinstance(made, tuple | list):
        for part in made:
            yield from _tensors(part)
