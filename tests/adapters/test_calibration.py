"""Layers factored for their inputs: their answers are closer than those of the plain factors."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from adapters.checkpoints import LAYERS, pair
from eckart.cli import main
from eckart.errors import ArgumentError, FormatError
from eckart.jobs.extract import extract_adapter
from eckart.storage.adapters import read_adapter
from tolerances import agree


def moments(folder, names=LAYERS):
    """Moments of inputs whose directions differ a thousandfold, for some layers."""
    generator = np.random.default_rng(4)
    found = {}
    for name in names:
        columns = LAYERS[name][1]
        X = generator.standard_normal((300, columns)) * np.logspace(0, -3, columns)
        found[name.removesuffix(".weight")] = (X.T @ X / 300).astype(np.float32)
    save_file(found, folder / "activations.safetensors")
    return folder / "activations.safetensors", found


def lost(base, after, adapter, G):
    """‖(ΔW − B·A)·G^½‖ of each layer, by NumPy."""
    before, later = load_file(base / "model.safetensors"), load_file(after / "model.safetensors")
    errors = {}
    for layer in read_adapter(adapter).layers:
        name = f"{layer.module}.weight"
        R = later[name].astype(float) - before[name] - layer.factors.dense()
        errors[layer.module] = float(np.sqrt(np.trace(R @ G[layer.module].astype(float) @ R.T)))
    return errors


@pytest.mark.parametrize("settings", [{"rank": 3}, {"budget": 12_000}, {"tolerance": 0.3}])
def test_the_answers_lose_less_than_with_plain_factors(tmp_path, settings):
    base, after = pair(tmp_path)
    file, G = moments(tmp_path)
    plain = extract_adapter(base, after, tmp_path / "plain", **settings)
    result = extract_adapter(base, after, tmp_path / "out", calibration=file, **settings)
    one, other = lost(base, after, tmp_path / "out", G), lost(base, after, tmp_path / "plain", G)
    if "tolerance" in settings:
        assert result.nbytes < plain.nbytes
        assert all(f.figures.weighted_error <= 0.3 for f in result.layers if f.figures)
    else:
        assert np.linalg.norm(list(one.values())) < np.linalg.norm(list(other.values()))
    norms = {
        layer.pair.module: layer.figures.weighted_error
        for layer in result.layers
        if layer.figures is not None
    }
    before, later = load_file(base / "model.safetensors"), load_file(after / "model.safetensors")
    for module, error in one.items():
        delta = later[f"{module}.weight"].astype(float) - before[f"{module}.weight"]
        whole = np.sqrt(np.trace(delta @ G[module].astype(float) @ delta.T))
        # the moments are damped by a share of 1e-4 of their mean, which both norms get
        assert agree(norms[module], error / whole, 0.05)


def test_layers_without_moments_are_factored_plainly(tmp_path):
    base, after = pair(tmp_path)
    name = "model.layers.1.mlp.up_proj.weight"
    file, _ = moments(tmp_path, [name])
    result = extract_adapter(base, after, tmp_path / "out", budget=20_000, calibration=file)
    weighed = {one.pair.name for one in result.layers if one.figures.weighted_error is not None}
    assert weighed <= {name}
    assert any("activations" in note for note in result.notes)


def test_moments_that_do_not_fit_are_refused(tmp_path):
    base, after = pair(tmp_path)
    with pytest.raises(ArgumentError):
        extract_adapter(base, after, tmp_path / "out", rank=2, calibration=tmp_path / "none")
    file = tmp_path / "wrong.safetensors"
    save_file({"model.layers.0.mlp.up_proj": np.eye(7, dtype=np.float32)}, file)
    with pytest.raises(FormatError):
        extract_adapter(base, after, tmp_path / "out", rank=2, calibration=file)
    save_file({"model.layers.0.mlp.up_proj": np.ones((2, 3), np.float32)}, file)
    with pytest.raises(FormatError):
        extract_adapter(base, after, tmp_path / "out", rank=2, calibration=file)
    assert not (tmp_path / "out").exists()


@pytest.mark.torch
def test_a_model_is_calibrated_by_what_its_layers_see(tmp_path, capsys):
    pytest.importorskip("transformers")
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    from adapters.models import llama, quiet

    words = {word: number for number, word in enumerate(["<unk>", *"abcdefghij"])}
    raw = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    network = llama()
    network.save_pretrained(tmp_path / "model")
    PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="<unk>").save_pretrained(
        tmp_path / "model"
    )
    (tmp_path / "texts.txt").write_text("a b c d\n\nj i h\n")
    out = tmp_path / "moments.safetensors"
    with quiet():
        status = main(
            ["calibrate", str(tmp_path / "model"), str(tmp_path / "texts.txt"), "-o", str(out),
             "--json", "--quiet"]
        )  # fmt: skip
    document = json.loads(capsys.readouterr().out)["result"]
    assert status == 0
    assert document["tokens"] == 7
    found = load_file(out)
    assert len(found) == document["layers"] == 15
    with torch.no_grad():
        table = network.model.embed_tokens.weight
        tokens = torch.tensor([words[w] for w in "abcdjih"])
        X = network.model.layers[0].input_layernorm(table[tokens]).double().numpy()
    expected = X.T @ X / len(X)
    assert np.allclose(found["model.layers.0.self_attn.q_proj"], expected, atol=1e-5)
