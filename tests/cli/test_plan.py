"""What bench plan prints for a new user."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from bench.cli import plan
from bench.cli.main import main
from bench.cli.options import Cells
from bench.cli.plan import read_fleet
from bench.cli.request import read_request
from bench.errors import UsageError
from bench.plan.suite import Suite
from bench.prepare.price.draft import draft
from bench.prepare.price.measured import this_machine
from bench.prepare.price.rates import GPUS, Fleet, ProbeResult
from bench.store.run_folder import Store
from bench.values.record import Cost
from tests.making.records import done


@pytest.mark.slow
def test_the_whole_suite_fits_a_screen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    line = ["plan", "--suite", "lorasculpt", "--ranks", "16,32,64", "--data", str(tmp_path), "--output", str(tmp_path)]

    code = main(line)

    text = capsys.readouterr().out
    lines = text.splitlines()
    assert code == 0
    assert len(lines) <= 45
    assert lines[0].startswith(
        "Missing here: data of iconqa, coco_caption, okvqa, ocrvqa, gqa, textvqa: bench data get"
    )
    assert "42 cells = 7 methods x 3 ranks x 2 targets x 1 seed" in text
    assert "30 of 30 trainings to do; 12 cells edit another cell's training" in text
    row = next(row for row in lines if row.startswith("  dora ")).split()
    assert row == ["dora", "62,316,544", "102,293,504", "182,247,424", "249.3", "409.2", "729.0"]
    assert "hours on 1 x A100 40GB" in text
    assert "LLaVA's README" in text


def test_a_small_suite_shows_its_plan_and_under_it_the_price(
    tiny_suite: object, tiny_tasks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        main(
            [
                "plan",
                "--suite",
                "tiny",
                "--plugin",
                str(tiny_tasks),
                "--ranks",
                "2",
                "--methods",
                "lora,dare",
                "--output",
                str(tmp_path),
            ]
        )
        == 0
    )

    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("2 cells, 1 training; cached: 0 of 3 trials")
    assert [line.split()[:2] for line in lines[1:4]] == [["to", "do"]] * 3
    assert lines[5] == "Work: 2 cells = 2 methods x 1 rank x 1 target x 1 seed"
    assert lines[-1].startswith("Time: not known for this model and device")


def test_curves_without_a_source_have_no_price(tiny_words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", *tiny_words, "--rewind", "0.5", "--sources", "none"]) == 2

    assert "--rewind draws Source against Target, and there is no source" in capsys.readouterr().err


def test_many_trials_are_counted_and_not_listed(tiny_words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", *tiny_words, "--methods", "lora,dare", "--seeds", "0-11"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("24 cells, 12 trainings; cached: 0 of 25 trials")
    assert [line.split() for line in lines[1:4]] == [
        ["zero_shot", "1", "to", "do", "0", "cached"],
        ["lora", "12", "to", "do", "0", "cached"],
        ["dare", "12", "to", "do", "0", "cached"],
    ]


def test_of_many_ranks_three_are_shown(tiny_words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    words = tiny_words[: tiny_words.index("--ranks")] + tiny_words[tiny_words.index("--ranks") + 2 :]

    assert main(["plan", *words, "--methods", "lora", "--ranks", "1-7"]) == 0

    lines = capsys.readouterr().out.splitlines()
    head = next(line for line in lines if line.startswith("Trained parameters"))
    assert re.findall(r"rank \d", head) == 2 * ["rank 1", "rank 4", "rank 7"]
    assert "  4 more ranks lie between these" in lines


def test_lanes_are_priced_as_they_are_asked_for(
    tiny_suite: object, tiny_tasks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        *["plan", "--suite", "tiny", "--plugin"],
        str(tiny_tasks),
        *["--ranks", "2", "--methods", "lora", "--output"],
        str(tmp_path),
    ]
    ProbeResult("cpu", str(tiny_suite.folder), 20, 4, {"lora": 10.0}, 10.0, 64).save(tmp_path)  # type: ignore[attr-defined]

    assert main([*words, "--lanes", "1"]) == 0
    assert "hours on this machine's CPU, 1 lane\n" in capsys.readouterr().out
    assert main([*words, "--lanes", "-1"]) == 2
    assert "--lanes is -1; give 0 or more." in capsys.readouterr().err


@pytest.mark.slow
def test_a_cluster_that_is_not_asked_for_its_gpus_is_said(
    tiny_suite: object, tiny_tasks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        *["plan", "--suite", "tiny", "--plugin"],
        str(tiny_tasks),
        *["--ranks", "2", "--methods", "lora", "--output"],
        str(tmp_path),
    ]

    assert main([*words, "--address", "10.0.0.1:6379"]) == 0
    asked = capsys.readouterr().err
    assert main([*words, "--address", "ray://10.0.0.1:10001"]) == 2

    assert asked == (
        "bench plan does not ask the cluster at --address 10.0.0.1:6379 for its GPUs. "
        "Name all of them with --gpu NAME:N.\n"
    )
    assert "is a Ray Client address" in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["--gpu", "H100"]])
def test_what_a_plan_leaves_out_is_said_once(
    words: list[str], tiny_words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["plan", *tiny_words, "--methods", "lora,mixlora", "--rewind", "0.5", *words])

    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("mixlora has no curve")]
    assert code == 0
    assert len(said) == 1


def test_what_a_plan_leaves_out_is_said_if_data_is_missing_too(tiny_words: list[str], tmp_path: Path) -> None:
    words = Cells(suite="tiny", ranks="2", methods="lora,mixlora", rewind="0.5", plugin=(Path(tiny_words[3]),))
    found = draft(read_request(words, tmp_path), Store(tmp_path))

    said = list(plan._head(replace(found, missing=("data of squares",)), whole=True))

    assert said[0] == "Missing here: data of squares."
    assert len([line for line in said if line.startswith("mixlora has no curve")]) == 1


@pytest.mark.parametrize(("large", "measured"), [(True, False), (False, True)])
def test_this_cpus_records_do_not_price_a_run_on_the_gpu_that_is_assumed_for_a_large_model(
    large: bool,
    measured: bool,
    tiny_words: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(plan, "_LARGE", 1.0 if large else 1e9)
    store = Store(tmp_path / "runs")
    words = Cells(suite="tiny", ranks="2", methods="lora", plugin=(Path(tiny_words[3]),))
    for job in draft(read_request(words, store.root), store).plan.jobs:
        record = done(job)
        scores = {key: replace(score, seconds=1.0) for key, score in record.scores.items()}
        store.write(replace(record, scores=scores, cost=Cost(train_seconds=1.0), environment=this_machine()))

    assert main(["plan", *tiny_words, "--methods", "lora"]) == 0

    out = capsys.readouterr().out
    assert ("measured: " in out) == measured
    assert ("Time: not known" in out) == large


@pytest.mark.slow
def test_a_budget_leaves_out_what_no_gpu_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["plan", "--suite", "lorasculpt", "--methods", "lora,dare,model_tailor", "--data", str(tmp_path)]
    words += ["--set", "model_tailor.n_samples=512"]

    assert main([*words, "--budget", "40h", "--gpu", "RTX 4090:4"]) == 0

    text = capsys.readouterr().out
    assert "model_tailor will not fit RTX 4090; the others fit RTX 4090 with --micro-batch 2 --eval-batch 22" in text
    assert "Left out because a GPU cannot hold them: model_tailor." in text
    proposed = [line for line in text.splitlines() if line.strip().startswith("bench run")]
    assert proposed
    assert all("--methods lora,dare --ranks 32" in line for line in proposed)
    assert all(line.endswith("--micro-batch 2 --eval-batch 22") for line in proposed)


def test_what_is_cached_is_not_priced_again(
    tiny_suite: Suite, tiny_tasks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        *["plan", "--suite", "tiny", "--plugin"],
        str(tiny_tasks),
        *["--ranks", "2", "--methods", "lora", "--output"],
        str(tmp_path),
    ]
    store = Store(tmp_path)
    made = draft(
        read_request(Cells(suite="tiny", ranks="2", methods="lora", plugin=(tiny_tasks,)), tmp_path), store
    ).plan
    for job in made.jobs:
        store.write(done(job))

    assert main(words) == 0

    text = capsys.readouterr().out
    assert "0 of 1 trainings to do" in text
    assert "0 answers to generate, for 0 scores of 0 models" in text
    assert "untouched" not in text


def test_more_gpus_a_trial_than_there_are_is_refused(
    tiny_suite: object, tiny_tasks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        *["plan", "--suite", "tiny", "--plugin"],
        str(tiny_tasks),
        *["--ranks", "2", "--output"],
        str(tmp_path),
        *["--gpus-per-trial", "4"],
    ]

    assert main([*words, "--gpu", "H100:2"]) == 2
    assert "--gpus-per-trial is 4, but there are only 2 x H100" in capsys.readouterr().err


def test_gpus_are_asked_for_by_name_and_number() -> None:
    assert read_fleet("rtx 4090:4") == Fleet(GPUS["RTX 4090"], 4)
    assert read_fleet("H100") == Fleet(GPUS["H100"], 1)
    with pytest.raises(UsageError, match=r"--gpu 'TPU' is not known\. Known: A100 40GB"):
        read_fleet("TPU:8")
    for text in ("H100:0", "H100:two", "H100:-1"):
        with pytest.raises(UsageError, match="needs a number of GPUs after the colon"):
            read_fleet(text)


def test_a_plan_of_a_sequence_says_which_choice_of_a_search_it_lacks(
    tiny_suite: object, tiny_tasks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "search.json").write_text('{"chosen": []}', encoding="utf-8")
    words = ["plan", "--suite", "tiny", "--plugin", str(tiny_tasks), "--ranks", "2", "--output", str(tmp_path)]

    assert main([*words, "--tasks", "new_squares,old_squares", "--methods", "slao", "--tuned"]) == 2

    assert "search --methods slao --ranks 2 --tasks new_squares,old_squares first" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["plan", "search"])
def test_an_order_without_tasks_is_refused(
    command: str, tiny_suite: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "--suite", "tiny", "--order", "b,a", "--output", str(tmp_path)]) == 2

    assert "--order b,a is another order of --tasks. Add --tasks, or drop --order." in capsys.readouterr().err
