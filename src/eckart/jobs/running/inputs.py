"""Random inputs of the smallest kind for a model that was never met before."""

import inspect
import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, final

LENGTH: Final = 10
"""Tokens of a text."""
SAMPLES: Final = 4000
"""Of a sound."""
MOST: Final = 24
"""Sets of inputs that are tried."""
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


@final
@dataclass(frozen=True, slots=True)
class Inputs:
    """Random inputs for a model, by what its config says of their sizes.

    Fields:
        network: The model.
        generator: Of PyTorch.
    """

    network: Any
    generator: Any = field(repr=False)

    @property
    def parameters(self) -> Mapping[str, inspect.Parameter]:
        """Those of the pass through the model."""
        return inspect.signature(type(self.network).forward).parameters

    def sets(self) -> Iterator[dict[str, Any]]:
        """Sets of inputs to try, the smallest first."""
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
        first = list(dict.fromkeys([*(name for name in mains if name in names), *asked]))
        if getattr(self.network.config, "is_encoder_decoder", False):
            first = list(dict.fromkeys([*first, "decoder_input_ids"]))
        first = [name for name in first if name in names]
        more = [name for name in _OPTIONAL if name in names and name not in first]
        chosen = [first, *([*first, name] for name in more), [*first, *more]]
        tried = itertools.chain.from_iterable(map(self._alternatives, chosen))
        yield from itertools.islice(tried, MOST)

    def _alternatives(self, names: list[str]) -> Iterator[dict[str, Any]]:
        makers = [self._makers(name) for name in names]
        fixed = {"use_cache": False} if "use_cache" in self.parameters else {}
        for made in itertools.product(*makers):
            yield fixed | {name: make() for name, make in zip(names, made, strict=True)}

    def _makers(self, name: str) -> list[Callable[[], Any]]:
        """Ways to make one input, the likeliest first; none where it is not known."""
        if name.endswith("input_ids"):
            return [self._tokens]
        if name.startswith("pixel_values"):
            return self._pictures(video=name.endswith("videos"))
        if name.endswith("mask"):
            return [lambda: self._zeros(1, LENGTH) + 1]
        return self._shaped(name)

    def _shaped(self, name: str) -> list[Callable[[], Any]]:
        """Ways to make an input of numbers whose sizes the config says."""
        width = self._setting("hidden_size", "d_model", "model_in_dim") or 32
        bins = self._setting("num_mel_bins", "feature_size", "mel_bins", "input_dim") or 80
        length = 2 * (self._setting("max_source_positions") or 50)
        steps = self._setting("context_length") or 32
        channels = self._setting("num_input_channels", "input_size") or 1
        shapes = {
            "input_features": [(1, bins, length), (1, length, bins), (1, 1, length, bins)],
            "input_values": [
                (1, SAMPLES),
                (1, 1, SAMPLES),
                (1, self._setting("max_length") or length, bins),
            ],
            "inputs_embeds": [(1, LENGTH, width)],
            "hidden_states": [(1, LENGTH, width)],
            "spectrogram": [(1, LENGTH, width)],
            "past_values": [(1, steps, channels), (1, steps)],
        }.get(name, [])
        if name == "bbox":
            return [lambda: self._zeros(1, LENGTH, 4)]
        return [lambda shape=shape: self._drawn(*shape) for shape in shapes]

    def _pictures(self, *, video: bool) -> list[Callable[[], Any]]:
        sizes = self._setting("image_size", "input_size", kinds=(int, list, tuple)) or 224
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
        import torch

        config = self.network.config
        vocabulary = getattr(config.get_text_config(), "vocab_size", None) or 100
        special = set(_numbers(config.to_dict()))
        usual = [number for number in range(vocabulary) if number not in special] or [0]
        drawn = torch.randint(0, len(usual), (1, LENGTH), generator=self.generator)
        return torch.tensor(usual)[drawn]

    def _setting(self, *names: str, kinds: tuple[type, ...] = (int,)) -> Any:
        """The first of these settings that the config or a part of it has."""
        parts = [self.network.config.to_dict()]
        while parts:
            part = parts.pop(0)
            for name in names:
                if isinstance(part.get(name), kinds) and part[name]:
                    return part[name]
            parts.extend(one for one in part.values() if isinstance(one, dict))
        return None

    def _drawn(self, *shape: int) -> Any:
        import torch

        return torch.randn(*shape, generator=self.generator)

    def _zeros(self, *shape: int) -> Any:
        import torch

        return torch.zeros(*shape, dtype=torch.int64)


def _numbers(settings: Mapping[str, Any]) -> Iterator[int]:
    """Tokens that stand for something else than text."""
    for key, setting in settings.items():
        if isinstance(setting, dict):
            yield from _numbers(setting)
        elif _SPECIAL.fullmatch(str(key)) and isinstance(setting, int):
            yield setting
