"""Models of Hugging Face transformers, small and without a download: built on "meta", initialized, run."""

import math

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.testing._internal.distributed.fake_pg import FakeStore
from transformers import (
    BertConfig,
    BertForMaskedLM,
    GemmaConfig,
    GemmaForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

import initcore as ic

it = ic.torch

VOCABULARY = 256
SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
LLAMA = LlamaConfig(**SIZES, tie_word_embeddings=True)
GPT2 = GPT2Config(
    vocab_size=VOCABULARY, n_positions=32, n_embd=64, n_layer=2, n_head=4, bos_token_id=1, eos_token_id=2
)


def llama_rules(config):
    return {"*norm.weight": "ones", "*": f"normal({config.initializer_range})"}


def gpt2_rules(config):
    return {
        "*.c_proj.weight": f"normal({config.initializer_range / math.sqrt(2 * config.n_layer)})",
        "*.bias": "zeros",
        "*.ln_*.weight": "ones",
        "*": f"normal({config.initializer_range})",
    }


MODELS = {"llama": (LlamaForCausalLM, LLAMA, llama_rules), "gpt2": (GPT2LMHeadModel, GPT2, gpt2_rules)}


def from_meta(kind, config, rules, **options):
    """The recipe of the page."""
    with torch.device("meta"):
        model = kind(config)
    model.to_empty(device="cpu")
    model.tie_weights()
    for module in model.modules():
        if "RotaryEmbedding" in type(module).__name__:
            model._init_weights(module)
    return model, it.initialize_(model, rules, **options)


@torch.no_grad()
def loss(model):
    tokens, labels = torch.from_numpy(ic.uniform((2, 8, 32), low=3, high=VOCABULARY, seed=5)).long()
    out = model(input_ids=tokens, labels=labels)
    assert torch.isfinite(out.logits).all()
    return float(out.loss), float(out.logits.square().mean())


@pytest.mark.parametrize("name", MODELS)
def test_a_model_built_on_meta_starts_at_the_loss_of_guessing(name):
    kind, config, rules = MODELS[name]
    model, report = from_meta(kind, config, rules(config), seed=3)
    assert abs(loss(model)[0] - math.log(VOCABULARY)) < 0.1
    assert model.lm_head.weight is model.get_input_embeddings().weight
    tied = {row.name: row.tied for row in report.parameters.values() if row.tied}
    first = {"llama": "model.embed_tokens.weight", "gpt2": "transformer.wte.weight"}[name]
    assert tied == {first: ("lm_head.weight",)}


@pytest.mark.parametrize("name", MODELS)
def test_the_way_does_not_change_a_bit(name):
    """Built on "meta" or on the CPU; parameters and buffers, which the recipe computes again."""
    kind, config, rules = MODELS[name]
    model, report = from_meta(kind, config, rules(config), seed=3)
    direct = kind(config)
    assert it.initialize_(direct, rules(config), seed=3).to_dict() == report.to_dict()
    for got, expected in (
        (model.named_parameters, direct.named_parameters),
        (model.named_buffers, direct.named_buffers),
    ):
        pairs = list(zip(got(), expected(), strict=True))
        assert all(a[0] == b[0] and torch.equal(a[1], b[1]) for a, b in pairs)
    row = next(row for row in report.parameters.values() if row.tied)
    expected = ic.normal(row.shape, std=0.02, seed=3, name=row.name)
    assert np.array_equal(model.lm_head.weight.detach().numpy(), expected)


@pytest.mark.parametrize("name", MODELS)
def test_the_rules_are_those_of_the_model_s_own_initialization(name):
    """Constants are equal; standard deviations differ by less than 8 errors (false alarm < 1e-13)."""
    kind, config, rules = MODELS[name]
    torch.manual_seed(0)
    own = dict(kind(config).named_parameters())
    report = it.plan(kind(config), rules(config))
    assert list(report.parameters) == list(own)
    for parameter, row in report.parameters.items():
        value = own[parameter].detach()
        if row.plan.std == 0:
            assert value.eq(row.plan.init.get_config()["value"]).all(), parameter
        else:
            assert float(value.std()) == pytest.approx(row.plan.std, rel=8 / math.sqrt(2 * value.numel())), (
                parameter
            )


def test_meta_is_refused_with_what_to_empty_will_lose():
    with torch.device("meta"):
        model = LlamaForCausalLM(LLAMA)
    with pytest.raises(ValueError, match=r"to_empty\(device=") as error:
        it.initialize_(model)
    assert "again: model.rotary_emb.inv_freq, model.rotary_emb.original_inv_freq." in str(error.value)
    assert "tied again: lm_head.weight = model.embed_tokens.weight" in str(error.value)


def test_auto_reads_the_mlp_and_names_what_it_cannot_see():
    rows = it.plan(LlamaForCausalLM(LLAMA)).parameters
    found = {name.partition("layers.0.")[2]: (row.activation, row.how) for name, row in rows.items()}
    assert found["mlp.gate_proj.weight"] == ("silu", "traced")
    assert found["mlp.up_proj.weight"] == ("", "traced")
    assert found["self_attn.q_proj.weight"] == ("", "not traced")
    rows = it.plan(GPT2LMHeadModel(GPT2)).parameters
    c_fc = rows["transformer.h.1.mlp.c_fc.weight"]
    assert (c_fc.activation, c_fc.plan.fan_in, c_fc.plan.fan_out) == ("gelu_tanh", 64, 256)


@pytest.mark.parametrize(
    ("kind", "config", "scale"),
    [
        (LlamaForCausalLM, LLAMA, "ones"),
        (GPT2LMHeadModel, GPT2, "ones"),
        (GemmaForCausalLM, GemmaConfig(**SIZES, head_dim=16), "zeros"),  # multiplies by 1 + weight
        (BertForMaskedLM, BertConfig(**{k: v for k, v in SIZES.items() if "key" not in k}), "ones"),
        (
            T5ForConditionalGeneration,
            T5Config(
                vocab_size=VOCABULARY,
                d_model=64,
                d_kv=16,
                d_ff=128,
                num_layers=2,
                num_heads=4,
                decoder_start_token_id=0,
            ),
            "ones",
        ),
    ],
)
def test_auto_gives_logits_of_mean_square_one_where_nothing_scales_them(kind, config, scale):
    model = kind(config).eval()
    report = it.initialize_(model, seed=1)
    norms = [row for name, row in report.parameters.items() if row.shape == (64,) and name.endswith("weight")]
    assert norms
    assert all(row.plan.init == ic.get(scale) for row in norms)
    value, square = loss(model)
    assert math.log(VOCABULARY) - 0.2 < value < math.log(VOCABULARY) + 1.2
    if kind is not T5ForConditionalGeneration:  # divides the logits by sqrt(d_model)
        assert 0.5 < square < 2


def test_auto_refuses_experts_until_there_is_a_rule_for_them():
    model = MixtralForCausalLM(MixtralConfig(**SIZES, num_local_experts=2))
    with pytest.raises(ValueError, match=r"gate\.weight.*experts\.gate_up_proj.*experts\.down_proj"):
        it.initialize_(model)
    experts = ic.Rule(
        "lecun_normal", layout=ic.Layout(batch_axis=0, out_axis=1, in_axis=2)
    )  # (experts, out, in)
    rules = {"*.experts.*": experts, "*.mlp.gate.weight": "lecun_normal", "*": "auto"}
    report = it.initialize_(model, rules)
    plan = report.parameters["model.layers.0.mlp.experts.down_proj"].plan
    assert (plan.shape, plan.fan_in, plan.fan_out) == ((2, 64, 128), 128, 64)
    assert abs(loss(model)[0] - math.log(VOCABULARY)) < 1.2


@pytest.mark.parametrize("rules", ["auto", "own"])
def test_shards_of_fsdp2_are_those_of_the_whole(rules):
    config = LlamaConfig(**SIZES, tie_word_embeddings=False)
    rules = llama_rules(config) if rules == "own" else rules
    whole = LlamaForCausalLM(config)
    expected = it.initialize_(whole, rules, seed=3)
    parameters = dict(whole.named_parameters())
    for rank in (0, 2):
        dist.init_process_group("fake", store=FakeStore(), rank=rank, world_size=3)
        try:
            mesh = init_device_mesh("cpu", (3,), mesh_dim_names=(f"llama{rank}{rules == 'auto'}",))
            with torch.device("meta"):
                model = LlamaForCausalLM(config)
            for layer in model.model.layers:
                fully_shard(layer, mesh=mesh)
            fully_shard(model, mesh=mesh)
            model.to_empty(device="cpu")
            model._init_weights(model.model.rotary_emb)
            assert it.initialize_(model, rules, seed=3).to_dict() == expected.to_dict()
            for name, p in model.named_parameters():
                index = it.placements.region(p)
                assert index[0].stop - index[0].start < p.shape[0]
                assert torch.equal(p.to_local(), parameters[name][index])
        finally:
            dist.destroy_process_group()
