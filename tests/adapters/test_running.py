"""The rules for names, kinds and ties without transformers are those of transformers."""

import json

import pytest

from adapters.architectures import CASES
from eckart.adapters import placement
from eckart.adapters.placement import Placement, TensorPair, Way
from eckart.checkpoints import open_checkpoint
from eckart.checkpoints.running import is_table
from eckart.checkpoints.running_builder import running_model

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]
pytest.importorskip("peft")


def placements(name, folder, monkeypatch):
    """By transformers, and by rules."""
    CASES[name].models(folder)
    base, tuned = (open_checkpoint(folder / one) for one in ("base", "tuned"))
    known = Placement.of(base, tuned)
    assert known.running is not None
    monkeypatch.setattr(placement, "running_model", lambda *_: None)
    return known, Placement.of(base, tuned)


@pytest.mark.parametrize("name", CASES)
def test_the_names_by_rules_are_those_of_the_running_model(name, tmp_path, monkeypatch):
    known, guessed = placements(name, tmp_path, monkeypatch)
    for side in ("base", "tuned"):
        tied = {other for group in known.ties for other in group}
        mine = {key: own for key, own in getattr(guessed, side).items() if key not in tied}
        theirs = {key: own for key, own in getattr(known, side).items() if key not in tied}
        assert mine == theirs


@pytest.mark.parametrize("name", CASES)
def test_by_rules_no_layer_is_factored_that_cannot_be(name, tmp_path, monkeypatch):
    """Rules may save whole what could be factored; never the other way round."""
    known, guessed = placements(name, tmp_path, monkeypatch)
    for tensor, shape in guessed.shapes.items():
        pair = TensorPair(name=tensor, base=tensor, tuned=tensor, shape=shape)
        mine = guessed.treat(pair, shape)
        if mine.way is Way.FACTORS:
            theirs = known.treat(pair, shape)
            assert (theirs.way, theirs.kind) == (mine.way, mine.kind), tensor


def test_a_config_of_another_model_is_not_believed(tmp_path):
    CASES["only norms"].models(tmp_path)
    for name in ("base", "tuned"):
        path = tmp_path / name / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "hidden_size": 64}))
    base, tuned = (open_checkpoint(tmp_path / one) for one in ("base", "tuned"))
    assert Placement.of(base, tuned).running is None


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"architectures": ["LlamaForCausalLM"]},
        {"architectures": ["Nothing"], "model_type": "llama"},
        {"architectures": ["AutoModel"], "model_type": "llama"},
        {"architectures": [3], "model_type": "llama"},
        {"architectures": ["LlamaForCausalLM"], "model_type": "no such"},
        {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": "much"},
        {"architectures": ["os"], "model_type": "llama", "auto_map": {"AutoModel": "evil.Evil"}},
    ],
)
def test_no_config_is_an_error(config):
    assert running_model(config) is None


def test_the_embeddings_of_albert_are_told_from_its_projection():
    assert is_table("albert.embeddings.word_embeddings")
    assert not is_table("albert.encoder.embedding_hidden_mapping_in")
    assert is_table("transformer.tokens_embed")


def test_what_the_class_above_reads_or_a_function_is_handed_has_no_factors():
    from types import SimpleNamespace

    from torch import nn

    from eckart.checkpoints.running_builder import modules_of

    class Above(nn.Module):
        def __init__(self):
            super().__init__()
            self.config = SimpleNamespace(model_type="own")
            self.table, self.first = nn.Embedding(4, 3), nn.Linear(3, 3)
            self.last = nn.Linear(3, 3)

        def forward(self, places):
            within = places.clamp(max=self.table.num_embeddings - 1)
            return self.last(nn.utils.skip_init(self.first, self.table(within)))

    class Own(Above):
        pass

    network = Own()
    found = modules_of(network, network.state_dict())
    kinds = {name: module.kind and module.kind.value for name, module in found.items()}
    assert kinds == {"table": None, "first": None, "last": "linear"}


def test_what_a_module_of_pytorch_reads_has_no_factors():
    from types import SimpleNamespace

    from torch import nn

    from eckart.checkpoints.running_builder import modules_of

    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.config = SimpleNamespace(model_type="own")
            self.attention, self.last = nn.MultiheadAttention(4, 2), nn.Linear(4, 4)

    network = Own()
    found = modules_of(network, network.state_dict())
    kinds = {name: module.kind and module.kind.value for name, module in found.items()}
    assert kinds == {"attention": None, "attention.out_proj": None, "last": "linear"}


def test_a_layer_that_only_setting_up_reads_has_factors():
    import torch
    import transformers

    from eckart.checkpoints.running_builder import modules_of

    with torch.device("meta"):
        network = transformers.UnivNetModel(transformers.UnivNetConfig())
    found = modules_of(network, network.state_dict())
    kernels = "resblocks.0.kernel_predictor"
    kinds = [found[f"{kernels}.{name}"].kind for name in ("input_conv", "kernel_conv", "bias_conv")]
    assert [kind and kind.value for kind in kinds] == ["convolution"] * 3
