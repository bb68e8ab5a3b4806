"""Why a leaderboard cannot be compared with a paper's tables."""

from dataclasses import replace
from pathlib import Path

import pytest

from bench import Paper, Reading, SequencePaper
from bench.model import checkpoints
from bench.papers.comparable import reasons, sources_differ
from bench.plan.request import Request
from bench.plan.suite import LORASCULPT, MICRO, Suite
from bench.plan.tuned import TunedChoice
from bench.plugins.tasks import Tasks
from tests.layouts import checkpoint, write_files
from tests.making.published import SOURCES

SUITE = Suite("lorasculpt", LORASCULPT.model, SOURCES, ("iconqa", "coco_caption"), MICRO.recipe)


def asked(**changes: object) -> Request:
    recipe = SUITE.recipe
    plain = Request(SUITE, ("lora", "dare", "lorasculpt"), (32,), SUITE.targets, SOURCES, recipe)
    return replace(plain, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"sources": SOURCES[::-1], "targets": ("iconqa",), "seeds": (0, 1)},
        {"recipe": replace(SUITE.recipe, connector="lora", micro_batch_size=4)},
        {"settings": {"lora": {"lr": None}}},
        {"methods": ("l2",), "settings": {"lora": {"lr": 1e-3}}},
        {"ranks": (8,), "settings": {"lora": {"lr": 1e-3}}},
        {"tuned": {("lora", 32, "iconqa"): TunedChoice({"lr": 1e-3}, 8)}},  # a row next to the default
    ],
)
def test_what_leaves_the_compared_rows_as_the_papers_is_comparable(paper: Paper, changes: dict[str, object]) -> None:
    assert reasons(paper, asked(**changes)) == ()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"suite": MICRO},
            "the suite is micro, but the paper's numbers are for lorasculpt, which has another base model",
        ),
        ({"sources": SOURCES[:2]}, "Source is another mean, because it lacks the paper's source tasks gqa, textvqa"),
        (
            {"sources": (*SOURCES, "vizwiz")},
            "Source is another mean, because the paper does not have the source tasks vizwiz",
        ),
        ({"limit": 100}, "--limit 100 scores only a part of the test split"),
        ({"split": "validation"}, "the scores are on the validation split"),
        ({"recipe": replace(SUITE.recipe, updates=7)}, "recipe.updates is 7 (--set), but the suite's own value is 150"),
        ({"recipe": replace(SUITE.recipe, eval_dtype="float16")}, "recipe.eval_dtype is float16 (--set)"),
        (
            {"recipe": replace(SUITE.recipe, quantization="4bit")},
            "recipe.quantization is 4bit (--base), but the suite's own",
        ),
        (
            {"settings": {"lorasculpt": {"density": 0.2}}},
            "lorasculpt.density is 0.2 (--set), but the method's own value is 0.1",
        ),
        ({"methods": ("dare",), "settings": {"lora": {"lr": 0.01}}}, "lora.lr is 0.01 (--set)"),
    ],
)
def test_what_differs_from_the_paper_is_one_line(paper: Paper, changes: dict[str, object], reason: str) -> None:
    found = reasons(paper, asked(**changes))

    assert len(found) == 1
    assert found[0].startswith(reason)
    assert "\n" not in found[0]


def test_a_base_model_of_another_size_is_named_and_a_copy_is_not(
    paper: Paper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = replace(asked(), suite=replace(SUITE, model=str(checkpoint.write(tmp_path / "model"))))

    (found,) = reasons(paper, other)
    monkeypatch.setattr(checkpoints, "parameters", lambda folder: 7_063_427_072 + 577)

    assert f"the base model {tmp_path}/model (--model) has " in found
    assert found.endswith("but llava-hf/llava-1.5-7b-hf has 7,063,427,072")
    assert reasons(paper, other) == ()


def test_data_of_another_size_is_named(paper: Paper, tmp_path: Path) -> None:
    write_files(tmp_path, "iconqa")
    here = [
        Tasks(reading=Reading(tmp_path, skip_bad), settings={"iconqa": {"expect": "any"}}) for skip_bad in (0, 10_000)
    ]

    train, test = reasons(paper, asked(targets=("iconqa",), tasks=here[0]))
    free = reasons(paper, asked(targets=("iconqa",), tasks=here[1]))

    assert train.startswith("iconqa has ")
    assert train.endswith(" examples in its train split, but the paper's has 10,000")
    assert test.endswith(" examples in its test split, but the paper's has 6,316")
    assert free == ()


def test_everything_that_differs_is_named(paper: Paper) -> None:
    found = reasons(paper, asked(limit=3, sources=("okvqa", "ocrvqa", "gqa", "vizwiz")))

    assert len(found) == 3


def test_a_source_that_is_left_out_makes_source_another_mean(paper: Paper) -> None:
    (reason,) = reasons(paper, asked(), left_out={"textvqa"})

    assert reason.startswith("Source is another mean, because it leaves out textvqa, where the base model is at chance")
    assert reason.endswith("with --every-source; nothing is trained again")


def sequence_paper(folder: Path, *methods: str) -> SequencePaper:
    file = folder / f"{'_'.join(methods)}.csv"
    rows = [f"1,{method},32,iconqa.coco_caption,full,,50" for method in methods]
    file.write_text("\n".join(["table,method,rank,order,connector,variant,ap", *rows]) + "\n", encoding="utf-8")
    return SequencePaper("sequences", "none", "lorasculpt", SOURCES, {"full": "full"}, ("1",), 2.0, file)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"sources": SOURCES[:2]}, ""),  # only Source depends on the sources
        ({"suite": MICRO}, "the suite is micro"),
        ({"limit": 100}, "--limit 100 scores only a part"),
        ({"settings": {"lorasculpt": {"density": 0.2}}}, ""),  # the paper has no row of it
        ({"settings": {"dare": {"drop_rate": 0.2}}}, "dare.drop_rate is 0.2 (--set), but the method's own value is"),
        ({"methods": ("lora",), "settings": {"dare": {"drop_rate": 0.2}}}, ""),
    ],
)
def test_a_sequence_is_comparable_if_its_compared_rows_are_the_papers(
    changes: dict[str, object], reason: str, tmp_path: Path
) -> None:
    found = reasons(sequence_paper(tmp_path, "lora", "lora+dare"), asked(**changes))

    assert len(found) == (reason != "")
    assert "".join(found).startswith(reason)


def test_sources_that_differ_are_told_for_source_alone(tmp_path: Path) -> None:
    paper = sequence_paper(tmp_path, "lora")

    assert list(sources_differ(paper, asked(), ())) == []
    (reason,) = sources_differ(paper, asked(sources=SOURCES[:2]), ())
    assert reason == "Source is another mean, because it lacks the paper's source tasks gqa, textvqa"
