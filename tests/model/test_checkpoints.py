from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench import file_digests
from bench.cli.main import main
from bench.errors import DataError, UsageError
from bench.model import checkpoints
from bench.model.families import check_checkpoint, shapes_in
from bench.plan.suite import LORASCULPT, MICRO, Suite, by_revision
from bench.store.run_folder import Store
from bench.values.recipe import Recipe
from bench.values.record import Record
from bench.values.trial import Trial
from tests.layouts.checkpoint import write

COMMIT = "b234b804b114d9e37bb655e11cbbb5f5e971b7a9"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("hub"))


@pytest.fixture
def copy(checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoint, tmp_path / "copy"))


@pytest.fixture
def cache(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub cache that holds llava-hf/small as the hub's client writes it: links to blobs named by their digest."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    repo = tmp_path / "cache" / "models--llava-hf--small"
    snapshot = repo / "snapshots" / COMMIT
    for folder in (snapshot, repo / "blobs", repo / "refs"):
        folder.mkdir(parents=True)
    (repo / "refs" / "main").write_text(COMMIT, encoding="utf-8")
    for path in checkpoint.iterdir():
        data = path.read_bytes()
        blob = repo / "blobs" / hashlib.sha256(data).hexdigest()
        blob.write_bytes(data)
        (snapshot / path.name).symlink_to(f"../../blobs/{blob.name}")
    return repo


def edited(folder: Path, name: str, **fields: Any) -> None:
    path = folder / name
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **fields}), encoding="utf-8")


def test_the_revision_of_the_embedded_model_stays() -> None:
    assert MICRO.revision() == "c4ee74ec99deda40"


def test_a_hub_id_is_the_snapshot_that_was_downloaded(cache: Path) -> None:
    snapshot = cache / "snapshots" / COMMIT

    assert checkpoints.resolve("llava-hf/small") == snapshot
    assert checkpoints.resolve(f"llava-hf/small@{COMMIT}") == snapshot
    assert checkpoints.fetch("llava-hf/small") == snapshot
    assert checkpoints.pinned("llava-hf/small") == f"llava-hf/small@{COMMIT}"
    assert checkpoints.revision(snapshot) == checkpoints.revision(checkpoints.resolve(str(snapshot)))


def test_a_model_that_is_not_here_says_how_to_get_it(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(UsageError, match=r"hf download llava-hf/other --revision v2\).*--model DIR"):
        checkpoints.resolve("llava-hf/other@v2")
    with pytest.raises(UsageError, match=r"missing is not a folder\. Name a folder"):
        checkpoints.fetch(str(tmp_path / "missing"))


def test_a_download_that_fails_is_one_line(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def offline(name: str, *, local_files_only: bool = False, **_: object) -> str:
        if local_files_only:
            raise huggingface_hub.errors.LocalEntryNotFoundError("nothing here")
        raise ConnectionError("no route to host\nand much more")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)

    with pytest.raises(UsageError, match=r"cannot be downloaded \(no route to host\). Try again, or copy") as error:
        checkpoints.fetch("llava-hf/other")
    assert "\n" not in str(error.value)


def test_a_snapshot_that_is_not_whole_is_downloaded_to_its_end(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    asked: list[object] = []
    genuine = huggingface_hub.snapshot_download

    def download(name: str, *, local_files_only: bool = False, **options: object) -> str:
        if not local_files_only:
            asked.append(options["allow_patterns"])
        return str(genuine(name, local_files_only=True))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    next((cache / "snapshots" / COMMIT).glob("*-00002-*")).unlink()

    checkpoints.fetch("llava-hf/small")

    assert asked == [["*.safetensors", "*.json", "tokenizer.model"]]


def test_a_copy_of_a_snapshot_has_its_revision_and_large_files_are_read_once(
    cache: Path, copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "_KEPT_BYTES", 0)
    monkeypatch.setattr(file_digests, "_SETTLED_NS", 0)
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "user"))
    revision = checkpoints.revision.__wrapped__
    known = revision(copy)

    def unread(*_: object) -> None:
        raise AssertionError("a large file was read twice")

    monkeypatch.setattr(hashlib, "file_digest", unread)

    assert revision(copy) == known == revision(cache / "snapshots" / COMMIT)
    monkeypatch.undo()
    assert revision(copy) == known
    next(copy.glob("*-00002-*")).write_bytes(b"other")
    assert revision(copy) != known


def test_the_smallest_side_is_that_of_a_layer(checkpoint: Path, tiny_folder: Path) -> None:
    assert shapes_in(checkpoint).smallest_side() == 32
    assert shapes_in(tiny_folder).smallest_side() == 16  # keys of two heads of eight


def test_a_config_alone_gives_it_too_where_sizes_are_left_out_with_transformers_own(tmp_path: Path) -> None:
    from transformers import LlamaConfig

    plain = LlamaConfig()
    config = tmp_path / "config.json"

    for text in ({"vocab_size": 32064}, {"hidden_size": plain.hidden_size, "num_attention_heads": 32}):
        config.write_text(json.dumps({"model_type": "llava", "text_config": text}), encoding="utf-8")
        assert shapes_in(tmp_path).smallest_side() == min(plain.hidden_size, plain.intermediate_size) == 4096
    config.write_text(json.dumps({"model_type": "llava", "text_config": {"num_key_value_heads": 8}}), encoding="utf-8")
    assert shapes_in(tmp_path).smallest_side() == 8 * plain.head_dim


def test_the_checkpoints_we_have_are_supported(checkpoint: Path, tiny_folder: Path) -> None:
    for folder in (checkpoint, tiny_folder, MICRO.folder):
        check_checkpoint(folder)


def _drop(name: str) -> Callable[[Path], None]:
    def drop(folder: Path) -> None:
        for path in folder.glob(name):
            path.unlink()

    return drop


def _pickled(folder: Path) -> None:
    _drop("*.safetensors*")(folder)
    (folder / "pytorch_model.bin").touch()


def _renamed(old: str, new: str) -> Callable[[Path], None]:
    def rename(folder: Path) -> None:
        from safetensors.torch import load_file, save_file

        for path in folder.glob("*.safetensors"):
            save_file({name.replace(old, new): value for name, value in load_file(path).items()}, path)

    return rename


def _set(name: str, **fields: Any) -> Callable[[Path], None]:
    return lambda folder: edited(folder, name, **fields)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (_drop("config.json"), "it has no config.json"),
        (_set("config.json", model_type="qwen2_vl"), "it is a qwen2_vl model, but only LLaVA"),
        (_set("config.json", auto_map={"AutoModel": "x.Y"}), r"custom code \(auto_map\), which is never run"),
        (_set("tokenizer_config.json", auto_map={}), "its tokenizer_config.json asks for custom code"),
        (_set("config.json", quantization_config={"bits": 4}), "quantised. Use the full weights; --base 4bit"),
        (_pickled, r"pickled \(pytorch_model.bin\).*as safetensors"),
        (_drop("*.safetensors*"), "it has no weights"),
        (_drop("*-00002-*"), "it lacks model-00002-of-00002.safetensors, which its index names"),
        (_renamed("lm_head", "head"), "it lacks the tensor language_model.lm_head.weight, which its index names"),
        (_drop("tokenizer.json"), "it has no tokenizer"),
        (_drop("pre*config.json"), "it has no image processor"),
        (
            _set("config.json", vision_feature_select_strategy="cls"),
            "select_strategy is 'cls', not default or full",
        ),
        (_set("config.json", vision_feature_layer=[-2, -5]), "uses several layers"),
        (_set("config.json", vision_config={"model_type": "pixtral"}), "its vision tower is pixtral, not clip"),
        (
            _set("config.json", image_token_index=7),
            "its image token <image> is 7 in config.json, but its tokenizer has",
        ),
        (_set("tokenizer_config.json", eos_token=None), "no end token"),
        (_renamed("q_proj", "qkv"), r"its decoder \(llama\) has 12 linear layers .* 2 blocks should have 14"),
        (_renamed("multi_modal_projector.linear", "mm.fc"), "its connector is not multi_modal_projector.linear_1"),
    ],
)
def test_an_unsupported_checkpoint_is_refused_with_the_reason(
    damage: Callable[[Path], None], reason: str, copy: Path
) -> None:
    damage(copy)

    with pytest.raises(UsageError, match=reason) as error:
        check_checkpoint(copy)
    assert "\n" not in str(error.value)


def test_the_original_layout_is_told_from_the_converted_one(copy: Path) -> None:
    (copy / "config.json").write_text(
        '{"model_type": "llava", "architectures": ["LlavaLlamaForCausalLM"]}', encoding="utf-8"
    )

    with pytest.raises(UsageError, match=r"original LLaVA's layout. Use a conversion"):
        check_checkpoint(copy)


def test_a_file_cut_short_is_told_by_its_header(copy: Path) -> None:
    path = next(copy.glob("*-00002-*"))
    path.write_bytes(path.read_bytes()[:-10])

    with pytest.raises(DataError, match=r"has \d+ bytes, but its header says \d+. Get the checkpoint again"):
        check_checkpoint(copy)


def test_a_command_refuses_a_model_before_anything_starts(
    copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edited(copy, "config.json", model_type="bert")

    for verb in ("run", "plan"):
        assert main([verb, "--model", str(copy), "--output", str(tmp_path / "runs")]) == 2

    assert "cannot be the base model: it is a bert model" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_a_run_with_another_model_can_be_shown_and_exported(
    tiny_suite: Suite,
    checkpoint: Path,
    tiny_tasks: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # a mirror that is down ends no run
    words = ["--suite", "tiny", "--plugin", str(tiny_tasks), "--output", str(tmp_path / "runs")]
    chosen = ["--model", str(checkpoint), "--methods", "lora", "--ranks", "2", "--set", "recipe.updates=1"]

    assert main(["run", *words, *chosen, "--limit", "2", "--lanes", "0"]) == 0

    store = Store(tmp_path / "runs")
    record = next(record for record in store.records() if record.trial.method == "lora")
    assert record.trial.model == checkpoints.revision(checkpoint)
    capsys.readouterr()
    assert main(["show", "lora-r2", "--command", "--output", str(tmp_path / "runs")]) == 0
    assert f"--suite tiny --model {checkpoint}" in capsys.readouterr().out
    assert main(["export", "lora-r2", "--adapter", str(tmp_path / "out"), "--output", str(tmp_path / "runs")]) == 0


def test_a_noted_model_stands_for_its_revision(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.note_model("abc", "lorasculpt", "llava-hf/small@1")
    store.note_model("def", "micro", "elsewhere")

    found = by_revision("abc", store.models())

    assert (found.name, found.model, found.recipe) == ("lorasculpt", "llava-hf/small@1", LORASCULPT.recipe)
    with pytest.raises(UsageError, match="No suite here has the base model 123"):
        by_revision("123", store.models())


def test_a_model_that_has_changed_is_not_exported(copy: Path, tmp_path: Path) -> None:
    from bench.cli.export import write_adapter

    recipe = Recipe(updates=1, batch_size=1, lr=1.0, connector_lr=1.0)
    trial = Trial("lora", {}, 2, "t", 0, recipe, "other", "d", "c")
    store = Store(tmp_path)
    store.note_model("other", "micro", str(copy))

    with pytest.raises(UsageError, match="has changed since"):
        write_adapter(replace(Record(trial, "done")), store, tmp_path / "out")
