from pathlib import Path

import pytest
from rich.text import Text

from bench.cli.reports import list_failures, print_text
from bench.plan.plan import make
from bench.plan.request import Request
from bench.plan.suite import Suite
from bench.plugins.tasks import Tasks
from bench.store.run_folder import Store
from bench.values.record import Record
from tests.making.records import done


def test_only_a_trial_that_failed_is_listed_with_the_file_of_its_error(
    tiny_suite: Suite, squares: Tasks, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, cells = Store(tmp_path), (("lora", "dora"), (2,), tiny_suite.targets, tiny_suite.sources)
    plan = make(Request(tiny_suite, *cells, tiny_suite.recipe, tasks=squares), store)
    zero_shot, lora, dora = plan.jobs
    store.write(done(zero_shot))
    store.write(Record(lora.trial, "failed", error="no memory"))

    code = list_failures(plan, store)

    assert code == 1
    assert capsys.readouterr().err.splitlines() == [
        f"failed: {lora.trial.label}: no memory ({store.folder(lora.trial)}/error.txt)",
        f"failed: {dora.trial.label}: did not run",
    ]


@pytest.mark.parametrize(("variable", "coloured"), [("", True), ("1", False)])
def test_a_table_has_no_colours_if_the_reader_wants_none(
    variable: str, coloured: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", variable)

    print_text(lambda width: Text("a loss", style="red"))

    assert ("\x1b[31m" in capsys.readouterr().out) is coloured
