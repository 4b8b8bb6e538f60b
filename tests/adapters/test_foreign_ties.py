"""Adapters of PEFT that change one or both names of a tied table: merged as PEFT runs them."""

import warnings

import pytest

from adapters.loading import difference, load
from adapters.models import llama
from adapters.test_merge_peft import loaded, saved
from eckart.jobs.join import join_folders
from eckart.jobs.merge import merge_adapters
from eckart.jobs.resize import truncate_adapter
from tolerances import LOGITS

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]
pytest.importorskip("peft")

BOTH = ["embed_tokens", "lm_head"]
CASES = {
    "the table saved alone": {"modules_to_save": ["embed_tokens"]},
    "both saved, ensured": {"modules_to_save": BOTH, "ensure_weight_tying": True},
    "the head saved alone": {"modules_to_save": ["lm_head"]},
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
    join_folders([folder, folder], [0.5, 0.5], tmp_path / "joined")
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
