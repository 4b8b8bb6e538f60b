"""Adapters of PEFT that change one or both names of a tied table: merged as PEFT runs them."""

import warnings

import pytest

from adapters.loading import difference, load
from adapters.models import llama
from adapters.test_merge_peft import loaded, saved
from eckart.adapters.join_and_truncate import join_adapters, truncate_adapter
from eckart.adapters.merge import merge_adapters
from tolerances import LOGITS

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]
pytest.importorskip("peft")

BOTH = ["embed_tokens", "lm_head"]
CASES = {
    "the table saved alone": {"modules_to_save": ["embed_tokens"]},
    "both saved, ensured": {"modules_to_save": BOTH, "ensure_weight_tying": True},
    "the head saved alone": {"modules_to_save": ["lm_head"]},
    "factors of the table alone": {"target_modules": ["q_proj", "embed_tokens"]},
    "factors of the head alone": {"target_modules": ["q_proj", "lm_head"]},
    "factors of both, each their own": {"target_modules": ["q_proj", *BOTH]},
    "factors of both, ensured": {
        "target_modules": ["q_proj", *BOTH],
        "ensure_weight_tying": True,
    },
}


def trained(base, folder, settings):
    """An adapter of PEFT, all its parameters changed."""
    import torch
    from peft import LoraConfig, get_peft_model

    chosen = {"r": 4, "target_modules": ["q_proj"], "init_lora_weights": False, **settings}
    generator = torch.Generator().manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = get_peft_model(base, LoraConfig(**chosen))
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
        model.save_pretrained(folder)


def logits(model):
    """Of some tokens."""
    import torch

    tokens = torch.randint(0, 32, (2, 9), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return model.eval()(tokens).logits.float().numpy()


@pytest.mark.parametrize("name", CASES)
def test_the_merged_model_answers_as_the_adapter_that_peft_loads(name, tmp_path):
    base = saved(llama(tied=True), tmp_path / "base")
    folder = tmp_path / "adapter"
    trained(loaded(llama(tied=True), base), folder, CASES[name])
    plain = loaded(llama(tied=True), base)
    wanted = logits(load(plain, folder).model)
    merge_adapters(base, [folder], tmp_path / "merged")
    assert difference(logits(loaded(plain, tmp_path / "merged")), wanted) < LOGITS
    truncate_adapter(folder, tmp_path / "same", rank=64)
    join_adapters([folder, folder], tmp_path / "joined", weights=[0.5, 0.5])
    for other in ("same", "joined"):
        again = load(loaded(plain, base), tmp_path / other)
        assert difference(logits(again.model), wanted) < LOGITS


def test_adapters_that_change_a_table_together_and_apart_are_not_added_up(tmp_path):
    from eckart.errors import MatrixError

    base = saved(llama(tied=True), tmp_path / "base")
    for name in ("factors of the head alone", "both saved, ensured"):
        trained(loaded(llama(tied=True), base), tmp_path / name, CASES[name])
    folders = [tmp_path / name for name in ("factors of the head alone", "both saved, ensured")]
    with pytest.raises(MatrixError, match="apart"):
        merge_adapters(base, folders, tmp_path / "merged")


def t5():
    """One table for the inputs of both halves and the head."""
    from transformers import T5Config, T5ForConditionalGeneration

    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 1, "num_heads": 2}
    return T5ForConditionalGeneration(T5Config(vocab_size=32, **sizes))


def bert():
    """One table for the inputs and a head that has another name than most."""
    from transformers import BertConfig, BertForMaskedLM

    from adapters.models import SIZES

    return BertForMaskedLM(BertConfig(**{**SIZES, "vocab_size": 32}))


def answers(model):
    """Of some tokens, whatever the model is."""
    import torch

    tokens = torch.randint(3, 32, (2, 9), generator=torch.Generator().manual_seed(1))
    halves = {"decoder_input_ids": tokens} if model.config.is_encoder_decoder else {}
    with torch.no_grad():
        return model.eval()(input_ids=tokens, **halves).logits.float().numpy()


@pytest.mark.parametrize(
    ("make", "settings", "is_merged"),
    [
        (t5, {"target_modules": ["q"], "modules_to_save": ["lm_head"]}, True),
        (t5, {"target_modules": ["q", "shared"]}, False),
        (t5, {"target_modules": ["q"], "modules_to_save": ["shared"]}, False),
        (bert, {"target_modules": ["query"], "bias": "all"}, True),  # a bias of two names
        (bert, {"target_modules": ["query", "word_embeddings"]}, False),
        (bert, {"target_modules": ["query"], "modules_to_save": ["word_embeddings"]}, False),
        (bert, {"target_modules": ["query"], "modules_to_save": ["decoder"]}, False),
        (bert, {"target_modules": ["query", "decoder"]}, False),
    ],
)
def test_one_use_of_a_table_is_merged_where_it_can_have_its_own_and_else_refused(
    make, settings, is_merged, tmp_path
):
    from eckart.errors import MatrixError

    base = saved(make(), tmp_path / "base")
    trained(loaded(make(), base), tmp_path / "adapter", settings)
    wanted = answers(load(loaded(make(), base), tmp_path / "adapter").model)
    if is_merged:
        merge_adapters(base, [tmp_path / "adapter"], tmp_path / "merged")
        assert difference(answers(loaded(make(), tmp_path / "merged")), wanted) < LOGITS
    else:
        with pytest.raises(MatrixError, match="alone of one table") as caught:
            merge_adapters(base, [tmp_path / "adapter"], tmp_path / "merged")
        assert caught.value.code == "tied"
    truncate_adapter(tmp_path / "adapter", tmp_path / "same", rank=64)
    again = load(loaded(make(), base), tmp_path / "same")
    assert difference(answers(again.model), wanted) < LOGITS


def test_a_saved_module_with_parameters_of_its_own_is_cut_with_all_below_it(tmp_path):
    """SigLIP's head has a probe beside its layers."""
    import torch
    from transformers import SiglipVisionConfig, SiglipVisionModel

    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1}
    config = SiglipVisionConfig(**sizes, num_attention_heads=2, image_size=16, patch_size=8)
    base = saved(SiglipVisionModel(config), tmp_path / "base")
    settings = {"target_modules": ["q_proj"], "modules_to_save": ["head"]}
    trained(loaded(SiglipVisionModel(config), base), tmp_path / "adapter", settings)
    truncate_adapter(tmp_path / "adapter", tmp_path / "same", rank=64)
    pixels = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    found = []
    for name in ("adapter", "same"):
        model = load(loaded(SiglipVisionModel(config), base), tmp_path / name).model
        with torch.no_grad():
            found.append(model.eval()(pixel_values=pixels).pooler_output.numpy())
    assert difference(found[1], found[0]) < LOGITS
