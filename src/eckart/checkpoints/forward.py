"""One forward pass of small random inputs, to compare two models with one another."""

import inspect
import itertools
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, final

from eckart.checkpoints.folder import JsonObject
from eckart.checkpoints.running import Running
from eckart.checkpoints.running_builder import alone

LENGTH: Final = 10
"""Tokens of a random text."""
SAMPLES: Final = 4000
"""Samples of a random sound."""
MOST: Final = 24
"""The most sets of inputs that are tried."""
_OPTIONAL: Final = (
    "input_ids",
    "pixel_values",
    "decoder_input_ids",
    "bbox",
    "input_features",
    "input_values",
)
"""Inputs that a model may need although it can be called without them."""
_SPECIAL: Final = re.compile(r".*token_(?:id|index)")
"""Settings whose value is a special token, such as that of an image, which needs other inputs."""


@final
@dataclass(frozen=True, slots=True)
class Inputs:
    """Random inputs for a model, of the sizes that its config states.

    Fields:
        network: The model.
        generator: Random number generator of PyTorch.
    """

    network: Any
    generator: Any = field(repr=False)

    @property
    def parameters(self) -> Mapping[str, inspect.Parameter]:
        """The parameters of the `forward` of the model."""
        return inspect.signature(type(self.network).forward).parameters

    def sets(self) -> Iterator[dict[str, Any]]:
        """Yield sets of inputs to try, the smallest set first."""
        names = self.parameters
        main = self.network.main_input_name
        mains = [main] if isinstance(main, str) else list(main)
        asked = [
            name
            for name, parameter in names.items()
            if parameter.default is inspect.Parameter.empty
            and parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
            and name != "self"
        ]
        coded = getattr(self.network.config, "is_encoder_decoder", False)
        wanted: list[str] = [*mains, *asked, *(["decoder_input_ids"] if coded else [])]
        first = [name for name in dict.fromkeys(wanted) if name in names]
        more = [name for name in _OPTIONAL if name in names and name not in first]
        chosen = [first, *([*first, name] for name in more), [*first, *more]]
        tried = itertools.chain.from_iterable(map(self._alternatives, chosen))
        yield from itertools.islice(tried, MOST)

    def _alternatives(self, names: list[str]) -> Iterator[dict[str, Any]]:
        """Yield the combinations of all ways to make some inputs."""
        makers = [self._makers(name) for name in names]
        fixed = {"use_cache": False} if "use_cache" in self.parameters else {}
        for made in itertools.product(*makers):
            yield fixed | {name: make() for name, make in zip(names, made, strict=True)}

    def _makers(self, name: str) -> list[Callable[[], Any]]:
        """Ways to make one input, the likeliest first; none if the input is unknown."""
        if name.endswith("input_ids"):
            return [self._tokens]
        if name.startswith("pixel_values"):
            return self._pictures(video=name.endswith("videos"))
        if name.endswith("mask"):
            return [lambda: self._filled(1, 1, LENGTH)]
        return self._shaped(name)

    def _shaped(self, name: str) -> list[Callable[[], Any]]:
        """Ways to make an input of numbers whose sizes the config states."""
        if name == "bbox":
            return [lambda: self._filled(0, 1, LENGTH, 4)]
        width = self._setting("hidden_size", "d_model", "model_in_dim") or 32
        bins = self._setting("num_mel_bins", "feature_size", "mel_bins", "input_dim") or 80
        length = 2 * (self._setting("max_source_positions") or 50)
        steps = self._setting("context_length") or 32
        channels = self._setting("num_input_channels", "input_size") or 1
        sound = self._setting("max_length") or length
        shapes = {
            "input_features": [(1, bins, length), (1, length, bins), (1, 1, length, bins)],
            "input_values": [(1, SAMPLES), (1, 1, SAMPLES), (1, sound, bins)],
            "past_values": [(1, steps, channels), (1, steps)],
        }.get(name, [])
        if name in ("inputs_embeds", "hidden_states", "spectrogram"):
            shapes = [(1, LENGTH, width)]
        return [lambda shape=shape: self._drawn(*shape) for shape in shapes]

    def _pictures(self, *, video: bool) -> list[Callable[[], Any]]:
        """Ways to make a picture or a video."""
        sizes = self._setting("image_size", "input_size", kinds=(int, list, tuple)) or 224
        # sizes of pictures are a number, or a pair or list of them
        height, width = (sizes, sizes) if isinstance(sizes, int) else (sizes[0], sizes[-1])
        channels = self._setting("num_channels", "in_channels", "in_chans") or 3
        frames = self._setting("num_frames") or 2
        made = [
            lambda: self._drawn(1, channels, height, width),
            lambda: self._drawn(1, frames, channels, height, width),
            lambda: self._drawn(1, channels, 64, 64),
        ]
        return made[1:2] if video else made

    def _tokens(self) -> Any:
        """A text of random tokens without special ones."""
        import torch

        config = self.network.config
        vocabulary = getattr(config.get_text_config(), "vocab_size", None) or 100
        special = set(_numbers(config.to_dict()))
        usual = [number for number in range(vocabulary) if number not in special] or [0]
        drawn = torch.randint(0, len(usual), (1, LENGTH), generator=self.generator)
        return torch.tensor(usual)[drawn]

    def _setting(self, *names: str, kinds: tuple[type, ...] = (int,)) -> Any:
        """The first of these settings that the config has, or a nested config of a part."""
        parts = [self.network.config.to_dict()]
        while parts:
            # breadth first: a setting of the whole model counts before one of a part
            part = parts.pop(0)
            for name in names:
                if isinstance(part.get(name), kinds) and part[name]:
                    return part[name]
            parts.extend(one for one in part.values() if isinstance(one, dict))
        return None

    def _drawn(self, *shape: int) -> Any:
        import torch

        return torch.randn(*shape, generator=self.generator)

    def _filled(self, value: int, *shape: int) -> Any:
        import torch

        return torch.full(shape, value)


def _numbers(settings: JsonObject) -> Iterator[int]:
    """Yield the special tokens of a config, which stand for something other than text."""
    for key, setting in settings.items():
        if isinstance(setting, dict):
            yield from _numbers(setting)
        elif _SPECIAL.fullmatch(str(key)) and isinstance(setting, int):
            yield setting


def answers(network: Any, like: Any = None) -> Any:
    """The outputs of a model for small random inputs, as one row of numbers.

    A model with an adapter takes the inputs of one `like` it without adapter.
    """
    import torch

    first: Exception | None = None
    # the generator makes inputs equal for all models that are compared
    for inputs in Inputs(like or network, torch.Generator().manual_seed(1)).sets():
        # the random state of the caller is left as it was
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # some models draw their masks at random
            try:
                made = network(**inputs)
            except Exception as error:  # a model refuses inputs with errors of any kind
                first = first or error
                continue
        found = [value for value in _tensors(made) if value.is_floating_point()]
        return torch.cat([value.double().reshape(-1) for value in found])
    raise first or TypeError("what it takes as inputs is not known")


def forward_distances(
    running: Running, base: Path, tuned: Path, adapter: Path
) -> tuple[float, float] | None:
    """The distance of base + adapter from the fine-tune, relative to that of the base alone.

    It is ‖f(base + adapter) − f(tuned)‖ / ‖f(base) − f(tuned)‖ for the outputs f of one pass: 0 is
    right and 1 is no effect.

    Returns:
        The distance with the adapter loaded, and with the adapter merged; None if the outputs of
        base and fine-tune do not differ.

    Cost:
        Two models in memory in float32, and four passes.
    """
    from peft import PeftModel

    with warnings.catch_warnings(action="ignore"):
        plain, _ = load_network(running, tuned)
        wanted = answers(plain)
        network, _ = load_network(running, base)
        change = float((answers(network) - wanted).norm())
        if not change:
            return None
        model = PeftModel.from_pretrained(network, adapter).eval()
        loaded = float((answers(model.get_base_model(), plain) - wanted).norm())
        # last, because merging changes the weights of the base
        merged = float((answers(model.merge_and_unload()) - wanted).norm())
    return loaded / change, merged / change


def load_network(running: Running, folder: Path) -> tuple[Any, list[str]]:
    """Load the weights of a folder in float32.

    Returns:
        The network, and the names of its parameters that the folder lacks or has in another shape.

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
    """Yield all tensors of an output, at any depth."""
    if hasattr(made, "is_floating_point"):
        yield made
    elif hasattr(made, "to_tuple"):
        yield from _tensors(made.to_tuple())
    elif isinstance(made, tuple | list):
        for part in made:
            yield from _tensors(part)
