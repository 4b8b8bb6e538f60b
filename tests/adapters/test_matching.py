"""Names of two checkpoints: the same tensors are found whatever stands before them."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from eckart.adapters.tensor_pairs import match_names

LLAMA = {
    "model.embed_tokens.weight": (64, 16),
    **{f"model.layers.{i}.self_attn.q_proj.weight": (16, 16) for i in range(4)},
    **{f"model.layers.{i}.mlp.up_proj.weight": (32, 16) for i in range(4)},
    "model.norm.weight": (16,),
    "lm_head.weight": (64, 16),
}


def bert(prefix: str, layers: int = 12) -> dict[str, tuple[int, ...]]:
    body = {"embeddings.word_embeddings.weight": (591, 256), "pooler.dense.weight": (256, 256)}
    for i in range(layers):
        body |= {
            f"encoder.layer.{i}.attention.self.query.weight": (256, 256),
            f"encoder.layer.{i}.attention.self.query.bias": (256,),
            f"encoder.layer.{i}.intermediate.dense.weight": (512, 256),
        }
    return {prefix + name: shape for name, shape in body.items()}


def test_the_same_names_are_matched_as_they_are():
    matching = match_names(LLAMA, LLAMA)
    assert matching.pairs == tuple((name, name) for name in LLAMA)
    assert matching.prefix() is None
    assert matching.reshaped == matching.only_base == matching.only_tuned == ()


def test_a_base_with_a_prefix_and_another_head_is_matched_as_in_rxnfp():
    base = {
        **bert("bert."),
        "cls.predictions.decoder.weight": (591, 256),
        "cls.predictions.bias": (591,),
    }
    tuned = {**bert(""), "classifier.weight": (50, 256), "classifier.bias": (50,)}
    matching = match_names(base, tuned)
    assert matching.pairs == tuple((f"bert.{name}", name) for name in bert(""))
    assert matching.only_base == ("cls.predictions.decoder.weight", "cls.predictions.bias")
    assert matching.only_tuned == ("classifier.weight", "classifier.bias")
    assert matching.prefix() == "Names were matched without 'bert.' in the base checkpoint."


@pytest.mark.parametrize("prefix", ["base_model.model.", "_orig_mod.", "module.", "model."])
def test_a_wrapper_around_the_tuned_model_is_seen_through(prefix):
    tuned = {prefix + name: shape for name, shape in LLAMA.items()}
    matching = match_names(LLAMA, tuned)
    assert matching.pairs == tuple((name, prefix + name) for name in LLAMA)
    assert (matching.base_prefix, matching.tuned_prefix) == ("", prefix)
    assert matching.only_base == matching.only_tuned == ()


def test_a_body_without_its_head_is_matched():
    tuned = {name.removeprefix("model."): shape for name, shape in LLAMA.items()}
    del tuned["lm_head.weight"]
    matching = match_names(LLAMA, tuned)
    assert len(matching.pairs) == len(LLAMA) - 1
    assert matching.only_base == ("lm_head.weight",)
    assert (matching.base_prefix, matching.tuned_prefix) == ("model.", "")


def test_two_different_prefixes_are_matched():
    matching = match_names(bert("bert."), bert("roberta."))
    assert matching.pairs == tuple((f"bert.{name}", f"roberta.{name}") for name in bert(""))
    assert matching.prefix() == (
        "Names were matched without 'bert.' in the base checkpoint and "
        "'roberta.' in the tuned checkpoint."
    )


def test_a_changed_shape_is_no_pair_and_not_unmatched():
    tuned = {**LLAMA, "model.embed_tokens.weight": (70, 16), "lm_head.weight": (70, 16)}
    matching = match_names(LLAMA, tuned)
    assert matching.reshaped == tuple(
        (name, name) for name in ("model.embed_tokens.weight", "lm_head.weight")
    )
    assert len(matching.pairs) == len(LLAMA) - 2


def test_a_prefix_never_makes_two_names_one():
    base = {"a.w": (2,), "a.v": (2,), "w": (2,)}
    matching = match_names(base, {"w": (2,), "v": (2,)})
    assert matching.pairs == (("a.v", "v"), ("w", "w"))
    assert matching.only_base == ("a.w",)


def test_nothing_in_common_is_no_pair():
    matching = match_names({"x": (1,)}, {"y": (1,)})
    assert matching.pairs == ()
    assert (matching.only_base, matching.only_tuned) == (("x",), ("y",))


NAMES = st.dictionaries(
    st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map(".".join),
    st.sampled_from([(1,), (2,)]),
    max_size=12,
)


@given(base=NAMES, tuned=NAMES)
@example(base={"a.a": (1,), "a.a.a": (1,)}, tuned={"a.a.a": (1,), "a.a.a.a": (1,)})
def test_every_name_is_in_exactly_one_place(base, tuned):
    matching = match_names(base, tuned)
    both = (*matching.pairs, *matching.reshaped)
    assert sorted([*(pair[0] for pair in both), *matching.only_base]) == sorted(base)
    assert sorted([*(pair[1] for pair in both), *matching.only_tuned]) == sorted(tuned)
    assert all(base[ours] == tuned[theirs] for ours, theirs in matching.pairs)
    assert len(matching.pairs) >= sum(base[name] == tuned.get(name) for name in base)
