"""Write the model card of an exported trial, so that a folder on a hub says what it is and how good it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np

from bench.leaderboard.stats import Estimate, estimate, resample
from bench.plan.suite import Suite
from bench.store.run_folder import Store
from bench.text import shareable
from bench.values.record import Record
from bench.values.scores import Score
from bench.values.trial import Trial

_USE_ADAPTER = """\
from peft import PeftModel
from PIL import Image
from transformers import AutoProcessor, LlavaForConditionalGeneration

base = {base}
model = LlavaForConditionalGeneration.from_pretrained(base)
model = PeftModel.from_pretrained(model, "FOLDER")  # this folder
processor = AutoProcessor.from_pretrained(base)
"""
_USE_MERGED = """\
from PIL import Image
from transformers import AutoProcessor, LlavaForConditionalGeneration

model = LlavaForConditionalGeneration.from_pretrained("FOLDER")  # this folder
processor = AutoProcessor.from_pretrained("FOLDER")
"""
_ASK = """\
image = Image.open("PICTURE").convert("RGB")
prompt = "{template}".replace("{{prompt}}", "YOUR QUESTION")
batch = processor(text=prompt, images=image, return_tensors="pt")
reply = model.generate(**batch, do_sample=False, max_new_tokens={tokens})[0, batch["input_ids"].shape[1] :]
print(processor.decode(reply, skip_special_tokens=True))
"""


@dataclass(frozen=True, slots=True)
class Exported:
    """What a card describes: a trial, its base model, and the licences of the data by task.

    ``command`` repeats the trial, and is empty if no command does.
    """

    record: Record
    store: Store
    suite: Suite
    merged: bool
    licences: Mapping[str, str]
    command: str = ""


def model_card(exported: Exported) -> str:
    """Return the card as Markdown with the hub's header; it names no absolute path."""
    return "\n".join(_lines(exported)) + "\n"


def _lines(exported: Exported) -> Iterator[str]:
    record, suite = exported.record, exported.suite
    trial = record.trial
    yield from _header(exported)
    yield f"# {trial.label}"
    yield ""
    what = "The base model with what it learnt merged in" if exported.merged else "A peft adapter"
    learnt = " and then ".join(trial.tasks)
    yield f"{what}: `{trial.method}` at rank {trial.rank}, trained on `{learnt}` with seed {trial.seed}."
    yield f"Base model: `{suite.model_name}`, revision `{trial.model}` (a digest of its files)."
    yield ""
    yield from _scores(exported)
    yield "## Use"
    yield ""
    yield "```python"
    if suite.packaged and not exported.merged:
        yield "from importlib.resources import files"
        yield ""
    yield (_USE_MERGED if exported.merged else _USE_ADAPTER.format(base=_base(suite))).rstrip()
    yield ""
    yield _ASK.format(template=_quoted(trial.recipe.template), tokens=_answer_tokens(record)).rstrip()
    yield "```"
    yield ""
    yield from _training(exported, trial)
    yield from _licence(exported)
    made = f"{datetime.now(UTC):%Y-%m-%d}"
    yield f"Written by retain-bench {version('retain-bench')} on {made}."


def _answer_tokens(record: Record) -> int:
    """Return the most tokens that an answer to the learnt task was scored with, or 16 if it was not scored."""
    asked = [score.asked for score in record.scores.values() if score.asked.task in record.trial.tasks]
    return max((item.max_new_tokens for item in asked), default=16)


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _base(suite: Suite) -> str:
    """Return where the snippet finds the base model, as Python."""
    if suite.packaged:
        return f'files("bench") / "assets" / "{suite.name}"'
    return f'"BASE"  # the folder of {suite.model_name}' if Path(suite.model).is_dir() else f'"{suite.model}"'


def _header(exported: Exported) -> Iterator[str]:
    """Yield the header that a hub reads."""
    suite = exported.suite
    yield "---"
    yield f"library_name: {'transformers' if exported.merged else 'peft'}"
    if not Path(suite.model).is_dir():
        yield f"base_model: {suite.model}"
    yield "pipeline_tag: image-text-to-text"
    yield "tags: [retain-bench, lora, continual-learning]"
    yield "---"
    yield ""


def _scores(exported: Exported) -> Iterator[str]:
    """Yield a table of the test scores with intervals, next to those of the base model if it was scored alike."""
    record, store = exported.record, exported.store
    found = [score for score in record.scores.values() if score.asked.split == "test"]
    if not found:
        yield "It has no test scores."
        yield ""
        return
    reference = next((other for other in store.records() if other.trial.is_reference_of(record.trial)), None)
    yield "## Scores"
    yield ""
    yield "Test scores x100 with 95 % intervals over the test examples, not over trainings."
    yield ""
    yield "| task | role | metric | examples | base model | this model |"
    yield "|---|---|---|---|---|---|"
    for score in sorted(found, key=lambda score: score.asked.task not in record.trial.tasks):
        role = "learnt" if score.asked.task in record.trial.tasks else "may be forgotten"
        before = reference.scores.get(score.asked.key) if reference is not None else None
        base = _number(_estimate(store, reference.trial, before)) if reference is not None and before else "-"
        here = _number(_estimate(store, record.trial, score))
        yield f"| {score.asked.task} | {role} | {score.primary} | {score.asked.count:,} | {base} | {here} |"
    yield ""


def _estimate(store: Store, trial: Trial, score: Score) -> Estimate:
    rows = store.scores_of(trial).read(score)
    values = np.array([row["scores"][score.primary] for row in rows])
    return estimate(resample(score.asked.task, {"": {trial.seed: values}})[""])


def _number(value: Estimate) -> str:
    return f"{value.percent} ({100 * value.low:.2f} to {100 * value.high:.2f})"


def _training(exported: Exported, trial: Trial) -> Iterator[str]:
    yield "## Training"
    yield ""
    own = {f"{trial.method}.{name}": value for name, value in trial.hyper.items()}
    for name, value in {**own, **trial.recipe.to_json()}.items():
        if value is not None:
            yield f"* {name}: `{_visible(value)}`"
    yield ""
    yield f"Environment: {_pairs(exported.record.environment)}."
    if exported.command:
        yield ""
        yield "The command that repeats it:"
        yield ""
        yield f"    {shareable(exported.command)}"
    yield ""


def _licence(exported: Exported) -> Iterator[str]:
    yield "## Licence"
    yield ""
    yield "retain-bench adds no terms of its own. Those of the base model and of the training data apply:"
    yield ""
    yield f"* base model: see `{exported.suite.model_name}`"
    for task, licence in exported.licences.items():
        yield f"* {task}: {licence}"
    yield ""


def _visible(value: object) -> str:
    """Return a setting as text on one line; the line ends of a template stay visible."""
    text = str(value).replace("`", "'")
    return repr(text) if len(text.splitlines()) > 1 else text


def _pairs(facts: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {shareable(' '.join(value.split()))}" for name, value in facts.items()) or "not noted"
