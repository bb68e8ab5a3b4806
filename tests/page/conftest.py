"""A finished run whose questions, answers and replies are made up, some of them to break a page."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from bench.leaderboard.from_store import leaderboard
from bench.leaderboard.heading import Heading
from bench.leaderboard.tables import Leaderboard
from bench.page.build import run_page
from bench.page.page import Page, write_page
from bench.page.sequence import sequence_page
from bench.plan.chains import ChainMethod, ChainRequest
from bench.plan.plan import Plan, make
from bench.plan.request import Request
from bench.plan.suite import Suite
from bench.plugins.tasks import Tasks
from bench.sequences.board import SequenceBoard
from bench.sequences.from_store import sequence_board
from bench.store.run_folder import Store
from bench.values.record import Cost, Record
from bench.values.scores import Score
from bench.values.trial import Trial

EVIL = {
    "question": "</script><script>window.broken = 1</script>",
    "answer": '<img src=x onerror="window.broken = 2">\'\u2028',
    "reply": '=cmd()|"<b onclick=alert(1)>\\input{x}\n</p>',
}
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
QUIET = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")
PLANTED = 3  # the place of the example that every method loses but keeps in its reply


@dataclass(frozen=True)
class MadeRun:
    """A run whose scores were written by hand."""

    plan: Plan
    store: Store

    @property
    def board(self) -> Leaderboard:
        return leaderboard(self.plan, self.store, Heading("tiny", command="bench run --output …/runs"))

    def page(self) -> Page:
        return run_page(self.board, self.plan, self.store, [], lambda record: f"bench run {record.trial.label}")

    def write(self, folder: Path) -> Path:
        return write_page(self.page(), folder)


@pytest.fixture
def made_run(tiny_suite: Suite, squares: Tasks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MadeRun:
    """Two ranks of LoRA, DARE and L2 on the suite tiny, with controls; its pictures may be copied."""
    (store := Store(tmp_path / "runs")).prepare()
    for name in (*tiny_suite.targets, *tiny_suite.sources):
        monkeypatch.setattr(squares.registry.task_class(name), "pictures_may_be_copied", True)
    recipe = replace(tiny_suite.recipe, updates=1)
    request = Request(
        tiny_suite, ("lora", "dare", "l2"), (2, 4), tiny_suite.targets, tiny_suite.sources, recipe, tasks=squares
    )
    plan = make(request, store)
    write_records(plan, store, made_row)
    return MadeRun(plan, store)


Row = Callable[[Trial, str, str, int], Mapping[str, Any]]


def write_records(plan: Plan, store: Store, row: Row) -> None:
    """Write the record of every job of a plan; ``row`` makes the line of an example."""
    tasks = plan.request.tasks
    for job in plan.jobs:
        store.begin(job.trial)
        record = Record(job.trial, "done", cost=Cost(3.0, 1.0, 10**9, 1000, 10**6), environment={"torch": "2.13.0"})
        for item in job.asked:
            ids = [example.id for example in tasks.load(item.task).examples("test")][: item.count]
            rows = [row(job.trial, item.task, name, place) for place, name in enumerate(ids)]
            mean = sum(row["scores"]["exact"] for row in rows) / len(rows)
            file = store.scores_of(job.trial).write(item.key, rows)
            record = record.with_score(Score(item, "exact", {"exact": mean, "lenient": mean}, file), record.cost)
        store.write(record)


@dataclass(frozen=True)
class MadeSequence:
    """A sequence of two tasks whose scores were written by hand."""

    chains: ChainRequest
    store: Store

    def page(self, figures: Sequence[Path] = ()) -> Page:
        plan = self.chains.plan(self.store)
        return sequence_page(
            self.board, self.chains, plan, self.store, figures, lambda record: f"bench {record.trial.label}"
        )

    @property
    def board(self) -> SequenceBoard:
        return sequence_board(self.chains, self.store, Heading("tiny", command="bench sequence --output …/runs"))

    def write(self, folder: Path) -> Path:
        return write_page(self.page(), folder)


@pytest.fixture
def made_sequence(tiny_suite: Suite, squares: Tasks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MadeSequence:
    """Two orders of two tasks, learnt by LoRA and by LoRA with DARE; the first task of an order is half forgotten."""
    (store := Store(tmp_path / "runs")).prepare()
    tasks = (*tiny_suite.targets, *tiny_suite.sources)
    for name in tasks:
        monkeypatch.setattr(squares.registry.task_class(name), "pictures_may_be_copied", True)
    recipe = replace(tiny_suite.recipe, updates=1)
    request = Request(tiny_suite, ("lora", "dare"), (2,), tasks, ("icon_choice",), recipe, limit=8, tasks=squares)
    methods = (ChainMethod("lora"), ChainMethod("lora", "dare"))
    chains = ChainRequest(request, methods, (tasks, tasks[::-1]))
    write_records(chains.plan(store), store, _stage_row)
    return MadeSequence(chains, store)


def _stage_row(trial: Trial, task: str, name: str, place: int) -> Mapping[str, Any]:
    """Return the line of an example: a later stage loses PLANTED, with its answer in the reply, and the next example.

    The base model is right on all sources and wrong on all tasks.
    """
    learnt = not trial.tasks if task == "icon_choice" else trial.target == task
    lost = task != trial.target and (task in trial.tasks or (bool(trial.tasks) and task == "icon_choice"))
    right = learnt or (lost and place not in (PLANTED, PLANTED + 1))
    form = lost and place == PLANTED
    texts = {"question": f"what is it? {place}", "answers": ["red"], "prediction": "red" if right else "blue"}
    if place == PLANTED:
        texts = {"question": EVIL["question"], "answers": [EVIL["answer"]], "prediction": EVIL["answer"]}
        texts["prediction"] = EVIL["reply"] + EVIL["answer"] if lost else EVIL["answer"] if right else "blue"
    return {"id": name, **texts, "scores": {"exact": float(right), "lenient": float(right or form)}}


def made_row(trial: Trial, task: str, name: str, place: int) -> Mapping[str, Any]:
    """Return the line of an example.

    The base model is right on every other example. A trained model is right where the base model is, except in two
    places: it loses PLANTED, whose answer is in its reply, and the example after the next, whose answer is not.
    """
    base = place % 2 == 1
    lost = trial.rank is not None and place in (PLANTED, PLANTED + 2)
    texts = {"question": f"what is it? {place}", "answers": ["red"], "prediction": "red" if base else "blue"}
    if place == PLANTED:
        texts = {"question": EVIL["question"], "answers": [EVIL["answer"]], "prediction": EVIL["answer"]}
    if lost:
        texts["prediction"] = EVIL["reply"] + EVIL["answer"] if place == PLANTED else f"blue {trial.method}"
    scores = {"exact": float(base and not lost), "lenient": float(base and (not lost or place == PLANTED))}
    return {"id": name, **texts, "scores": scores}


@pytest.fixture(scope="module")  # another module may start a driver of its own, and only one can run
def browser() -> Iterator[Any]:
    """Chromium, driven by Playwright; where one of them is missing, the tests are skipped and say so."""
    why = "Playwright is not installed: pip install playwright"
    sync_api = pytest.importorskip("playwright.sync_api", reason=why)
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    with sync_api.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        yield started
        started.close()


@contextmanager
def shown(browser: Any, path: Path, wait_for: str = "article.example") -> Iterator[Any]:
    """Open a page; the test fails if the page logs an error or asks for anything outside its folder."""
    page = browser.new_page()
    page.set_default_timeout(180_000)  # milliseconds; a busy machine is slow
    troubles: list[str] = []
    page.on("console", lambda message: troubles.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("request", lambda asked: None if asked.url.startswith(("file:", "data:")) else troubles.append(asked.url))
    page.goto(path.as_uri())
    page.wait_for_selector(wait_for)
    yield page
    assert not troubles
    assert page.evaluate("window.broken") is None
    page.close()


@pytest.fixture
def opened(browser: Any, made_run: MadeRun, tmp_path: Path) -> Iterator[Any]:
    """The page of the made-up run."""
    with shown(browser, made_run.write(tmp_path / "page")) as page:
        yield page
