import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

from bench import rgb_image
from bench.checks.tiny import Squares
from bench.cli.main import main
from bench.plan.suite import Suite
from bench.store.run_folder import Store
from tests.layouts.checkpoint import write

# peft 0.21 asks transformers 5 for a property by its old name
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
]


@pytest.fixture
def ran(tiny_suite: Suite, tiny_tasks: Path, tmp_path: Path) -> Path:
    output = tmp_path / "runs"
    words = ["--suite", "tiny", "--plugin", str(tiny_tasks), "--methods", "lora,dora,model_tailor", "--ranks", "2"]
    assert main(["run", *words, "--lanes", "0", "--output", str(output)]) == 0
    return output


def answers(model: nn.Module, suite: Suite) -> list[str]:
    """Generate with a plain model that was loaded from disk, through its own processor."""
    from transformers import AutoProcessor

    processor = AutoProcessor.from_pretrained(suite.folder)
    texts = []
    for example in Squares().examples("test"):
        prompt = suite.recipe.template.replace("{prompt}", example.question)
        batch = processor(text=prompt, images=rgb_image(example.image), return_tensors="pt")
        tokens = model.generate(**batch, do_sample=False, max_new_tokens=4)  # type: ignore[operator]
        texts.append(processor.decode(tokens[0, batch["input_ids"].shape[1] :], skip_special_tokens=True).strip())
    return texts


def stored(output: Path, label: str) -> list[str]:
    store = Store(output)
    record = store.find(label)
    score = next(score for score in record.scores.values() if score.asked.task == "new_squares")
    return [row["prediction"] for row in store.scores_of(record.trial).read(score)]


@pytest.mark.parametrize("method", ["lora", "dora"])
def test_an_exported_adapter_answers_alike_in_plain_peft(
    method: str, ran: Path, tiny_suite: Suite, tmp_path: Path
) -> None:
    from peft import PeftModel
    from transformers import LlavaForConditionalGeneration

    label = f"{method}-r2-new_squares-s0"
    assert main(["export", label, "--adapter", str(tmp_path / "adapter"), "--output", str(ran)]) == 0

    base = LlavaForConditionalGeneration.from_pretrained(tiny_suite.folder)
    model = PeftModel.from_pretrained(base, tmp_path / "adapter").eval()

    assert answers(model, tiny_suite) == stored(ran, label)


@pytest.mark.parametrize("method", ["lora", "dora", "model_tailor"])
def test_an_exported_merged_model_answers_alike_in_plain_transformers(
    method: str, ran: Path, tiny_suite: Suite, tmp_path: Path
) -> None:
    from transformers import LlavaForConditionalGeneration

    label = f"{method}-r2-new_squares-s0"
    assert main(["export", label, "--merged", str(tmp_path / "merged"), "--output", str(ran)]) == 0

    model = LlavaForConditionalGeneration.from_pretrained(tmp_path / "merged").eval()

    assert answers(model, tiny_suite) == stored(ran, label)


@pytest.mark.parametrize("form", ["adapter", "merged"])
def test_an_export_carries_a_card_whose_snippet_answers_as_the_trial_did(
    form: str, ran: Path, tiny_suite: Suite, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    label, folder = "lora-r2-new_squares-s0", tmp_path / form
    assert main(["export", label, f"--{form}", str(folder), "--output", str(ran)]) == 0
    capsys.readouterr()

    card = (folder / "README.md").read_text(encoding="utf-8")

    header = yaml.safe_load(card.split("---")[1])
    assert header["library_name"] == ("peft" if form == "adapter" else "transformers")
    assert "| new_squares | learnt | exact |" in card
    assert "| old_squares | may be forgotten | exact |" in card
    assert "bench run --suite tiny" in card
    for path in folder.iterdir():
        assert path.stat().st_mode & 0o044 == 0o044, path
        if path.suffix != ".safetensors":
            assert str(tmp_path) not in path.read_text(encoding="utf-8"), path
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    code = code.replace('"FOLDER"', repr(str(folder))).replace('"BASE"', repr(str(tiny_suite.folder)))
    for example, answer in zip(Squares().examples("test")[:3], stored(ran, label), strict=False):
        rgb_image(example.image).save(tmp_path / "picture.png")
        asked = code.replace('"YOUR QUESTION"', repr(example.question))
        asked = asked.replace('"PICTURE"', repr(str(tmp_path / "picture.png")))
        exec(compile(asked, "card", "exec"), {})
        assert capsys.readouterr().out.strip() == answer


def test_a_change_that_peft_cannot_express_says_what_to_do(
    ran: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["export", "model_tailor-r2-new_squares-s0", "--adapter", str(tmp_path / "a"), "--output", str(ran)]

    assert main(words) == 2
    assert "Use --merged DIR" in capsys.readouterr().err


@pytest.mark.parametrize("form", ["--adapter", "--merged"])
def test_a_change_that_does_not_merge_is_refused_before_anything_is_written(
    form: str, tiny_suite: Suite, tiny_tasks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = ["--lanes", "0", "--output", str(tmp_path / "runs")]
    words = ["--suite", "tiny", "--plugin", str(tiny_tasks), "--methods", "mixlora", "--ranks", "2"]
    assert main(["run", *words, "--rewind", "0.5", *output]) == 0
    printed = capsys.readouterr()
    assert "mixlora has no curve of --rewind: each example chooses" in printed.err
    assert "mixlora: each example chooses its own factors, so the change is held live" in printed.out

    assert main(["export", "mixlora", form, str(tmp_path / "new"), *output[2:]]) == 2

    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "The change of mixlora-r2-new_squares-s0 is routed: in " in error
    assert not (tmp_path / "new").exists()


def test_an_export_to_a_folder_that_cannot_be_written_is_one_line(
    ran: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()

    for place in ("file", "file/adapter"):
        code = main(["export", "lora", "--adapter", str(tmp_path / place), "--output", str(ran)])
        error = capsys.readouterr().err
        assert (code, error.count("\n")) == (2, 1)
        assert str(tmp_path / place) in error


def test_an_export_never_overwrites_a_folder(ran: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()

    assert main(["export", "lora", "--merged", str(tmp_path / "full"), "--output", str(ran)]) == 2
    assert "is not empty" in capsys.readouterr().err


def test_the_adapter_peft_loads_is_bit_equal_to_the_stored_one(ran: Path, tiny_suite: Suite, tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import LlavaForConditionalGeneration

    from bench.model.adapters import lora_change

    label = "lora-r2-new_squares-s0"
    main(["export", label, "--adapter", str(tmp_path / "adapter"), "--output", str(ran)])

    base = LlavaForConditionalGeneration.from_pretrained(tiny_suite.folder)
    loaded = lora_change(PeftModel.from_pretrained(base, tmp_path / "adapter"))

    change = Store(ran).change_of(Store(ran).find(label).trial).read()
    assert set(loaded) == set(change)
    for name, delta in change.items():
        for part, tensor in delta.tensors().items():
            assert torch.equal(tensor, loaded[name].tensors()[part]), name


# A colleague's process, with transformers alone. LLaVA tokenises the texts before and after the image separately.
_COLLEAGUE = """
import json, sys
import torch
from PIL import Image
from transformers import AutoProcessor, LlavaForConditionalGeneration
torch.set_num_threads(1)
folder, prompts = sys.argv[1], json.loads(sys.argv[2])
model = LlavaForConditionalGeneration.from_pretrained(folder).eval()
processor = AutoProcessor.from_pretrained(folder, backend="pil")
answers = []
for prompt, image in prompts:
    before, after = prompt.split("<image>")
    batch = processor(text=before + "<image>", images=Image.open(image), return_tensors="pt")
    rest = processor.tokenizer(after, add_special_tokens=False, return_tensors="pt").input_ids
    ids = torch.cat([batch.input_ids, rest], dim=1)
    said = model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), pixel_values=batch.pixel_values, max_new_tokens=4
    )
    answers.append(processor.decode(said[0, ids.shape[1] :], skip_special_tokens=True).strip())
assert not any(name.split(".")[0] == "bench" for name in sys.modules)
print(json.dumps(answers))
"""


def _sampling(folder: Path) -> None:
    settings = json.loads((folder / "generation_config.json").read_text(encoding="utf-8"))
    changed = {**settings, "do_sample": True, "temperature": 9.0, "repetition_penalty": 3.0}
    (folder / "generation_config.json").write_text(json.dumps(changed), encoding="utf-8")


def _older(folder: Path) -> None:
    for name in ("processor_config.json", "generation_config.json", "chat_template.json"):
        (folder / name).unlink()


@pytest.mark.parametrize("edit", [_older, _sampling])
def test_a_merged_model_of_any_base_answers_alike_in_a_process_with_transformers_alone(
    edit: Callable[[Path], None], tiny_suite: Suite, tiny_tasks: Path, tmp_path: Path
) -> None:
    base, runs, merged = write(tmp_path / "base"), tmp_path / "runs", tmp_path / "merged"
    edit(base)
    words = ["--suite", "tiny", "--plugin", str(tiny_tasks), "--methods", "lora", "--ranks", "2", "--model", str(base)]
    changed = ["--set", "recipe.updates=2", "--set", "recipe.image=pad"]
    assert main(["run", *words, *changed, "--limit", "8", "--lanes", "0", "--output", str(runs)]) == 0
    assert main(["export", "lora-r2", "--merged", str(merged), "--output", str(runs)]) == 0

    prompts = []
    for place, example in enumerate(Squares().examples("test")[:8]):
        rgb_image(example.image).save(tmp_path / f"{place}.png")
        prompts.append((tiny_suite.recipe.template.replace("{prompt}", example.question), f"{tmp_path}/{place}.png"))
    words = [sys.executable, "-I", "-c", _COLLEAGUE, str(merged), json.dumps(prompts)]
    child = subprocess.run(words, capture_output=True, encoding="utf-8", check=True, cwd=tmp_path)

    assert json.loads(child.stdout) == stored(runs, "lora-r2")


def test_colleagues_can_read_what_is_exported(ran: Path, tmp_path: Path) -> None:
    (tmp_path / "new").touch()
    for kind in ("adapter", "merged"):
        main(["export", "lora-r2-new_squares-s0", f"--{kind}", str(tmp_path / kind), "--output", str(ran)])
        for path in (tmp_path / kind).iterdir():
            assert path.stat().st_mode == (tmp_path / "new").stat().st_mode, path.name
