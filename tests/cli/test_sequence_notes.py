"""The note of a sequence, from which its tables are shown and compared again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bench.cli.chained import chains_of
from bench.cli.main import main
from bench.cli.request import read_request
from bench.cli.sequence import SequenceOptions, noted
from bench.errors import UsageError
from bench.plan.suite import Suite
from bench.plugins.registry import Registry
from bench.store import search_results
from bench.store.run_folder import Store
from bench.store.runs import Run, read_runs, save_run
from tests.making.commands import typed

ORDER = "new_squares,old_squares"
COMMON = ("--suite", "tiny", "--ranks", "2,4", "--tasks", ORDER)


def kept(note: Run, output: Path) -> Run:
    """Return the note as a later command reads it."""
    store = Store(output)
    store.prepare()
    save_run(store, note)
    (found,) = read_runs(store)
    return found


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--methods", "lora+dare,slao,mtl_lora", "--baselines"),
        ("--order", "old_squares,new_squares", "--sources", "never"),
        ("--sources", "every", "--seeds", "0,1", "--limit", "4", "--set", "recipe.updates=3"),
    ],
)
def test_the_note_means_the_chains_and_scores_of_its_command(
    words: tuple[str, ...], tiny_suite: Suite, tiny_tasks: Path, tmp_path: Path
) -> None:
    options = typed(SequenceOptions, *COMMON, *words, "--plugin", str(tiny_tasks), "--output", str(tmp_path / "runs"))
    registry = Registry(options.plugin)
    asked = read_request(options.chain_cells(registry), options.output, registry)
    meant = options.chain_request(registry, asked, options.output)

    again = chains_of(kept(noted(options, registry), options.output), options.output)

    assert [chain.stages[-1].id for chain in again.chains()] == [chain.stages[-1].id for chain in meant.chains()]
    assert [chain.key for chain in again.chains()] == [chain.key for chain in meant.chains()]
    assert again.plan(Store(options.output)).jobs == meant.plan(Store(options.output)).jobs


def test_a_note_without_chains_is_refused_with_its_command(
    tiny_suite: Suite, tiny_tasks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = typed(SequenceOptions, *COMMON, "--plugin", str(tiny_tasks))
    kept(replace(noted(options, Registry(options.plugin)), chained={}, command="bench sequence …"), tmp_path)

    assert main(["leaderboard", "--output", str(tmp_path)]) == 2

    error = capsys.readouterr().err
    assert (
        "does not say which chains it means. Run its command again; nothing is trained again: bench sequence …" in error
    )
    assert error.count("\n") == 1


def test_a_name_of_the_other_kind_is_told_with_what_is_needed(
    tiny_suite: Suite, tiny_tasks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = typed(SequenceOptions, *COMMON, "--plugin", str(tiny_tasks))
    note = kept(noted(options, Registry(options.plugin)), tmp_path)

    assert main(["compare", "--paper", "lorasculpt", "--run", "sequence", "--output", str(tmp_path)]) == 2
    assert f"{note.name} is a sequence, and the paper lorasculpt needs a run. bench ls" in capsys.readouterr().err
    assert main(["leaderboard", "--run", "other", "--output", str(tmp_path)]) == 2
    assert "No run or sequence named 'other'." in capsys.readouterr().err


@pytest.mark.parametrize(("rate", "refused"), [(0.3, False), (0.01, True)])
def test_a_choice_outside_the_range_of_now_is_shown_but_not_trained_with(
    rate: float, refused: bool, tiny_suite: Suite, tiny_tasks: Path, tmp_path: Path
) -> None:
    row = {"method": "lora+dare", "rank": 2, "target": "new_squares.old_squares", "tried": 9, "parent": {}}
    row |= {"model": tiny_suite.revision(), "recipe": tiny_suite.recipe.to_json(), "sources": []}
    row |= {"chosen": {"hyper": {"drop_rate": rate}}}
    (tmp_path / search_results.CHOICES).write_text(json.dumps({"chosen": [row]}), encoding="utf-8")
    words = ("--suite", "tiny", "--ranks", "2", "--tasks", ORDER, "--methods", "lora+dare", "--tuned")
    options = typed(SequenceOptions, *words, "--plugin", str(tiny_tasks), "--output", str(tmp_path))
    registry = Registry(options.plugin)
    asked = read_request(options.chain_cells(registry), options.output, registry)

    if refused:
        with pytest.raises(UsageError, match=r"older version chose lora\+dare\.drop_rate = 0\.01"):
            options.chain_request(registry, asked, options.output)
    else:
        options.chain_request(registry, asked, options.output)

    shown = chains_of(kept(noted(options, registry), tmp_path), tmp_path)
    assert shown.request.tuned["lora+dare", 2, "new_squares.old_squares"].tries == 9
