"""For every kind of model: base + adapter is the fine-tune, as PEFT loads and as it merges it."""

import json
import warnings

import pytest

from adapters.architectures import BOTH, CASES, SIZES, Case
from eckart.adapters import extract_adapter
from eckart.adapters.merge import merge_adapters
from eckart.adapters.settings import Settings
from eckart.adapters.verify import verify_adapter
from tolerances import LOGITS

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]
pytest.importorskip("peft")


def distances(case: Case, base, tuned, folder):
    """Of the loaded and of the merged model to the fine-tune."""
    from peft import PeftModel

    before = type(base).from_pretrained(base.name_or_path)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        model = PeftModel.from_pretrained(base, folder)
    assert not [one for one in said if "missing adapter keys" in str(one.message)]
    loaded = case.distance(model, before, tuned)
    return loaded, case.distance(model.merge_and_unload(), before, tuned)


@pytest.mark.parametrize("name", CASES)
def test_base_and_adapter_are_the_fine_tune(name, tmp_path):
    case = CASES[name]
    base, tuned = case.models(tmp_path)
    result = extract_adapter(
        tmp_path / "base", tmp_path / "tuned", tmp_path / "adapter", tolerance=1e-7
    )
    left = [one for one in result.tensors if one.state == "not covered" and one.delta_norm]
    assert left == []
    assert max(distances(case, base, tuned, tmp_path / "adapter")) < LOGITS
    assert verify_adapter(*(tmp_path / one for one in ("adapter", "base", "tuned"))).fits
    merge_adapters(tmp_path / "base", [tmp_path / "adapter"], tmp_path / "merged")
    merged = type(tuned).from_pretrained(tmp_path / "merged")
    before = type(tuned).from_pretrained(tmp_path / "base")
    assert case.distance(merged, before, tuned) < LOGITS


def test_a_head_with_other_labels_is_saved_whole(tmp_path):
    import torch
    import transformers

    kind = transformers.BertForSequenceClassification
    torch.manual_seed(0)
    kind(transformers.BertConfig(**SIZES, num_labels=2)).save_pretrained(tmp_path / "base")
    tuned = kind.from_pretrained(tmp_path / "base", num_labels=5, ignore_mismatched_sizes=True)
    tuned.eval().save_pretrained(tmp_path / "tuned")
    extract_adapter(tmp_path / "base", tmp_path / "tuned", tmp_path / "adapter", rank=4)
    document = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert document["modules_to_save"] == ["classifier"]
    base = kind.from_pretrained(tmp_path / "base", num_labels=5, ignore_mismatched_sizes=True)
    base.save_pretrained(tmp_path / "grown")
    case = Case("BertForSequenceClassification", {}, "")
    grown = kind.from_pretrained(tmp_path / "grown").eval()
    assert max(distances(case, grown, tuned, tmp_path / "adapter")) < LOGITS
    merge_adapters(tmp_path / "base", [tmp_path / "adapter"], tmp_path / "merged")
    merged = kind.from_pretrained(tmp_path / "merged")
    assert torch.equal(merged.classifier.weight, tuned.classifier.weight)


def test_a_second_copy_of_an_unchanged_table_is_left_out(tmp_path):
    from adapters.architectures import TIED, doubled

    stored = (doubled("model.embed_tokens.weight", "lm_head.weight", "tuned"),)
    Case("LlamaForCausalLM", TIED, "q_proj", stored=stored).models(tmp_path)
    extract_adapter(tmp_path / "base", tmp_path / "tuned", tmp_path / "adapter", rank=4)
    document = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert document["modules_to_save"] is None


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("Whisper, table", None),
        ("LLaVA", None),
        ("T5, shared", "SEQ_2_SEQ_LM"),
        ("GPT-2, tied", "CAUSAL_LM"),
    ],
)
def test_the_task_is_one_whose_inputs_the_model_takes(name, task, tmp_path):
    CASES[name].models(tmp_path)
    extract_adapter(tmp_path / "base", tmp_path / "tuned", tmp_path / "adapter", rank=4)
    document = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert document["task_type"] == task


def _own_class(make):
    """A model of transformers that brings a class of its own."""
    import transformers

    class Own(transformers.PreTrainedModel):
        config_class = transformers.BertConfig

        def __init__(self, config):
            super().__init__(config)
            make(self)
            self.post_init()

    return Own


def _transposed(nn):
    def make(self):
        self.up, self.fc = nn.ConvTranspose2d(3, 4, 2, stride=2), nn.Linear(4, 5)

    return make, lambda self, pixel_values: (self.fc(self.up(pixel_values).mean((2, 3))),)


def _square_transposed(nn):
    def make(self):
        self.up, self.fc = nn.ConvTranspose2d(3, 3, 2, stride=2), nn.Linear(3, 5)

    return make, lambda self, pixel_values: (self.fc(self.up(pixel_values).mean((2, 3))),)


def _grouped(nn):
    def make(self):
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 8, 3, groups=2)
        self.fc = nn.Linear(8, 5)

    def forward(self, pixel_values):
        return (self.fc(self.second(self.first(pixel_values)).mean((2, 3))),)

    return make, forward


def _attending(nn):
    def make(self):
        self.patch, self.fc = nn.Linear(32, 16), nn.Linear(16, 5)
        self.attention = nn.MultiheadAttention(16, 4, batch_first=True)

    def forward(self, pixel_values):
        x = self.patch(pixel_values.mean(1))
        return (self.fc(self.attention(x, x, x)[0].mean(1)),)

    return make, forward


def _dilated(nn):
    def make(self):
        self.first = nn.Conv2d(3, 4, 3, padding=2, dilation=2)
        self.fc = nn.Linear(4, 5)

    return make, lambda self, pixel_values: (self.fc(self.first(pixel_values).mean((2, 3))),)


@pytest.mark.parametrize("kind", [_transposed, _square_transposed, _grouped, _dilated, _attending])
def test_a_class_that_transformers_does_not_know_gets_values_where_factors_may_be_wrong(
    kind, tmp_path
):
    import copy

    import torch
    import transformers

    make, forward = kind(torch.nn)
    own = _own_class(make)
    own.forward = forward
    torch.manual_seed(0)
    base = own(transformers.BertConfig()).eval()
    base.save_pretrained(tmp_path / "base")
    tuned = copy.deepcopy(base)
    with torch.no_grad():
        for parameter in tuned.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    tuned.save_pretrained(tmp_path / "tuned")
    extract_adapter(tmp_path / "base", tmp_path / "tuned", tmp_path / "adapter", tolerance=1e-7)
    case = Case("", {}, "", ("pixel_values",))
    fresh = own.from_pretrained(tmp_path / "base").eval()
    assert max(distances(case, fresh, tuned, tmp_path / "adapter")) < LOGITS


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({"num_hidden_layers": 3}, "layers.2."),
        ({"attention_bias": True}, "proj.bias"),
    ],
)
def test_what_the_model_of_the_base_has_no_place_for_is_not_covered(settings, wanted, tmp_path):
    import torch
    import transformers

    torch.manual_seed(0)
    sizes = {**SIZES, "tie_word_embeddings": False}
    base = transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes))
    base.save_pretrained(tmp_path / "base")
    tuned = transformers.LlamaForCausalLM(transformers.LlamaConfig(**{**sizes, **settings}))
    tuned.load_state_dict(base.state_dict(), strict=False)
    with torch.no_grad():
        tuned.model.layers[0].mlp.up_proj.weight += 0.1
        for name, parameter in tuned.named_parameters():
            if name.endswith("bias"):
                parameter += 0.1
    tuned.save_pretrained(tmp_path / "tuned")
    result = extract_adapter(tmp_path / "base", tmp_path / "tuned", tmp_path / "adapter", rank=4)
    left = {one.pair.name for one in result.tensors if one.state == "not covered"}
    new = tuned.state_dict().keys() - base.state_dict().keys()
    assert left == new
    assert all(wanted in name for name in new)


def test_a_merged_model_has_the_labels_of_a_head_that_is_new(tmp_path):
    import torch
    import transformers

    torch.manual_seed(0)
    base = transformers.BertModel(transformers.BertConfig(**SIZES), add_pooling_layer=False)
    base.save_pretrained(tmp_path / "base")
    kind = transformers.BertForTokenClassification
    tuned = kind.from_pretrained(tmp_path / "base", num_labels=5).eval()
    tuned.save_pretrained(tmp_path / "tuned")
    extract_adapter(tmp_path / "base", tmp_path / "tuned", tmp_path / "adapter", rank=4)
    merge_adapters(tmp_path / "base", [tmp_path / "adapter"], tmp_path / "merged")
    merged = kind.from_pretrained(tmp_path / "merged")
    assert torch.equal(merged.classifier.weight, tuned.classifier.weight)


def test_what_peft_does_not_load_is_found_before_it_is_written(tmp_path, monkeypatch):
    """Were a layer taken for what it is not, the check would put its values in its place."""
    from dataclasses import replace

    from eckart.adapters import placement
    from eckart.checkpoints.peft import Kind

    case = CASES["gpt-oss, router"]
    base, tuned = case.models(tmp_path)
    original = placement.running_model

    def mistaken(*configs):
        running = original(*configs)
        modules = {
            name: replace(one, kind=Kind.LINEAR) if "router" in name else one
            for name, one in running.modules.items()
        }
        return replace(running, modules=modules)

    monkeypatch.setattr(placement, "running_model", mistaken)
    result = extract_adapter(
        tmp_path / "base", tmp_path / "tuned", tmp_path / "adapter", tolerance=1e-7
    )
    routers = [one for one in result.tensors if "router.weight" in one.pair.name]
    assert {one.state for one in routers} == {"saved whole"}
    assert max(distances(case, base, tuned, tmp_path / "adapter")) < LOGITS


def test_one_pass_says_how_far_the_adapter_is_from_the_fine_tune(tmp_path):
    CASES["GPT-NeoX, head"].models(tmp_path)
    paths = (tmp_path / "base", tmp_path / "tuned", tmp_path / "adapter")
    result = extract_adapter(*paths, tolerance=1e-7, check_forward=True)
    said = next(note for note in result.notes if note.startswith("In one pass"))
    figures = [float(word) for word in said.split() if word[0].isdigit()][:2]
    assert max(figures) < LOGITS


def test_the_check_can_be_left_out():
    from eckart.adapters.settings import LayerRanks, Patterns

    settings = Settings(ranks=LayerRanks(rank=1), patterns=Patterns(), check=False)
    assert settings.to_dict()["check"] is False


def test_adapters_with_values_in_place_are_joined_cut_and_read_as_they_were(tmp_path):
    from eckart.adapters.join_and_truncate import truncate_adapter
    from eckart.checkpoints.peft import read_adapter

    case = CASES["T5, shared"]
    case.changed = r"shared|SelfAttention\.q"
    base, tuned = case.models(tmp_path)
    extract_adapter(tmp_path / "base", tmp_path / "tuned", tmp_path / "adapter", tolerance=1e-7)
    truncate_adapter(tmp_path / "adapter", tmp_path / "same", rank=32)
    assert read_adapter(tmp_path / "same").in_place == {"shared.weight"}
    assert case.inputs == BOTH
    assert max(distances(case, base, tuned, tmp_path / "same")) < LOGITS
