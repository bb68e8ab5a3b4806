from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from bench.lanes import lanes
from bench.lanes.broker import Event
from bench.lanes.setup import Launch
from bench.plan.request import Request
from bench.plan.suite import MICRO
from bench.search.run import run
from bench.search.settings import SearchSettings
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
