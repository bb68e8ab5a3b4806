"""What bench plan counts, by hand: 7 methods x 3 ranks x 2 targets on four sources, without model or data."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bench.cli.plan import PlanOptions
from bench.cli.request import read_request
from bench.errors import DataError, UsageError
from bench.plan.suite import LORASCULPT
from bench.prepare.price.blueprint import Blueprint
from bench.prepare.price.draft import Draft, draft
from bench.prepare.price.quote import Quote
from bench.prepare.price.rates import (
    REFERENCE,
    Fleet,
)
from bench.prepare.price.text import lines
from bench.prepare.price.work import gpu_hours
from bench.sizes import GB
from bench.store.run_folder import Store
from bench.values.resources import Resources
from tests.making.commands import typed
from tests.making.quotes import RATE, quoted

RECIPE = LORASCULPT.recipe
SOURCES = 5046 + 2000 + 12578 + 5000


@pytest.mark.slow
def test_the_papers_table_is_planned_without_its_model_and_data(drafted: Callable[..., Draft]) -> None:
    found = drafted("--ranks", "16,32,64")
    quote = quoted(found)

    assert len(found.missing) == 2
    assert "bench data get iconqa,coco_caption,okvqa,ocrvqa,gqa,textvqa" in found.missing[0]
    assert "--model DIR" in found.missing[1]
    assert (len(found.plan.cells), len(found.plan.trainings)) == (42, 30)
    assert sum(item.trains for item in quote.todo) == 30
    # 21 cells of each target score four sources and that target; the untouched model scores all six
    answers = 21 * (2 * SOURCES + 6316 + 5000) + SOURCES + 6316 + 5000
    assert sum(item.answers for item in quote.todo) == answers == 1_307_784
    assert sum(len(item.scores) for item in quote.todo) == 42 * 5 + 6


def test_a_limit_bounds_every_score(drafted: Callable[..., Draft]) -> None:
    quote = quoted(drafted("--methods", "lora", "--targets", "iconqa", "--limit", "3000"))

    assert sum(item.answers for item in quote.todo) == 2 * (3000 + 2000 + 3000 + 3000 + 3000)


@pytest.mark.slow
def test_hours_are_examples_over_the_published_rate(drafted: Callable[..., Draft]) -> None:
    quote = quoted(drafted("--methods", "lora,dare", "--targets", "iconqa"))
    answers = 3 * (SOURCES + 6316)
    scale = 7.06e9 / 7_063_427_072
    assert quote.rates is not None

    hours = gpu_hours(quote.todo, quote.rates)

    assert hours == pytest.approx((1875 * 16 / RATE + answers / (3 * RATE)) / scale / 3600)
    assert quote.wall_hours == pytest.approx(hours)


def test_two_gpus_that_share_a_trial_take_half_the_time_of_one(drafted: Callable[..., Draft]) -> None:
    found = drafted("--methods", "lora", "--targets", "iconqa", "--limit", "10")
    alone, shared = quoted(found), quoted(found, Fleet(REFERENCE, 2), workers=2)

    assert shared.lanes == 1
    assert shared.wall_hours == pytest.approx(alone.wall_hours / 2)


@pytest.mark.parametrize(("asked", "lanes"), [(None, 4), (3, 3), (9, 4), (0, 1)])
def test_lanes_are_what_is_asked_for_and_there_are_devices_for(
    drafted: Callable[..., Draft], asked: int | None, lanes: int
) -> None:
    found = drafted("--methods", "lora", "--ranks", "16,32,64", "--targets", "iconqa", "--limit", "10")
    quote = replace(quoted(found, Fleet(REFERENCE, 8), workers=2), most_lanes=asked)

    assert quote.lanes == lanes
    # of three trainings and the untouched model: each lane has one, or a single lane has all
    alone = gpu_hours(quote.todo, quote.rates) if quote.rates else 0.0
    assert quote.wall_hours == pytest.approx(alone / 2 / (1 if lanes == 1 else 3), rel=0.01)


def test_on_a_cpu_there_is_a_lane_for_every_core(
    drafted: Callable[..., Draft], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.prepare.price.work.cores", lambda: 6)
    quote = replace(quoted(drafted("--methods", "lora")), fleet=None)

    assert quote.lanes == 6


@pytest.mark.slow
def test_a_checkpoint_is_twice_on_disk_while_it_is_written(drafted: Callable[..., Draft]) -> None:
    quote = quoted(drafted("--methods", "lora", "--ranks", "64"), Fleet(REFERENCE, 2))

    # weights and both moments of 180,887,552 parameters in float32, the old and the new, in two lanes
    assert dict(quote.disk())["checkpoints of running trainings"] == 180_887_552 * 3 * 4 * 2 * 2


@pytest.mark.slow
def test_the_length_that_training_is_cut_to_shortens_no_question(drafted: Callable[..., Draft]) -> None:
    whole, cut = (
        quoted(drafted("--methods", "lora", "--targets", "iconqa", *words))
        for words in ((), ("--set", "recipe.max_length=600"))
    )

    assert cut.footprint("lora", 32).total(16) < whole.footprint("lora", 32).total(16)
    assert cut.evaluation == whole.evaluation


@pytest.mark.slow
def test_features_that_a_lane_cannot_keep_are_named(drafted: Callable[..., Draft]) -> None:
    quote = quoted(drafted("--methods", "lora,dare", "--targets", "iconqa"))

    assert quote.pictures == SOURCES + 6316 + 10_000
    assert quote.feature_bytes == 577 * 1024 * 2
    said = [line for line in lines(quote) if line.startswith("Vision features")]
    assert said == [
        "Vision features of 40,940 images at most: 45.1 GiB of main memory per lane, "
        "of which --feature-cache keeps 4.0; the rest is computed again in every trial, "
        "unless --feature-files 49 keeps it"
    ]
    filed = replace(quote, resources=Resources(feature_file_bytes=49 * GB))
    assert next(line for line in lines(filed) if line.startswith("Vision features")).endswith(
        "keeps 4.0; the rest is read from the files that all lanes share"
    )
    replayed = quoted(drafted("--methods", "lora,replay", "--targets", "iconqa"))
    assert replayed.pictures == quote.pictures + RECIPE.updates * RECIPE.batch_size  # 30,000
    roomy = replace(quote, resources=Resources(feature_cache_bytes=46 << 30))
    assert not [line for line in lines(roomy) if line.startswith("Vision features")]


@pytest.mark.slow
def test_snapshots_are_changes_too(drafted: Callable[..., Draft]) -> None:
    quote = quoted(drafted("--methods", "lora", "--ranks", "64", "--targets", "iconqa", "--baselines"))

    # LoRA, at a third of its rate, and with replay; 5 snapshots, and a row of each; a frozen connector; four parts
    connector, rank = 20_979_712, 64 * 32
    whole, attention, gate_up = 13 * (rank * 78_080 + connector), 32_768, 30_208
    parts = sum(rank * attention for rank in (64, 152)) + sum(rank * gate_up for rank in (64, 165))
    expected = whole + rank * 78_080 + 32 * parts + 4 * connector
    assert dict(quote.disk())["changes"] == 4 * expected


@pytest.mark.slow
def test_every_control_is_priced_by_its_own_layers_connector_and_rank(drafted: Callable[..., Draft]) -> None:
    words = ("--methods", "lora,dare", "--ranks", "32,64", "--targets", "iconqa", "--baselines")
    quote = quoted(drafted(*words))

    trained = {name: quote.adapted[name, 64].trained for name in quote.methods if (name, 64) in quote.adapted}
    assert trained == {
        "lora": 180_887_552,
        "lora frozen connector": 159_907_840,
        "lora attention only": 88_088_576,
        "lora attention at equal size": 180_363_264,  # rank 152
        "lora gate_up only": 82_845_696,
        "lora gate_up at equal size": 180_477_952,  # rank 165
        "replay": 180_887_552,
    }
    plain, part = quote.footprint("lora", 64), quote.footprint("lora attention at equal size", 64)
    assert part.fixed["optimizer"] == 8 * 180_363_264
    assert part.example["activations"] < plain.example["activations"]  # the MLP keeps no input of an adapter
    assert quote.ranks == (32, 64)
    shown = [line.split() for line in lines(quote) if line.startswith("  lora attention at equal size")]
    assert shown[0][-4:-2] == ["100,671,488", "180,363,264"]


@pytest.mark.slow
def test_a_control_above_the_smallest_side_is_priced_and_a_rank_of_the_request_is_not(tmp_path: Path) -> None:
    options = typed(PlanOptions, "--methods", "lora", "--ranks", "64", "--targets", "icon_choice", "--baselines")
    found = draft(read_request(options, tmp_path / "runs"), Store(tmp_path / "runs"))
    quote = Quote(found.plan, Blueprint.of("", found.folder), Resources(), None, None)

    assert quote.trials["lora gate_up at equal size", 64].rank == 181
    assert quote.adapted["lora gate_up at equal size", 64].trained == 589_056


def test_a_task_that_does_not_know_its_size_says_what_it_lacks(
    drafted: Callable[..., Draft], monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.plugins.registry import Registry

    monkeypatch.setattr(Registry().task_class("gqa"), "sizes", {})

    with pytest.raises(DataError, match=r"gqa: .* is missing"):
        drafted()


def test_data_that_is_here_in_part_says_what_is_wrong_with_it(drafted: Callable[..., Draft], tmp_path: Path) -> None:
    (tmp_path / "gqa").mkdir()

    (fault,) = drafted().faults

    assert fault.startswith("gqa: ")
    assert "bench data get gqa" in fault


def test_a_rank_beyond_the_layers_is_refused_without_the_model(drafted: Callable[..., Draft]) -> None:
    quote = quoted(drafted("--ranks", "5000", "--methods", "lora"))

    with pytest.raises(UsageError, match="Rank 5000 is too large: the smallest adapted layer has 4096"):
        _ = quote.adapted


@pytest.mark.parametrize("model", ["/no/such/folder", "some/model"])
def test_a_model_that_is_neither_here_nor_known_is_refused(drafted: Callable[..., Draft], model: str) -> None:
    with pytest.raises(UsageError, match=model):
        drafted("--model", model)


def test_an_unknown_model_that_is_not_here_has_no_blueprint() -> None:
    with pytest.raises(UsageError, match="'some/model' is not on this machine, and its shapes are not known"):
        Blueprint.of("some/model", None)


@pytest.mark.slow
def test_a_method_with_two_forward_passes_at_once_holds_the_activations_of_both(drafted: Callable[..., Draft]) -> None:
    words = ("--methods", "lora,mdgd", "--ranks", "64", "--targets", "iconqa")
    whole = quoted(drafted(*words))
    ablation = quoted(drafted(*words, "--set", "mdgd.reference=none"))

    plain, mdgd = whole.footprint("lora", 64), whole.footprint("mdgd", 64)

    assert mdgd.example == {part: 2 * size for part, size in plain.example.items()}
    assert ablation.footprint("mdgd", 64).example == plain.example


@pytest.mark.slow
def test_the_seconds_of_edits_are_priced_and_the_plan_says_from_what(drafted: Callable[..., Draft]) -> None:
    quote = quoted(drafted("--methods", "lora,dare,model_tailor", "--ranks", "32", "--targets", "iconqa"))
    assert quote.rates is not None

    text = "\n".join(lines(quote))

    seconds = 128 * 3 / 2 / quote.rates.train  # three forward passes of 128 examples, each half of an example's update
    assert sum(item.edit_seconds(quote.rates) for item in quote.todo) == pytest.approx(seconds)
    assert f"{seconds / 3600:.3f} of edits and" in text
    assert "model_tailor (128 examples, 3 passes each): estimated from their passes through the decoder" in text
    assert "dare: only weights are read, not included" in text
    known = replace(quote, rates=replace(quote.rates, edits={"dare": 3.0, "model_tailor": 36.0}))
    assert "time of edits: dare, model_tailor: measured" in "\n".join(lines(known))
    tokens = 128 * quote.tokens
    parts = {"inputs of a block": 4 * tokens * (3 * 4096 + 11_008), "states at its door": 2 * tokens * 4096}
    assert quote.captures("model_tailor") == parts
    assert quote.captures("dare") == quote.captures("lora") == {}
    assert "Main memory of model_tailor per lane, GiB: inputs of a block 7.46, states at its door 0.66" in text
