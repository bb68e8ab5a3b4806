import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import torch
import transformers
from torch import nn

from bench.environment import attention, evaluation_environment, tower_environment, training_environment
from bench.plan.plan import make
from bench.plan.request import Request
from bench.plan.suite import Suite
from bench.plugins.tasks import Tasks
from bench.store.run_folder import Store
from bench.trial.runner import TrialRunner
from bench.values.recipe import Recipe
from bench.values.resources import Resources

CPU = torch.device("cpu")


def model(implementation: str | None = "sdpa") -> nn.Module:
    made = nn.Linear(1, 1)
    made.config = SimpleNamespace(_attn_implementation=implementation)  # type: ignore[assignment]
    return made


def test_scores_say_what_they_were_generated_with() -> None:
    facts = evaluation_environment(model("eager"), "float16", 32, CPU)

    assert {name: facts[name] for name in ("attention", "dtype", "eval_batch", "device")} == {
        "attention": "eager",
        "dtype": "float16",
        "eval_batch": "32",
        "device": "cpu",
    }
    assert facts["torch"] == torch.__version__
    assert facts["transformers"] == transformers.__version__


def test_a_change_says_what_it_was_learnt_with(recipe: Recipe) -> None:
    facts = training_environment(CPU, replace(recipe, train_dtype="bfloat16"), Resources(workers=2), model())

    assert (facts["dtype"], facts["quantization"], facts["attention"]) == ("bfloat16", "none", "sdpa")
    assert (facts["workers"], facts["micro_batch"], facts["plain_blocks"]) == ("2", str(recipe.batch_size), "all")
    assert "bitsandbytes" not in facts
    assert facts["processor"]


def test_a_quantized_base_names_the_package_that_quantized_it(recipe: Recipe) -> None:
    quantized = replace(recipe, quantization="4bit", micro_batch_size=4)
    facts = training_environment(CPU, quantized, Resources(micro_batch_size=1, plain_blocks=0), model())

    assert facts["bitsandbytes"].count(".") >= 1
    assert facts["plain_blocks"] == "0"
    assert facts["micro_batch"] == "1"  # the command's comes before the recipe's


def test_a_model_that_does_not_say_its_attention_is_unknown() -> None:
    assert attention(nn.Linear(1, 1)) == attention(model(None)) == "unknown"


def test_a_record_written_later_keeps_the_environment_of_its_training(
    tiny_suite: Suite, squares: Tasks, tmp_path: Path
) -> None:
    (store := Store(tmp_path)).prepare()
    recipe = replace(tiny_suite.recipe, updates=1)
    request = Request(tiny_suite, ("lora",), (2,), tiny_suite.targets, tiny_suite.sources, recipe, tasks=squares)
    job = next(job for job in make(request, store).jobs if job.trial.rank)
    first = TrialRunner(store, tiny_suite.folder, squares).run(replace(job, asked=()))
    folder = store.folder(job.trial)
    (folder / "record.json").unlink()
    fitted = json.loads((folder / "fitted.json").read_text(encoding="utf-8"))
    fitted["environment"]["torch"] = "2.8.0"  # as if another machine had trained it and been killed
    (folder / "fitted.json").write_text(json.dumps(fitted), encoding="utf-8")

    second = TrialRunner(store, tiny_suite.folder, squares).run(replace(job, asked=()))

    assert first.environment["attention"] == "sdpa"
    assert second.environment == {**first.environment, "torch": "2.8.0"}


def test_the_environment_of_vision_features_names_what_makes_their_bits() -> None:
    facts = tower_environment(model(), CPU)

    assert {"torch", "transformers", "numpy", "pillow", "jpeg", "processor", "threads", "attention"} <= facts.keys()
    assert facts["device"] == "cpu"
