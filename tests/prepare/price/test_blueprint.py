"""The full-size LLaVA-1.5-7B on the meta device: what every method adapts, trains and stores."""

import copy
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from bench.errors import DataError
from bench.model.adapters import lora_adapters
from bench.plan.suite import LORASCULPT, MICRO
from bench.plugins.groups import paper_methods
from bench.plugins.method import EditMethod, TrainMethod
from bench.plugins.registry import Registry
from bench.prepare.price.blueprint import Adapted, Blueprint
from bench.prepare.price.memory import base_bytes, change_bytes, evaluation, training

RECIPE = LORASCULPT.recipe
TOKENS = 672
HIDDEN, INNER, BLOCKS, VOCABULARY, TOWER = 4096, 11008, 32, 32064, 1024
# q, k, v and o are square; gate and up are [inner, hidden], down is [hidden, inner]
SIDES = BLOCKS * (4 * (HIDDEN + HIDDEN) + 3 * (HIDDEN + INNER))
ROWS = BLOCKS * (4 * HIDDEN + 2 * INNER + HIDDEN)
LINEAR = BLOCKS * (4 * HIDDEN**2 + 3 * HIDDEN * INNER)
CONNECTOR = TOWER * HIDDEN + HIDDEN + HIDDEN**2 + HIDDEN
DECODER = 2 * VOCABULARY * HIDDEN + LINEAR + (2 * BLOCKS + 1) * HIDDEN
# CLIP ViT-L/14-336: patches, class token and places, 24 blocks of four square layers and an MLP, three norms
CLIP = 3 * 14**2 * TOWER + TOWER + 577 * TOWER + 24 * (4 * (TOWER**2 + TOWER) + 8 * TOWER**2 + 5 * TOWER + 4 * TOWER)
CLIP += 2 * 2 * TOWER
PAPER = paper_methods(Registry())
TRAINING = tuple(name for name in PAPER if issubclass(Registry().method(name), TrainMethod))


@cache
def blueprint() -> Blueprint:
    return Blueprint.of("llava-hf/llava-1.5-7b-hf", None)


@cache
def adapted(name: str, rank: int) -> Adapted:
    method = Registry().method(name)()
    assert isinstance(method, TrainMethod)
    return blueprint().adapt(method, rank, RECIPE, TOKENS)


def test_the_blueprint_has_every_parameter_of_the_checkpoint() -> None:
    assert CONNECTOR == 20_979_712
    assert blueprint().parameters == DECODER + CONNECTOR + CLIP == 7_063_427_072
    assert all(parameter.is_meta for parameter in blueprint().model.parameters())


def test_transformers_own_default_is_the_same_model_but_for_64_words() -> None:
    from transformers import LlavaConfig

    assert blueprint().parameters - Blueprint(LlavaConfig()).parameters == 64 * 2 * HIDDEN


def test_a_damaged_configuration_is_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{", encoding="utf-8")

    with pytest.raises(DataError, match=r"config\.json is damaged .* Get the checkpoint again"):
        Blueprint.of(str(tmp_path), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [16, 32, 64])
@pytest.mark.parametrize("name", TRAINING)
def test_a_method_adapts_and_trains_exactly_this(name: str, rank: int) -> None:
    method: Any = Registry().method(name)()
    with torch.device("meta"):
        wrapped = method.adapt(copy.deepcopy(blueprint().model), rank, RECIPE)

    assert [adapter.name for adapter in lora_adapters(wrapped)] == [
        f"model.language_model.layers.{block}.{part}_proj.weight"
        for block in range(BLOCKS)
        for part in ("self_attn.q", "self_attn.k", "self_attn.v", "self_attn.o", "mlp.gate", "mlp.up", "mlp.down")
    ]
    assert adapted(name, rank).trained == rank * SIDES + CONNECTOR + (ROWS if name == "dora" else 0)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [16, 64])
def test_lora_keeps_26_hidden_and_9_inner_bytes_a_token_for_the_backward_pass(rank: int) -> None:
    # Two norms keep the float32 input (4) each, and 4 a token. Six layers of hidden inputs and one of inner keep a mask
    # (1), and A's output; q, k and v share one input in bfloat16 (2), gate and up another, and down has its own, while
    # o's is what attention keeps. Attention: q, k, v and its output in bfloat16 (8) and a float32 for each of 32 heads.
    # The MLP: gate, its SiLU and up in bfloat16 (6 inner).
    token = 26 * HIDDEN + 9 * INNER + 2 * 4 + 4 * 32 + 7 * 4 * rank

    assert adapted("lora", rank).example_bytes == TOKENS * token


@pytest.mark.slow
def test_dora_keeps_its_row_norms_and_each_layers_base_output_next_to_lora() -> None:
    found, lora = adapted("dora", 16), adapted("lora", 16)
    method = Registry().method("dora")(dropout="low_rank")  # type: ignore[call-arg]
    assert isinstance(method, TrainMethod)
    low_rank = blueprint().adapt(method, 16, RECIPE, TOKENS)

    for made in (found, low_rank):
        assert made.fixed_bytes - lora.fixed_bytes == 4 * ROWS / BLOCKS
        assert made.example_bytes - lora.example_bytes == TOKENS * 2 * ROWS / BLOCKS


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINING)
def test_the_memory_plan_of_training_adds_up(name: str) -> None:
    method = Registry().method(name)()
    assert isinstance(method, TrainMethod)
    dimensions = replace(blueprint().dimensions(32, RECIPE, TOKENS), learnt=20)
    found = adapted(name, 32)
    trained = 32 * SIDES + CONNECTOR + (ROWS if name == "dora" else 0)
    logits = 20 * VOCABULARY * 16

    plain = training(method, blueprint(), RECIPE, dimensions, found, plain=BLOCKS)
    saving = training(method, blueprint(), RECIPE, dimensions, found, plain=0)
    partly = training(method, blueprint(), RECIPE, dimensions, found, plain=5)

    rest = 2 * 7_063_427_072 + 16 * trained + sum(method.memory(dimensions).values())
    block = found.fixed_bytes + 4 * found.example_bytes
    assert plain.total(4) == rest + 4 * logits + BLOCKS * block
    assert saving.total(4) == rest + 4 * logits + block + 4 * BLOCKS * TOKENS * HIDDEN * 2
    assert partly.total(4) == rest + 4 * logits + (5 + 1) * block + 4 * (BLOCKS - 5) * TOKENS * HIDDEN * 2


def test_methods_declare_their_own_memory() -> None:
    dimensions = blueprint().dimensions(32, RECIPE, TOKENS)
    own = {name: dict(Registry().method(name)().memory(dimensions)) for name in PAPER}

    assert own["lora"] == own["l2"] == own["dare"] == {}
    assert own["lorasculpt"] == {
        "masks": 32 * SIDES,
        "CMR blocks of M and BA": 2 * 4 * HIDDEN**2,
        "CMR gradients": 4 * 32 * BLOCKS * 3 * 2 * HIDDEN,
    }
    assert own["orth_reg"] == {
        "chunk of W0 (BA)^T": 4 * HIDDEN * 2 * HIDDEN,
        "penalty's gradients": 4 * 32 * BLOCKS * 2 * 2 * HIDDEN,
    }
    assert own["dora"] == {"row norms of W0 + BA": 4 * (2 * ROWS + 2 * 32 * HIDDEN + 1024 * INNER)}
    assert own["model_tailor"] == {
        "a layer's inputs": 4 * 128 * TOKENS * INNER,
        "Hessian": 16 * INNER**2,
        "a layer's weights": 16 * HIDDEN * INNER,
    }
    from_init = Registry().method("l2")(form="mse_from_init")  # type: ignore[call-arg]
    assert dict(from_init.memory(dimensions)) == {"start": 4 * (32 * SIDES + CONNECTOR)}


def test_an_edits_change_is_a_bit_an_entry_and_what_it_keeps() -> None:
    dimensions = blueprint().dimensions(32, RECIPE, TOKENS)
    lora = change_bytes(Registry().method("lora")(), None, dimensions, 100_933_632)
    tailored = change_bytes(Registry().method("model_tailor")(), lora, dimensions, 0)

    assert lora == 4 * 100_933_632
    assert change_bytes(Registry().method("dare")(), lora, dimensions, 0) == lora
    # 0.1 of 4096^2 and of 4096 * 11008 is no whole number: each of the 224 weights keeps the next one up
    assert tailored == pytest.approx(LINEAR / 8 + 0.4 * LINEAR + 4 * CONNECTOR, abs=4 * 224)
    assert issubclass(Registry().method("model_tailor"), EditMethod)


@pytest.mark.parametrize("dropout", [0.0, 0.05])
def test_a_block_on_meta_keeps_what_a_real_one_keeps(dropout: float) -> None:
    from transformers import LlavaForConditionalGeneration

    recipe = replace(MICRO.recipe, dropout=dropout)
    plan = Blueprint.of(MICRO.model, MICRO.folder)
    method = Registry().method("lora")()
    assert isinstance(method, TrainMethod)
    found = plan.adapt(method, 8, recipe, 20)
    wrapped: Any = method.adapt(LlavaForConditionalGeneration(plan.config).requires_grad_(False), 8, recipe).train()
    decoder = wrapped.get_base_model().model.language_model
    own = {parameter.data_ptr() for parameter in wrapped.parameters()}
    kept: dict[int, Any] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in own:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    hidden = torch.randn(3, 20, decoder.config.hidden_size, requires_grad=True)
    places = torch.arange(20).unsqueeze(0)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        turns = decoder.rotary_emb(hidden, places)
        decoder.layers[0](hidden, position_embeddings=turns, position_ids=places, attention_mask=None)

    assert sum(storage.nbytes() for storage in kept.values()) == found.fixed_bytes + 3 * found.example_bytes


@pytest.mark.parametrize(
    ("tower", "strategy", "tokens"),
    [
        ("clip_vision_model", "default", 9),
        ("clip_vision_model", "full", 10),
        ("siglip_vision_model", "full", 9),
        ("siglip_vision_model", "default", 8),
    ],
)
def test_an_image_is_priced_at_the_tokens_that_the_model_makes_of_it(tower: str, strategy: str, tokens: int) -> None:
    from transformers import LlavaConfig

    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2}
    vision = {"model_type": tower, **sizes, "image_size": 11, "patch_size": 3}
    text = {"model_type": "llama", **sizes, "vocab_size": 16}
    data = {"vision_config": vision, "text_config": text, "vision_feature_select_strategy": strategy}
    plan = Blueprint(LlavaConfig.from_dict(data))
    picture = torch.empty(1, 3, 11, 11, device="meta")

    made = plan.model.get_image_features(pixel_values=picture).pooler_output[0]

    assert (len(made), plan.image_tokens) == (tokens, tokens)


def test_a_base_in_4_bits_takes_an_eighth_of_a_float32_and_its_scales() -> None:
    recipe = replace(RECIPE, quantization="4bit")
    dimensions = blueprint().dimensions(32, recipe, TOKENS)

    # bfloat16 outside the decoder's linears; inside, 64 weights share a byte and 256 such bytes a float32
    expected = 2 * (7_063_427_072 - LINEAR) + LINEAR // 2 + LINEAR // 64 + LINEAR // (64 * 64)
    assert base_bytes(blueprint(), recipe, dimensions) == pytest.approx(expected, abs=2)


def test_what_an_answer_needs_is_its_keys_and_values_and_its_way_through_a_block() -> None:
    found = evaluation(blueprint(), RECIPE, 672, 128)

    assert found.at(4)["cache"] == 4 * (672 + 128) * BLOCKS * 2 * HIDDEN * 2
    assert found.at(4)["prefill"] == 4 * 672 * (3 * INNER + 2 * HIDDEN) * 2
    assert found.at(4)["base"] == 2 * 7_063_427_072
    memory = found.total(10)
    assert (found.largest(memory, 64), found.largest(memory - 1, 64), found.largest(10**9, 64)) == (10, 9, 0)


def test_a_change_that_is_held_live_takes_memory_next_to_the_base() -> None:
    merged, live = (evaluation(blueprint(), RECIPE, 672, 128, size) for size in (0, 10**9))

    outputs = 4 * 672 * INNER * 2 * 4  # of four answers, two tensors in float32
    assert live.at(4) == {**merged.at(4), "live change": 10**9, "prefill": merged.at(4)["prefill"] + outputs}
    assert "live change" not in merged.at(4)


def test_a_pruned_change_has_the_bytes_that_it_was_planned_with() -> None:
    from bench import Change, LowRank
    from bench.plugins.method import Dimensions, LayerShape

    method: Any = Registry().method("magnitude")(density=0.3)  # type: ignore[call-arg]
    layers = {"a.q_proj.weight": (5, 7), "a.up_proj.weight": (9, 4)}
    change = Change({name: LowRank(torch.randn(r, 2), torch.randn(2, c), 2.0) for name, (r, c) in layers.items()})
    context: Any = SimpleNamespace(layers={name: SimpleNamespace(weight=torch.randn(*layers[name])) for name in layers})
    shapes = tuple(LayerShape(name, *shape, 0) for name, shape in layers.items())

    assert method.edit(change, context).bytes == method.change_bytes(Dimensions(shapes, 0, 2, 10)) == 5 + 40 + 5 + 40
