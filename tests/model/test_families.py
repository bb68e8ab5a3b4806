"""A family that the engine has never seen goes through every step of a trial: nothing of the engine knows its names."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench import rgb_image
from bench.checks.tiny import Squares
from bench.cli import export
from bench.errors import UsageError
from bench.model import families
from bench.model.adapters import adapted_layers
from bench.model.change import Change, LowRank, Replaced
from bench.model.decoding import greedy
from bench.model.family import ROLES, Family
from bench.model.holding import holding
from bench.model.resident import Base, Form
from bench.plan import suite as suites
from bench.plan.plan import Plan, make
from bench.plan.request import Request
from bench.plan.suite import Suite
from bench.plugins.tasks import Tasks
from bench.store.run_folder import Store
from bench.trial.corpus import Corpus
from bench.trial.runner import TrialRunner
from bench.values.record import Record
from tests.making.second_family import Second, SecondModel, write_second

Run = Callable[..., tuple[Store, TrialRunner, dict[str, Record]]]
FORM = Form()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("second")
    write_second(folder)
    return folder


@pytest.fixture
def second(checkpoint: Path, tiny_suite: Suite, monkeypatch: pytest.MonkeyPatch) -> Suite:
    """A suite whose base model is of the second family, which is known while the test runs."""
    monkeypatch.setattr(families, "FAMILIES", (*families.FAMILIES, Second()))
    suite = replace(tiny_suite, name="second", model=str(checkpoint))
    monkeypatch.setitem(suites.SUITES, "second", suite)
    return suite


@pytest.fixture
def run(second: Suite, squares: Tasks, tmp_path: Path) -> Run:
    def build(*methods: str, **changes: Any) -> tuple[Store, TrialRunner, dict[str, Record]]:
        store = Store(tmp_path / "runs")
        store.prepare()
        recipe = replace(second.recipe, **changes)
        cells = (methods, (2,), second.targets, second.sources)
        plan: Plan = make(Request(second, *cells, recipe, tasks=squares), store)
        bench = TrialRunner(store, second.folder, squares)
        return store, bench, {job.trial.method: bench.run(job) for job in plan.jobs}

    return build


@pytest.fixture
def base(second: Suite) -> Base:
    return Base.load(second.folder, FORM, torch.device("cpu"))


def corpus_of(base: Base) -> Corpus:
    return Corpus(base, Squares(), "test", "USER: <image>\n{prompt} ASSISTANT:")


def said(model: nn.Module, corpus: Corpus, indices: Sequence[int]) -> list[list[int]]:
    with torch.no_grad():
        return greedy(model, corpus.prompt_batch(indices), 5, ())


def step_by_step(model: Any, corpus: Corpus, index: int) -> list[int]:
    """The model's own words, which it reads whole for each of them, at positions of its own."""
    batch, words = corpus.prompt_batch([index]), []
    with torch.no_grad():
        for _ in range(5):
            words.append(int(model(**batch).logits[0, -1].argmax()))
            batch["input_ids"] = torch.cat([batch["input_ids"], torch.tensor([[words[-1]]])], dim=1)
            batch["attention_mask"] = torch.ones_like(batch["input_ids"])
            batch["kinds"] = (batch["input_ids"] == model.config.placeholder).float()
    return words


def test_a_checkpoint_of_a_family_that_is_not_known_is_refused(checkpoint: Path) -> None:
    with pytest.raises(
        UsageError, match=r": it is a second model, but only LLaVA \(model_type llava\) is supported\.$"
    ):
        families.check_checkpoint(checkpoint)


@pytest.mark.usefixtures("second")
def test_a_family_that_is_added_to_the_list_is_known(checkpoint: Path) -> None:
    families.check_checkpoint(checkpoint)

    assert families.family_in(checkpoint).title == "Second"
    assert families.shapes_in(checkpoint).smallest_side() == 16  # keys of two heads of eight


@pytest.mark.usefixtures("second")
@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"model_type": "third"}, r"only LLaVA \(model_type llava\) and Second \(model_type second\) are supported"),
        ({"sight": 0}, "it is blind"),
        ({"quantization_config": {}}, "its weights are quantised"),
    ],
)
def test_what_a_family_refuses_is_told_with_what_the_engine_refuses(
    fields: dict[str, Any], reason: str, checkpoint: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(checkpoint, folder)
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **fields}), encoding="utf-8")

    with pytest.raises(UsageError, match=reason):
        families.check_checkpoint(folder)


def test_every_decoder_linear_is_found_once_and_none_of_the_tower(base: Base, second: Suite) -> None:
    layers = adapted_layers(base.model, replace(second.recipe, connector="lora"))

    decoder = [(layer.block, layer.role) for layer in layers.values() if not layer.in_connector]
    assert sorted(decoder) == sorted((block, role) for block in range(2) for role in ROLES)
    assert [name for name, layer in layers.items() if layer.in_connector] == ["bridge.weight"]


@pytest.mark.parametrize("known", [*families.FAMILIES, Second()])
def test_no_familys_patterns_match_another_familys_towers(known: Family) -> None:
    for name in (
        "eyes.q_proj.weight",
        "model.vision_tower.vision_model.encoder.layers.3.self_attn.q_proj.weight",
        "model.vision_tower.encoder.layers.3.self_attn.q_proj.weight",
    ):
        assert known.blocks.search(name) is None
        assert known.stored_linears.fullmatch(name) is None


def test_pictures_take_tokens_of_their_own_number(base: Base) -> None:
    corpus = corpus_of(base)
    rows = [corpus.prompt_batch([index])["input_ids"][0] for index in range(12)]

    assert {int((row == base.family.placeholder(base.model.config)).sum()) for row in rows} == {2, 3, 4}


def test_a_batch_gives_the_answers_that_the_model_gives_step_by_step(base: Base) -> None:
    corpus = corpus_of(base)
    alone = [step_by_step(base.model, corpus, index) for index in range(12)]

    assert said(base.model, corpus, range(12)) == alone
    assert [said(base.model, corpus, [index])[0] for index in range(12)] == alone
    assert len({tuple(words) for words in alone}) > 3


@pytest.mark.parametrize("broken", ["positions", "inputs"])
def test_other_positions_or_no_extra_inputs_would_show_in_the_answers(
    base: Base, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = corpus_of(base)
    right = said(base.model, corpus, range(12))

    def plain_positions(self: Family, config: object, batch: dict[str, Tensor]) -> Tensor:
        return Family.positions(self, config, batch)[None]

    def no_kinds(self: Family, config: object, ids: Tensor, features: Any) -> dict[str, Tensor]:
        return {"seen": torch.cat([item["seen"] for item in features])}

    monkeypatch.setattr(Second, broken, {"positions": plain_positions, "inputs": no_kinds}[broken])

    assert said(base.model, corpus, range(12)) != right


@pytest.mark.slow
@pytest.mark.parametrize("connector", ["full", "lora", "frozen"])
def test_it_trains_and_is_scored_with_every_connector(run: Run, connector: str) -> None:
    store, _, records = run("lora", connector=connector)
    record = records["lora"]
    change = store.change_of(record.trial).read()

    kinds = {name: type(delta) for name, delta in change.items() if "bridge" in name}
    decoder = [name for name in change if name.startswith("text_model.layers.")]
    full, lora = {"bridge.weight": Replaced, "bridge.bias": Replaced}, {"bridge.weight": LowRank}
    assert (record.status, record.error) == ("done", None)
    assert len(decoder) == 14
    assert kinds == {"full": full, "lora": lora, "frozen": {}}[connector]
    assert all(delta.b.abs().sum() > 0 for delta in change.values() if isinstance(delta, LowRank))
    losses = store.change_of(record.trial).losses()
    assert losses[-1] < losses[0]


@pytest.mark.slow
def test_methods_that_edit_or_look_into_the_model_run_on_it(run: Run) -> None:
    _, _, records = run("lorasculpt", "orth_reg", "dare", "model_tailor")

    assert {name: record.error for name, record in records.items()} == dict.fromkeys(records)
    assert {"lorasculpt", "orth_reg", "dare", "model_tailor"} <= records.keys()


@pytest.mark.slow
def test_a_merged_change_answers_as_the_live_adapter_in_batches_of_any_size(run: Run) -> None:
    from bench.trial.ways import unmerged

    store, bench, records = run("lora")
    change = store.change_of(records["lora"].trial).read()
    base = bench.warm.base(FORM)
    corpus = corpus_of(base)
    before = said(base.model, corpus, range(12))

    with holding(base.model, change, base.pristine) as model:
        together = said(model, corpus, range(12))
        assert together == [step_by_step(model, corpus, index) for index in range(12)]
    with unmerged(base, change) as model:
        assert said(model, corpus, range(12)) == together
    assert together != before
    assert said(base.model, corpus, range(12)) == before


def logits(model: Any, base: Base) -> Tensor:
    """A whole model's logits for pictures, through its own tower."""
    model.eval()
    corpus = corpus_of(base)
    inputs = corpus.prompt_batch(range(4))
    with torch.no_grad():
        images = [rgb_image(example.image) for example in corpus.examples[:4]]
        features = base.family.encode(model.eyes, model.config, base.pixels(images))
        inputs |= base.family.inputs(model.config, inputs["input_ids"], features)
        found: Tensor = model(**inputs).logits
    return found


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
@pytest.mark.parametrize("connector", ["full", "lora"])
def test_an_exported_trial_is_loaded_by_peft_and_transformers_alone(run: Run, connector: str, tmp_path: Path) -> None:
    from peft import PeftModel

    store, bench, records = run("lora", connector=connector)
    base = bench.warm.base(FORM)
    export.write_adapter(records["lora"], store, tmp_path / "adapter")
    export.write_merged(records["lora"], store, tmp_path / "merged")

    plain = SecondModel.from_pretrained(bench.model)
    wrapped = PeftModel.from_pretrained(SecondModel.from_pretrained(bench.model), tmp_path / "adapter")
    whole = SecondModel.from_pretrained(tmp_path / "merged")

    torch.testing.assert_close(logits(wrapped, base), logits(whole, base), rtol=0, atol=1e-3)
    assert not torch.allclose(logits(plain, base), logits(whole, base), atol=0.1)


@pytest.mark.slow
def test_a_saved_change_names_the_connector_for_peft_and_is_read_back(run: Run, tmp_path: Path) -> None:
    store, _, records = run("lora")
    change = store.change_of(records["lora"].trial).read()

    change.save(tmp_path / "saved")

    settings = json.loads((tmp_path / "saved" / "adapter_config.json").read_text(encoding="utf-8"))
    assert settings["modules_to_save"] == ["bridge"]
    assert list(Change.load(tmp_path / "saved")) == list(change)
