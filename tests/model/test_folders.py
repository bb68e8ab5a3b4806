"""A base model's folder beside plain transformers: the same weights are loaded, or both refuse the folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from bench.cli.main import main
from bench.errors import BenchError, DataError, UsageError
from bench.model import weights
from bench.model.change import Change, LowRank
from bench.model.checkpoints import INDEX, WEIGHTS, revision
from bench.model.families import check_checkpoint
from tests.layouts.checkpoint import write

Edit = Callable[[Path], object]

SHARD = "model-00002-of-00002.safetensors"
POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 14\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``one`` has a model in one file, ``shards`` the same model in two, ``other`` another model in two."""
    folder = tmp_path_factory.mktemp("made")
    write(folder / "one", shards=1)
    write(folder / "shards")
    write(folder / "other", seed=1)
    return folder


@pytest.fixture
def one(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made / "one", tmp_path / "model"))


@pytest.fixture
def shards(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made / "shards", tmp_path / "model"))


def add(folder: Path, source: Path, *names: str) -> None:
    for path in source.glob("model*"):
        if not names or path.name in names:
            shutil.copy(path, folder)


def adapter(folder: Path) -> None:
    """Write an adapter as peft does, beside what is there."""
    name = "model.language_model.layers.0.self_attn.q_proj.weight"
    Change({name: LowRank(torch.ones(32, 2), torch.ones(2, 32), 1.0)}).save(folder)


def plain(folder: Path) -> nn.Module:
    from transformers import LlavaForConditionalGeneration

    model: nn.Module = LlavaForConditionalGeneration.from_pretrained(folder)
    return model


def same(one: nn.Module, other: nn.Module) -> bool:
    values = dict(other.named_parameters())
    return all(torch.equal(value, values[name]) for name, value in one.named_parameters())


def loads_alike(folder: Path) -> None:
    check_checkpoint(folder)
    assert same(weights.load(folder)[0], plain(folder))


def both_refuse(folder: Path, reason: str) -> None:
    with pytest.raises(Exception, match=r".") as theirs:
        plain(folder)
    with pytest.raises(BenchError, match=reason) as ours:
        check_checkpoint(folder)
    assert not isinstance(theirs.value, BenchError)
    assert "\n" not in str(ours.value)


@pytest.mark.parametrize(
    "name",
    [
        "model.safetensors.bak",
        "model (1).safetensors",
        "consolidated.safetensors",
        "model.fp16.safetensors",
        "adapter_model.safetensors",
        "pytorch_model.bin",
        "training_args.bin",
        "config (1).json",
        "trainer_state.json",
        "model-00002-of-00002.safetensors",
        "checkpoint-500/model.safetensors",
    ],
)
def test_a_file_that_transformers_does_not_load_changes_neither_weights_nor_revision(
    one: Path, made: Path, name: str
) -> None:
    before = revision.__wrapped__(one)
    (one / name).parent.mkdir(exist_ok=True)
    shutil.copy(made / "other" / SHARD, one / name)

    loads_alike(one)
    assert revision.__wrapped__(one) == before == revision.__wrapped__(made / "one")


def test_one_file_wins_over_an_index_whose_shards_are_gone_or_equal(one: Path, made: Path) -> None:
    before = revision.__wrapped__(one)

    add(one, made / "other", INDEX)
    loads_alike(one)
    add(one, made / "other", SHARD)
    loads_alike(one)
    add(one, made / "shards")
    loads_alike(one)
    assert revision.__wrapped__(one) == before


def test_two_sets_of_weights_that_differ_are_refused_by_both_names(one: Path, made: Path) -> None:
    add(one, made / "other")

    with pytest.raises(UsageError, match=rf"two sets of weights that differ, {WEIGHTS} and {INDEX}\. transf.* loads"):
        check_checkpoint(one)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # peft asks for it
def test_an_adapter_is_refused_because_transformers_loads_it_too(
    one: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter(one)

    assert any("lora_A" in name for name, _ in plain(one).named_parameters())
    with pytest.raises(UsageError, match=rf"an adapter \(adapter_config.json\) beside its weights \({WEIGHTS}\)"):
        check_checkpoint(one)
    (one / "config.json").unlink()
    assert main(["plan", "--model", str(one), "--output", str(tmp_path / "runs")]) != 0
    assert "it is an adapter (adapter_config.json) without its base" in capsys.readouterr().err


def test_a_stale_index_is_no_reason_to_refuse_shards_that_hold_the_whole_model(shards: Path) -> None:
    stored = plain(shards).state_dict()
    half = len(stored) // 2
    for shard, names in enumerate((list(stored)[:half], list(stored)[half:]), 1):
        part = {name: stored[name].clone() for name in names}
        save_file(part, shards / f"model-{shard:05}-of-00002.safetensors", {"format": "pt"})
    indexed = json.loads((shards / INDEX).read_text(encoding="utf-8"))["weight_map"].keys()

    assert indexed - {name for path in shards.glob("*.safetensors") for name in load_file(path)}
    loads_alike(shards)


def _named(folder: Path, name: str) -> None:
    path = folder / "config.json"
    path.write_text(
        json.dumps({**json.loads(path.read_text(encoding="utf-8")), "transformers_weights": name}), encoding="utf-8"
    )


def test_the_weights_that_config_json_names_are_loaded(one: Path, made: Path) -> None:
    shutil.copy(made / "one" / WEIGHTS, one / "ours.safetensors")
    write(made / "third", shards=1, seed=2)
    shutil.copy(made / "third" / WEIGHTS, one)
    _named(one, "ours.safetensors")

    loads_alike(one)
    assert same(weights.load(one)[0], plain(made / "one"))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda folder: (folder / INDEX).unlink(), f"neither {WEIGHTS} nor {INDEX}, .* not load model-00001-of-00002"),
        (
            lambda folder: (folder / INDEX).write_text('{"weight_map": {"a": "b"}}', encoding="utf-8"),
            f"its {INDEX} has no metadata or",
        ),
        (
            lambda folder: (folder / INDEX).write_text('{"metadata": {}, "weight_map": {}}', encoding="utf-8"),
            "no weight_map",
        ),
        (lambda folder: (folder / SHARD).unlink(), f"it lacks {SHARD}, which its index names"),
        (
            lambda folder: (folder / SHARD).write_text(POINTER, encoding="utf-8"),
            f"{SHARD} is a pointer of git-lfs.* Run git lfs pull",
        ),
        (lambda folder: (folder / SHARD).write_bytes(b""), f"{SHARD} cannot be read"),
        (lambda folder: (folder / WEIGHTS).write_text(POINTER, encoding="utf-8"), f"{WEIGHTS} is a pointer of git-lfs"),
        (lambda folder: _named(folder, "ours.safetensors"), "it lacks ours.safetensors, which its config.json names"),
    ],
)
def test_what_transformers_refuses_is_refused_with_the_file_and_the_remedy(
    shards: Path, damage: Edit, reason: str
) -> None:
    damage(shards)

    both_refuse(shards, reason)


def test_a_folder_above_the_model_names_the_model(made: Path) -> None:
    with pytest.raises(UsageError, match=r"it has no config.json\. one/ inside it has one: name that folder"):
        check_checkpoint(made)


def test_a_settings_file_that_is_a_pointer_says_so(one: Path) -> None:
    (one / "tokenizer.json").write_text(POINTER, encoding="utf-8")

    with pytest.raises(DataError, match=r"tokenizer.json is a pointer of git-lfs"):
        check_checkpoint(one)


def test_the_slow_tokenizer_counts_if_it_is_the_one_that_is_loaded(one: Path) -> None:
    slow = one / "tokenizer.model"
    before = revision.__wrapped__(one)
    slow.write_bytes(b"first")
    assert revision.__wrapped__(one) == before

    (one / "tokenizer.json").unlink()
    first = revision.__wrapped__(one)
    slow.write_bytes(b"second")
    assert revision.__wrapped__(one) != first
