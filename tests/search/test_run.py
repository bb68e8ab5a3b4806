from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from bench.lanes import lanes
from bench.lanes.broker import Event
from bench.lanes.progress import Progress
from bench.lanes.setup import Launch
from bench.plan.request import Request
from bench.plan.suite import MICRO, Suite
from bench.plugins.tasks import Tasks
from bench.search.run import _work, quests, run
from bench.search.settings import SearchSettings
from bench.search.space import spaces
from bench.store.run_folder import Store
from bench.values.job import Job
from tests.making.records import done


def test_a_search_scores_the_base_model_first_and_leaves_out_sources_at_chance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store, sources = Store(tmp_path), ("easy_vqa", "cover_digits")
    asked = Request(MICRO, ("lora",), (4,), ("icon_choice",), sources, MICRO.recipe, limit=50, split="validation")

    def answered(jobs: Sequence[Job], *_: object) -> Iterator[Event]:
        """Pretend that the base model answers; any other job would be a training."""
        (job,) = jobs
        assert {item.split for item in job.asked} == {"validation"}
        store.write(done(job, {"easy_vqa": 0.9, "cover_digits": 0.0}))
        yield from ()

    monkeypatch.setattr(lanes, "run", answered)
    monkeypatch.setattr("bench.search.run._work", lambda *_: None)
    monkeypatch.setattr("bench.search.run.report.publish", lambda *_: None)

    (quest,), (found,) = run(asked, SearchSettings(), store, Launch(), "bench search", lambda *_: None)

    assert quest.request.sources == ("easy_vqa",)
    assert found.facts["sources"] == list(sources)
    assert found.facts["left_out"] == ["cover_digits"]
    assert "cover_digits: zero-shot 0.00 (chance 8.80): nothing to forget" in capsys.readouterr().err


def test_a_search_counts_its_time_left_in_steps(
    tiny_suite: Suite, squares: Tasks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = (("lora", "dare"), (2,), tiny_suite.targets, tiny_suite.sources)
    request = Request(tiny_suite, *cells, tiny_suite.recipe, split="validation", tasks=squares)
    (store := Store(tmp_path / "runs")).prepare()
    asked = quests(request, spaces(request), store, SearchSettings())
    drawn: list[tuple[object, ...]] = []

    def nothing(*_: object) -> Iterator[Event]:
        yield from ()

    class Noted(Progress):
        def __init__(self, *given: Any) -> None:
            drawn.append(given)
            super().__init__(*given)

    monkeypatch.setattr("bench.search.run.Progress", Noted)
    monkeypatch.setattr(lanes, "run", nothing)

    _work(request, asked, 3, store, Launch())

    examples = tiny_suite.recipe.updates * tiny_suite.recipe.batch_size
    answers = sum(len(squares.load(name).examples("validation")) for name in ("old_squares", "new_squares"))
    lora, dare = (examples, answers), (0, answers)
    work = {"lora-r2-new_squares-s0": lora, "dare-r2-new_squares-s0": dare}
    assert drawn == [(6, 0, work, 3 * (sum(lora) + sum(dare)))]
