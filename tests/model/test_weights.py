from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from bench.errors import DataError
from bench.model import weights
from bench.model.adapters import adapted_layers
from bench.model.change import Change, Dense
from bench.model.holding import holding
from bench.model.llava.family import Llava
from bench.model.resident import Base, Form
from bench.plan.suite import MICRO
from bench.plugins.tasks import Tasks
from bench.trial.warm import Warm
from bench.values.recipe import Dtype
from tests.layouts.checkpoint import old_names, write

CPU = torch.device("cpu")
DTYPES: tuple[Dtype, ...] = ("float32", "bfloat16", "float16")


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("hub"))


@pytest.fixture(params=["micro", "tiny", "hub"])
def folder(request: pytest.FixtureRequest, tiny_folder: Path, hub: Path) -> Path:
    """The embedded model (tied), an untied one in one file, and one in two files under the names of before 4.52."""
    return {"micro": MICRO.folder, "tiny": tiny_folder, "hub": hub}[request.param]


def whole(base: Base) -> nn.Module:
    model: Any = base.model
    model.model.vision_tower = base.tower
    return base.model


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_mapped_model_has_the_bits_of_a_loaded_one(folder: Path, dtype: Dtype) -> None:
    from transformers import LlavaForConditionalGeneration

    loaded = LlavaForConditionalGeneration.from_pretrained(folder, dtype=dtype)
    mapped: Any = whole(Base.load(folder, Form(dtype), CPU))

    for kind in ("named_parameters", "named_buffers"):
        one, other = dict(getattr(loaded, kind)()), dict(getattr(mapped, kind)())
        assert one.keys() == other.keys()
        for name, value in one.items():
            assert value.dtype == other[name].dtype, name
            assert torch.equal(value, other[name]), name
    assert mapped.generation_config.to_dict() == loaded.generation_config.to_dict()
    tied = mapped.lm_head.weight is mapped.model.language_model.embed_tokens.weight
    assert tied == loaded.config.tie_word_embeddings


def test_a_mapped_model_says_what_a_loaded_one_says(hub: Path) -> None:
    from transformers import LlavaForConditionalGeneration

    loaded = LlavaForConditionalGeneration.from_pretrained(hub, dtype=torch.float32)
    base = Base.load(hub, Form(), CPU)
    image = int(loaded.config.image_token_index)
    ids = torch.tensor([[1, *[image] * base.family.image_tokens(base.model.config), 300, 301]])
    pixels = torch.randn(1, 3, 56, 56, generator=torch.Generator().manual_seed(0))

    with torch.no_grad():
        expected = loaded(input_ids=ids, pixel_values=pixels).logits
        found = whole(base)(input_ids=ids, pixel_values=pixels).logits

    assert base.family.image_tokens(base.model.config) == 16
    assert torch.equal(found, expected)


def test_parameters_and_pristine_values_are_pages_of_the_files(folder: Path) -> None:
    model, names = weights.load(folder)
    pristine = weights.pristine(model, folder, names)

    assert names.keys() == pristine.keys() == dict(model.named_parameters()).keys()
    for name, value in model.named_parameters():
        assert torch.equal(pristine[name], value)
        assert pristine[name].data_ptr() != value.data_ptr()


def test_writing_to_a_model_writes_to_no_file_and_no_pristine_value(hub: Path) -> None:
    before = {path.name: path.read_bytes() for path in hub.glob("*.safetensors")}
    base = Base.load(hub, Form("float16"), CPU)
    name, parameter = next(iter(base.model.named_parameters()))
    first = base.pristine[name].clone()

    with torch.no_grad():
        parameter.add_(1)

    assert torch.equal(base.pristine[name], first)
    assert not torch.equal(parameter, first)
    assert {path.name: path.read_bytes() for path in hub.glob("*.safetensors")} == before


def test_a_merge_leaves_the_shared_pages_alone(hub: Path) -> None:
    base = Base.load(hub, Form("float16"), CPU)
    change = Change({name: Dense(torch.ones(layer.weight.shape)) for name, layer in adapted(base).items()})
    places = {name: value.data_ptr() for name, value in base.model.named_parameters()}

    with holding(base.model, change, base.pristine) as model:
        for name in change:
            expected = (base.pristine[name].float() + 1).half()
            assert torch.equal(model.get_parameter(name), expected)

    for name, value in base.model.named_parameters():
        assert value.data_ptr() == places[name]
        assert torch.equal(value, base.pristine[name])


def test_a_merge_is_rounded_once_from_the_checkpoints_values(hub: Path) -> None:
    base = Base.load(hub, Form("bfloat16"), CPU)
    name = next(iter(adapted(base)))
    delta = torch.full(base.pristine[name].shape, 1e-3)

    with holding(base.model, Change({name: Dense(delta)}), base.pristine) as model:
        once = (base.pristine[name].float() + delta).bfloat16()
        twice = (base.pristine[name].bfloat16().float() + delta).bfloat16()
        assert torch.equal(model.get_parameter(name), once)
        assert not torch.equal(once, twice)


def adapted(base: Base) -> dict[str, Any]:
    return dict(adapted_layers(base.model, MICRO.recipe))


def test_a_base_at_rest_holds_the_files_pages_and_wakes_in_its_dtype(hub: Path) -> None:
    base = Base.load(hub, Form("bfloat16"), CPU)
    parameters = dict(base.model.named_parameters())
    before = {name: value.detach().clone() for name, value in parameters.items()}

    base.rest()
    resting = {name: value.data_ptr() for name, value in parameters.items()}
    base.wake()

    assert resting == {name: value.data_ptr() for name, value in base.pristine.items()}
    for name, value in base.model.named_parameters():
        assert value is parameters[name]  # a live training tree holds these
        assert torch.equal(value, before[name])


def test_off_the_cpu_one_base_alone_is_awake(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    warm = Warm(hub, Tasks(), torch.device("meta"), 0)  # a device of the name alone; the weights stay on the CPU
    load = Base.load
    monkeypatch.setattr(Base, "load", lambda folder, form, device: replace(load(folder, form, CPU)))

    trained = warm.base(Form("bfloat16"))
    evaluated = warm.base(Form("float32"))
    there = next(trained.model.parameters()).dtype, next(evaluated.model.parameters()).dtype
    again = warm.base(Form("bfloat16"))

    assert there == (torch.float16, torch.float32)  # the file's pages, and the evaluated weights
    assert again is trained
    assert next(trained.model.parameters()).dtype == torch.bfloat16
    assert next(evaluated.model.parameters()).dtype == torch.float16


@pytest.mark.parametrize(
    ("tower", "strategy", "side", "patch", "tokens"),
    [
        ("clip_vision_model", "default", 336, 14, 576),
        ("clip_vision_model", "full", 336, 14, 577),
        ("siglip_vision_model", "full", 384, 14, 729),
    ],
)
def test_an_image_takes_the_tokens_that_the_tower_gives_of_it(
    tower: str, strategy: str, side: int, patch: int, tokens: int
) -> None:
    vision = SimpleNamespace(model_type=tower, image_size=side, patch_size=patch)
    config = SimpleNamespace(vision_config=vision, vision_feature_select_strategy=strategy)

    assert Llava().image_tokens(config) == tokens


@pytest.mark.slow
def test_a_checkpoint_of_7b_is_loaded_without_being_read(tmp_path: Path) -> None:
    import psutil

    parameters = _sparse_7b(tmp_path)
    before = psutil.Process().memory_full_info().uss

    model, names = weights.load(tmp_path)
    pristine = weights.pristine(model, tmp_path, names)

    own = psutil.Process().memory_full_info().uss - before
    for path in tmp_path.glob("*.safetensors"):
        path.unlink()  # 14 GB by name, though none on the disk
    assert sum(value.numel() for value in model.parameters()) == parameters == 7_063_427_072
    assert pristine.keys() == names.keys()
    assert own < 200 << 20


def _sparse_7b(folder: Path) -> int:
    """Write LLaVA-1.5-7B's configuration and weights that are all holes, under the hub's names; return their number."""
    from transformers import LlavaConfig, LlavaForConditionalGeneration

    config = LlavaConfig()  # its sizes are 7B's
    config.text_config.vocab_size = 32064
    config.save_pretrained(folder)
    with torch.device("meta"):
        state = old_names(LlavaForConditionalGeneration(config).state_dict())
    entries: dict[str, object] = {}
    end = 0
    for name, value in state.items():
        begin, end = end, end + 2 * value.numel()
        entries[name] = {"dtype": "F16", "shape": list(value.shape), "data_offsets": [begin, end]}
    header = json.dumps(entries).encode()
    header += b" " * (-len(header) % 8)
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + end)
    return end // 2


_CHILD = """
import sys
from pathlib import Path
import psutil, torch
from bench.model.resident import Base, Form
from bench.plan.suite import MICRO
torch.set_num_threads(1)
Base.load(MICRO.folder, Form(), torch.device("cpu"))
uss = lambda: psutil.Process().memory_full_info().uss
before = uss()
base = Base.load(Path(sys.argv[1]), Form("float16"), torch.device("cpu"))
for value in (*base.model.parameters(), *base.pristine.values()):
    value.sum()
print("read", flush=True)
input()
print(uss() - before, flush=True)
input()
"""


@pytest.mark.slow
def test_two_processes_hold_one_copy_between_them(tmp_path: Path) -> None:
    folder = write(tmp_path, width=512, layers=24)
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    words = [sys.executable, "-c", _CHILD, str(folder)]
    children = [
        subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8") for _ in range(2)
    ]

    said: list[str] = []
    for _ in range(2):  # both have read everything before one of them measures
        for child in children:
            assert child.stdout is not None
            said.append(child.stdout.readline())
        for child in children:
            assert child.stdin is not None
            child.stdin.write("\n")
            child.stdin.flush()
    for child in children:
        child.communicate()

    assert max(int(line) for line in said[2:]) < size / 4


def spoilt(hub: Path, folder: Path, name: str, change: Callable[[torch.Tensor], torch.Tensor | None]) -> Path:
    """Copy a checkpoint, with one tensor changed or, where nothing is left of it, taken out."""
    shutil.copytree(hub, folder)
    for path in folder.glob("*.safetensors"):
        tensors = load_file(path)
        if name in tensors:
            new = change(tensors.pop(name))
            save_file(tensors if new is None else {**tensors, name: new}, path, {"format": "pt"})
            return folder
    raise AssertionError(name)


@pytest.mark.parametrize("name", ["language_model.lm_head.weight", "multi_modal_projector.linear_1.bias"])
def test_a_tensor_that_a_checkpoint_lacks_is_not_drawn_at_random(hub: Path, tmp_path: Path, name: str) -> None:
    folder = spoilt(hub, tmp_path / "hub", name, lambda tensor: None)

    with pytest.raises(DataError, match=rf"^{folder} lacks .*{name.removeprefix('language_model.')}\. Get the"):
        weights.load(folder)


def test_a_tensor_of_another_shape_is_refused_by_name(hub: Path, tmp_path: Path) -> None:
    name = "language_model.model.layers.0.self_attn.q_proj.weight"
    folder = spoilt(hub, tmp_path / "hub", name, lambda tensor: tensor[:-1].clone())

    with pytest.raises(DataError, match=r"has .*layers.0.self_attn.q_proj.weight in another shape than"):
        weights.load(folder)


def test_what_no_answer_reads_may_be_missing(hub: Path, tmp_path: Path) -> None:
    name = "vision_tower.vision_model.post_layernorm.weight"

    weights.load(spoilt(hub, tmp_path / "hub", name, lambda tensor: None))
