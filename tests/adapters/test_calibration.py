"""Layers factored for their inputs: their answers are closer than those of the plain factors."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from adapters.checkpoints import LAYERS, pair
from adapters.pairs import save_network
from eckart.adapters import extract_adapter
from eckart.checkpoints.peft import read_adapter
from eckart.cli.main import main
from eckart.errors import ArgumentError, FormatError
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
    save_file({"bert.layers.0.mlp.up_proj": np.eye(24, dtype=np.float32)}, file)
    with pytest.raises(FormatError, match="no layer"):  # or they would have no effect
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


@pytest.fixture
def calibrated(tmp_path, monkeypatch, capfd):
    """Calibrate a model of a folder: the status, and the result or the error."""
    pytest.importorskip("transformers")
    monkeypatch.chdir(tmp_path)

    def go(folder, text="a b c d\n\nj i h\n", *options):
        (tmp_path / "t.txt").write_text(text, encoding="utf-8")
        words = ["calibrate", str(folder), "t.txt", "-o", "g.safetensors", "--force", *options]
        capfd.readouterr()
        status = main([*words, "--json", "--quiet"])
        out, err = capfd.readouterr()
        assert not err
        document = json.loads(out)
        return status, document["error" if status else "result"]

    return go


def spoilt(tmp_path, change, **config):
    """A model whose weights were changed."""
    folder = save_network(tmp_path / "net", **config)
    tensors = load_file(folder / "model.safetensors")
    save_file(change(tensors), folder / "model.safetensors")
    return folder


def without(tensors, name):
    return {key: tensor for key, tensor in tensors.items() if name not in key}


@pytest.mark.torch
@pytest.mark.parametrize(
    ("change", "config", "words"),
    [
        (lambda t: {f"a.{key}": X for key, X in t.items()}, {}, "lacks weights"),
        (lambda t: without(t, "lm_head"), {}, "lm_head"),
        (dict, {"intermediate_size": 32}, "lacks weights"),
        (dict, {"hidden_size": 4096, "num_hidden_layers": 32}, "numbers"),
        (lambda t: {**t, "model.norm.weight": np.full(16, np.nan, np.float32)}, {}, "not finite"),
        (lambda t: {**t, "model.norm.weight": np.full(16, 1e25, np.float32)}, {}, "too large"),
        (dict, {"architectures": ["NothingForCausalLM"]}, "no model"),
    ],
)
def test_nothing_is_made_up_of_a_model_that_is_not_whole(
    change, config, words, tmp_path, calibrated
):
    """A config of 7 billion numbers beside weights of a few thousand takes no memory either."""
    status, error = calibrated(spoilt(tmp_path, change, **config))
    assert (status, error["code"]) == (1, "cannot-calibrate")
    assert words in error["message"]
    assert not (tmp_path / "g.safetensors").exists()


@pytest.mark.torch
@pytest.mark.parametrize(
    ("text", "options", "tokens"),
    [
        ("a b " * 100, (), 32),  # as many as the model has positions
        ("a b " * 100, ("--length", "5"), 5),
        ("a b " * 100, ("--length", str(10**30)), 32),
        ("a " * 10**6, ("--length", "1"), 1),
        ("\ufeffa b\r\nc\r\n", (), 3),
        ("a\u2028b\x0cc\n", (), 3),
        ("a b", ("--include", "*q_proj", "--include", "lm_head"), 2),
    ],
)
def test_texts_are_cut_to_what_was_asked_for_and_the_model_takes(
    text, options, tokens, tmp_path, calibrated
):
    status, result = calibrated(save_network(tmp_path / "net"), text, *options)
    assert (status, result.get("tokens")) == (0, tokens)
    assert result["layers"] == (2 if "--include" in options else 8)


@pytest.mark.torch
def test_a_pattern_that_matches_no_layer_is_refused_beside_one_that_does(tmp_path, calibrated):
    options = ("--include", "*q_proj", "--include", "*.nothing")
    status, error = calibrated(save_network(tmp_path / "net"), "a b", *options)
    assert status == 1
    assert "*.nothing" in error["message"]


@pytest.mark.torch
def test_layers_of_a_class_of_their_own_are_measured_too(tmp_path, calibrated):
    """Falcon's linear layers are no `nn.Linear` by name."""
    from transformers import FalconConfig, FalconForCausalLM

    from adapters.models import quiet

    config = FalconConfig(vocab_size=40, hidden_size=16, num_hidden_layers=1, num_attention_heads=2)
    save_network(tmp_path / "net")
    with quiet():
        FalconForCausalLM(config).save_pretrained(tmp_path / "net")
    status, result = calibrated(tmp_path / "net")
    assert (status, result["layers"]) == (0, 5)
