"""A base and its fine-tune in, an adapter out: PEFT makes the fine-tune of it, for every kind."""

import shutil

import pytest

from adapters.loading import check_fine_tune, difference, load, merged
from adapters.models import PAIRS, Pair, llama, quiet, tune
from eckart.adapters import extract_adapter
from tolerances import LOGITS

pytestmark = pytest.mark.torch
pytest.importorskip("peft")

FULL = 128


def saved(pair: Pair, folder):
    """Both models as checkpoints."""
    from safetensors.torch import save_file

    for name, model in (("base", pair.base), ("tuned", pair.tuned)):
        if hasattr(model, "save_pretrained"):
            model.save_pretrained(folder / name)
        else:
            (folder / name).mkdir()
            tensors = {key: value.contiguous() for key, value in model.state_dict().items()}
            save_file(tensors, folder / name / "model.safetensors")
    return folder / "base", folder / "tuned"


@pytest.mark.parametrize("name", PAIRS)
def test_the_adapter_of_full_rank_is_the_fine_tune(name, tmp_path):
    pair = PAIRS[name]()
    base, tuned = saved(pair, tmp_path)
    result = extract_adapter(base, tuned, tmp_path / "adapter", rank=FULL)
    check_fine_tune(pair, tmp_path / "adapter")
    assert result.relative_error < LOGITS


def test_a_grown_vocabulary_is_saved_whole(tmp_path):
    base = llama()
    with quiet():
        grown = llama()
        grown.resize_token_embeddings(70)
    pair = Pair(base, tune(grown, "proj|embed_tokens|lm_head"))
    before, after = saved(pair, tmp_path)
    result = extract_adapter(before, after, tmp_path / "adapter", rank=FULL)
    whole = {one.pair.name for one in result.tensors if one.pair.resized}
    assert whole == {"model.embed_tokens.weight", "lm_head.weight"}
    with quiet():
        base.resize_token_embeddings(70)
    loaded = load(base, tmp_path / "adapter")
    assert difference(pair.logits(loaded.model), pair.logits(pair.tuned)) < LOGITS
    assert difference(pair.logits(merged(loaded)), pair.logits(pair.tuned)) < LOGITS


def test_names_with_another_prefix_are_matched_and_that_is_said(tmp_path):
    from safetensors.torch import load_file, save_file

    base = llama()
    pair = Pair(base, tune(base, "proj|norm"))
    before, after = saved(pair, tmp_path)
    tensors = load_file(before / "model.safetensors")
    bare = {name.removeprefix("model."): tensor for name, tensor in tensors.items()}
    save_file(bare, before / "model.safetensors", metadata={"format": "pt"})
    result = extract_adapter(before, after, tmp_path / "adapter", rank=FULL)
    assert any("have other names" in note for note in result.notes)
    loaded = load(base, tmp_path / "adapter")
    assert difference(pair.logits(loaded.model), pair.logits(pair.tuned)) < LOGITS


def test_a_portable_adapter_has_one_rank_and_says_what_it_left_out(tmp_path):
    import json

    pair = PAIRS["Qwen2, biases of some layers"]()
    base, tuned = saved(pair, tmp_path)
    result = extract_adapter(
        base, tuned, tmp_path / "adapter", rank=4, profile="portable", overrides={"*o_proj": 2}
    )
    document = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert document["r"] == document["lora_alpha"] == 4
    assert not document.get("rank_pattern")
    assert not document.get("modules_to_save")
    left = [one for one in result.tensors if one.state == "not covered"]
    assert any(one.pair.name.endswith("bias") for one in left)
    assert any("norm" in one.pair.name for one in left)
    assert load(pair.base, tmp_path / "adapter").missing == []


def test_pickled_checkpoints_give_the_same_adapter(tmp_path):
    import torch

    base = llama()
    pair = Pair(base, tune(base, "proj"))
    before, after = saved(pair, tmp_path)
    extract_adapter(before, after, tmp_path / "one", rank=3)
    for folder, model in ((before, pair.base), (after, pair.tuned)):
        (folder / "model.safetensors").unlink()
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
    extract_adapter(before, after, tmp_path / "two", rank=3)
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    shutil.rmtree(tmp_path / "two")
