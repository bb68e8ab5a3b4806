"""The command that repeats a trial must ask for exactly this trial."""

import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bench.cli.options import Cells
from bench.cli.parser import parse
from bench.cli.repeat import Repeats, asked_in
from bench.cli.request import read_request
from bench.cli.run import RunOptions
from bench.cli.sequence import SequenceOptions
from bench.cli.study import StudyOptions, named_study, study_plan
from bench.errors import UsageError
from bench.papers.studies import STUDIES
from bench.plan.baselines import make
from bench.plan.chains import ChainRequest
from bench.plan.plan import Plan
from bench.plan.suite import Suite
from bench.plugins.registry import Registry
from bench.store.run_folder import Store
from bench.store.runs import Run, save_run
from bench.values.record import Record
from bench.values.trial import Trial
from tests.making.trials import TRIAL

EVERYTHING = "run --methods lora,dare --ranks 32 --targets icon_choice --baselines --rewind 0.3,0.55"


def planned(line: str, output: Path) -> Plan:
    """Return what the words of a run or a study plan."""
    _, options = parse(shlex.split(line.removeprefix("bench "))) or (None, None)
    if isinstance(options, StudyOptions):
        chosen = named_study(options.name)
        asked = read_request(options.cells(chosen, Registry()), output, quiet=True)
        return study_plan(chosen, asked, Store(output))
    assert isinstance(options, RunOptions)
    return make(read_request(options, output, quiet=True), Store(output))


def trials_of(plan: Plan) -> dict[str, Trial]:
    return {job.trial.id: job.trial for job in plan.jobs}


def lines_of(plan: Plan, repeats: Repeats, output: Path) -> Iterator[tuple[Trial, str]]:
    """Yield every trial of a plan with its command, after checking that the command asks for the trial."""
    plans: dict[str, set[str]] = {}
    for trial in trials_of(plan).values():
        line = repeats(Record(trial, "done"))
        if line not in plans:
            plans[line] = set(trials_of(planned(line, output)))
        assert trial.id in plans[line], line
        yield trial, line


@pytest.mark.slow
@pytest.mark.parametrize(
    "more", ["--tuned", "--set lora.lr=0.002 --set dare.drop_rate=0.3 --set recipe.image=pad --connector frozen"]
)
def test_the_command_of_every_trial_of_a_run_asks_for_that_trial(more: str, tmp_path: Path) -> None:
    plan = planned(f"{EVERYTHING} --limit 20 {more}", tmp_path)
    repeats = Repeats.of(Cells(limit="20"), tmp_path, plan.request.registry, Store(tmp_path), "")
    trials = trials_of(plan)

    assert {trial.method for trial in trials.values()} >= {"zero_shot", "lora", "dare", "rewind", "replay"}
    assert any(trial.parent and trial.parent.parent for trial in trials.values()), "nothing scales an edit back"
    assert any(trial.snapshot for trial in trials.values())
    assert all("--limit 20" in line for _, line in lines_of(plan, repeats, tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("study", STUDIES)
def test_the_command_of_every_trial_of_a_study_asks_for_that_trial(study: str, tmp_path: Path) -> None:
    whole = f"bench study {study} --ranks 32 --targets icon_choice --output {tmp_path}"
    plan = planned(whole, tmp_path)
    repeats = Repeats.of(Cells(), tmp_path, plan.request.registry, Store(tmp_path), whole)

    for trial, line in lines_of(plan, repeats, tmp_path):
        assert line != whole or trial.snapshot, "a shorter command asks for it"


def test_an_edit_of_a_snapshot_is_repeated_by_the_command_that_needed_it(tmp_path: Path) -> None:
    store, edit = Store(tmp_path), replace(TRIAL, method="model_tailor", parent=TRIAL, snapshot=1)
    store.write(Record(edit, "done"))
    note = Run(name="a", command="bench study epochs", selection={}, started="2026", trials=(edit.id,), reports="r")

    with pytest.raises(UsageError, match=r"no run of .* says that it needs it"):
        Repeats.of(Cells(), tmp_path, Registry(), store, "")(Record(edit, "done"))
    save_run(store, note)
    _, whole = asked_in(store, edit)

    assert Repeats.of(Cells(), tmp_path, Registry(), store, whole)(Record(edit, "done")) == "bench study epochs"
    assert asked_in(store, TRIAL)[1] == "", "another trial is not the run's"


def test_a_trials_command_reads_its_tasks_as_the_run_did(tmp_path: Path) -> None:
    ran = Cells(data=Path("/there/data"), skip_bad=3, set=("lora.lr=0.1", "gqa.expect=any", "recipe.updates=2"))

    scored = Repeats.of(ran, Path(), Registry(), Store(tmp_path), "").scored

    assert scored == ["--data", "/there/data", "--skip-bad", "3", "--set", "gqa.expect=any"]
    assert Repeats.of(Cells(), Path(), Registry(), Store(tmp_path), "").scored == []


def asked_for(line: str, output: Path) -> set[str]:
    """Return the ids of the trials that the words of a sequence, a run or a study ask for."""
    if "sequence" not in line.split()[:2]:
        return set(trials_of(planned(line, output)))
    return {trial.id for chain in sequence(line).chains() for trial in chain.stages}


def sequence(line: str) -> ChainRequest:
    """Return the chains that the words of a command ask for."""
    _, options = parse(shlex.split(line.removeprefix("bench "))) or (None, None)
    assert isinstance(options, SequenceOptions)
    registry = Registry(options.plugin)
    return options.chain_request(registry, read_request(options.chain_cells(registry), options.output, registry))


@pytest.mark.parametrize(
    "more",
    [
        "--methods lora+dare,slao,mtl_lora --baselines",
        "--methods lora+rewind --baselines --set lora.lr=0.002 --set rewind.strength=0.123456789",
        "--methods replay --set replay.share=0.2",
    ],
)
def test_the_command_of_every_trial_of_a_sequence_asks_for_that_trial(
    more: str, tiny_suite: Suite, tiny_tasks: Path, tmp_path: Path
) -> None:
    words = f"sequence --suite tiny --plugin {tiny_tasks} --ranks 2 --output {tmp_path} {more}"
    asked = sequence(f"{words} --tasks new_squares,old_squares,icon_choice --sources sign_words")
    stages = {trial.id: trial for chain in asked.chains() for trial in chain.stages}

    if "slao" in more:
        assert {trial.method for trial in stages.values()} == {"lora", "dare", "slao", "mtl_lora", "rewind", "replay"}
    for trial in stages.values():
        line = Repeats(tmp_path, asked.request.registry)(Record(trial, "done"))
        assert trial.id in asked_for(line, tmp_path), line


@pytest.mark.parametrize("strength", [0.0, 0.123456789, 1.0])
def test_a_strength_is_repeated_with_all_its_digits(strength: float, tmp_path: Path) -> None:
    words = f"run --methods rewind --ranks 2 --targets icon_choice --set rewind.strength={strength}"
    plan = planned(words, tmp_path)

    assert len(list(lines_of(plan, Repeats(tmp_path, plan.request.registry), tmp_path))) == 3


def test_a_source_of_the_suite_can_be_the_target(tmp_path: Path) -> None:
    plan = planned("run --methods replay --ranks 2 --targets sign_words --sources easy_vqa,thing_facts", tmp_path)

    assert len(list(lines_of(plan, Repeats(tmp_path, plan.request.registry), tmp_path))) == 2


def test_the_limit_of_a_search_is_not_that_of_its_trials(tmp_path: Path) -> None:
    store = Store(tmp_path)
    run = Run(name="a", command="c", selection={"limit": "100"}, started="2026", trials=(TRIAL.id,), reports="r")
    save_run(store, replace(run, kind="search"))

    assert asked_in(store, TRIAL)[0].limit is None
    save_run(store, replace(run, name="b", started="2027"))
    assert asked_in(store, TRIAL)[0].limit == "100"
    assert asked_in(store, replace(TRIAL, seed=5))[0].limit is None, "another trial's run"
