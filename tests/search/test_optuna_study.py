import math
from pathlib import Path

import optuna
import pytest
from sqlalchemy import Engine, event

from bench.errors import UsageError
from bench.plugins.hyperparameters import Range
from bench.search.optuna_study import SearchStudy, check_storage
from bench.values.trial import Scalar

SPACE = {"lr": Range(1e-5, 1e-2, log=True), "density": Range(0.05, 0.5), "form": Range(choices=("a", "b"))}
FIRST: dict[str, Scalar] = {"lr": 1e-3, "density": 0.1, "form": "b", "warmup": 0.05}


@pytest.fixture
def storage(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'search.db'}"


def study(storage: str, name: str = "lora-r2-t", seed: int = 0) -> SearchStudy:
    return SearchStudy(name, storage, SPACE, {key: FIRST[key] for key in SPACE}, seed)


def tell_all(of: SearchStudy, budget: int) -> None:
    while (asked := of.ask(budget)) is not None:
        of.tell(asked.number, float(asked.hyper["density"] or 0), 0.5)


@pytest.mark.slow
def test_the_first_configuration_is_the_default(storage: str) -> None:
    asked = study(storage).ask(5)

    assert asked is not None
    assert dict(asked.hyper) == {"lr": 1e-3, "density": 0.1, "form": "b"}


def test_a_default_outside_the_range_is_left_to_the_sampler(storage: str) -> None:
    first: dict[str, Scalar] = {"lr": 0.5, "density": 0.1, "form": "b"}

    asked = SearchStudy("x", storage, SPACE, first, 0).ask(5)

    assert asked is not None
    assert asked.hyper["density"] == 0.1
    assert 1e-5 <= float(asked.hyper["lr"] or 0) <= 1e-2


@pytest.mark.slow
def test_the_budget_is_kept_over_restarts(storage: str) -> None:
    tell_all(study(storage), 4)

    again = study(storage)

    assert again.ask(4) is None
    assert len(again.tried()) == 4
    assert again.ask(5) is not None


@pytest.mark.slow
def test_what_was_running_when_the_process_died_is_handed_out_again_as_it_was(storage: str) -> None:
    before = study(storage)
    asked = [before.ask(6) for _ in range(3)]
    assert asked[1] is not None
    before.tell(asked[1].number, 0.5, 0.5)

    after = study(storage)

    assert [after.ask(6), after.ask(6)] == [asked[0], asked[2]]
    tell_all(after, 6)
    assert [tried.number for tried in after.tried()] == list(range(6))


def test_a_failure_counts_and_has_no_point(storage: str) -> None:
    of = study(storage)
    asked = of.ask(1)
    assert asked is not None

    of.fail(asked.number)

    assert of.ask(1) is None
    assert [tried.avg for tried in of.tried()] == [None]
    assert of.done(1)
    assert not of.done(2)


def test_what_is_told_first_stays(storage: str) -> None:
    of = study(storage)
    asked = of.ask(1)
    assert asked is not None
    of.tell(asked.number, 0.25, 0.75)

    of.tell(asked.number, 0.0, 0.0)

    (tried,) = of.tried()
    assert (tried.source, tried.target) == (0.25, 0.75)


@pytest.mark.slow
def test_the_same_seed_tries_the_same_points_and_another_seed_others(storage: str, tmp_path: Path) -> None:
    other = f"sqlite:///{tmp_path / 'other.db'}"
    third = f"sqlite:///{tmp_path / 'third.db'}"
    for place, seed in ((storage, 0), (other, 0), (third, 1)):
        tell_all(study(place, seed=seed), 6)

    tried = [[item.hyper for item in study(place, seed=seed).tried()] for place, seed in ((storage, 0), (other, 0))]
    moved = [item.hyper for item in study(third, seed=1).tried()]

    assert tried[0] == tried[1]
    assert tried[0][0] == moved[0]
    assert tried[0][1] != moved[1]


@pytest.mark.slow
def test_a_configuration_that_was_never_handed_out_whole_is_no_try(storage: str) -> None:
    study(storage)
    killed = optuna.load_study(study_name="lora-r2-t", storage=storage)
    trial = killed.ask()
    trial.suggest_float("lr", 1e-5, 1e-2, log=True)  # and the process dies

    of = study(storage)
    tell_all(of, 3)

    assert len(of.tried()) == 3
    assert of.done(3)
    assert len({str(tried.hyper) for tried in of.tried()}) == 3


def test_whole_numbers_stay_whole_and_others_do_not(storage: str) -> None:
    space = {"count": Range(1, 8, whole=True), "share": Range(0, 1)}
    of = SearchStudy("whole", storage, space, {"count": 2, "share": 0.5}, 0)

    asked = [of.ask(5) for _ in range(5)]

    assert all(item is not None and isinstance(item.hyper["count"], int) for item in asked)
    assert len({item.hyper["share"] for item in asked if item is not None}) == 5


@pytest.mark.slow
def test_a_stopped_configuration_counts_has_no_point_and_the_sampler_goes_on(storage: str) -> None:
    one = study(storage)
    first = one.ask(12)
    assert first is not None
    one.tell(first.number, 0.5, 0.5)
    for number in range(1, 9):
        asked = one.ask(12)
        assert asked is not None
        if number % 2:
            one.prune(asked.number)
        else:
            one.tell(asked.number, 0.4, 0.6)

    states = [tried.state for tried in study(storage).tried()]
    assert states == ["done", "stopped"] * 4 + ["done"]
    assert all((tried.avg is None) == (tried.state == "stopped") for tried in one.tried())
    assert one.ask(9) is None
    assert one.done(9)


@pytest.mark.slow
def test_a_random_search_does_not_learn_from_what_it_was_told(storage: str) -> None:
    def points(database: str, slope: float) -> list[str]:
        one = SearchStudy("x", database, SPACE, {}, 0, "random")
        found = []
        while (asked := one.ask(10)) is not None:
            one.tell(asked.number, slope * asked.number, 0.5)
            found.append(str(asked.hyper))
        return found

    up = points(storage, 1.0)
    assert points(f"{storage}.other", -1.0) == up
    assert len(set(up)) == 10


def tell_points(of: SearchStudy, values: list[tuple[float, float]]) -> None:
    for source, target in values:
        asked = of.ask(len(values))
        assert asked is not None
        of.tell(asked.number, source, target)


@pytest.mark.slow
def test_what_decides_an_objective_has_nearly_all_of_its_importance(storage: str) -> None:
    space = {"share": Range(0, 1), "idle": Range(0, 1)}
    of = SearchStudy("x", storage, space, {"share": 0.5, "idle": 0.5}, 0)
    while (asked := of.ask(16)) is not None:
        of.tell(asked.number, float(asked.hyper["share"] or 0), 0.25)

    found = of.importances()

    assert sorted(found) == ["avg", "source"]  # Target never moved
    assert list(found["source"]) == ["share", "idle"]
    assert found["source"]["share"] > 0.9
    assert sum(found["source"].values()) == pytest.approx(1)
    assert of.importances() == found
    assert of.importances(16) == found != of.importances(6)


@pytest.mark.slow
def test_a_log_scaled_hyperparameter_counts_by_its_logarithm(storage: str) -> None:
    of = SearchStudy(
        "x", storage, {"lr": Range(1e-6, 1.0, log=True), "share": Range(0, 1)}, {"lr": 1e-3, "share": 0.5}, 0
    )
    while (asked := of.ask(24)) is not None:
        decades = (math.log10(float(asked.hyper["lr"] or 0)) + 6) / 6  # 0 to 1, as share is
        of.tell(asked.number, decades + float(asked.hyper["share"] or 0), 0.25)

    assert of.importances()["source"]["lr"] == pytest.approx(0.5, abs=0.2)  # by raw values: 0.19


@pytest.mark.slow
def test_one_hyperparameter_has_all_the_importance(storage: str) -> None:
    of = SearchStudy("x", storage, {"lr": SPACE["lr"]}, {"lr": 1e-3}, 0)
    tell_points(of, [(0.1, 0.2), (0.3, 0.2), (0.2, 0.2), (0.5, 0.4)])

    assert of.importances() == {name: {"lr": 1.0} for name in ("source", "target", "avg")}


@pytest.mark.slow
def test_nothing_is_said_to_matter_after_three_configurations_or_where_nothing_varied(storage: str) -> None:
    few, same, frozen = study(storage, "few"), study(storage, "same"), study(storage, "frozen")
    tell_points(few, [(0.1, 0.2), (0.3, 0.4), (0.5, 0.6)])
    tell_points(same, [(0.5, 0.5)] * 5)
    for _ in range(5):
        frozen._study.enqueue_trial({"lr": 1e-3, "density": 0.1, "form": "b"})
    tell_points(frozen, [(0.1, 0.2), (0.3, 0.4), (0.5, 0.6), (0.7, 0.8)])

    assert few.importances() == same.importances() == frozen.importances() == {}


def test_a_failed_configuration_counts_for_no_importance(storage: str) -> None:
    of = study(storage)
    tell_points(of, [(0.1, 0.2), (0.3, 0.4), (0.5, 0.6)])
    asked = of.ask(4)
    assert asked is not None
    of.fail(asked.number)

    assert of.importances() == {}


@pytest.mark.slow
def test_several_drivers_share_a_budget_and_take_up_only_their_own_orphans(storage: str) -> None:
    def of(owner: str) -> SearchStudy:
        return SearchStudy("x", storage, SPACE, {key: FIRST[key] for key in SPACE}, 0, owner=owner)

    mine, theirs = of("a").ask(3), of("b").ask(3)
    assert mine is not None
    assert theirs is not None

    again = of("a").ask(3)
    assert again == mine
    third = of("c").ask(3)
    assert third is not None
    assert len({mine.number, theirs.number, third.number}) == 3
    assert of("d").ask(3) is None


def test_a_storage_that_cannot_be_opened_is_named_without_its_password() -> None:
    with pytest.raises(UsageError, match=r"storage nonsense://host/db cannot be opened"):
        check_storage("nonsense://me:secret@host/db")


@pytest.mark.parametrize("table", ["studies", "trial_values", "alembic_version"])
def test_a_storage_that_another_search_creates_at_the_same_moment_is_opened(storage: str, table: str) -> None:
    waiting = [table]

    def another_is_faster(connection: object, cursor: object, statement: str, *rest: object) -> None:
        if waiting and f"CREATE TABLE {table} " in statement:
            waiting.clear()
            study(storage)

    event.listen(Engine, "before_cursor_execute", another_is_faster)
    try:
        asked = study(storage).ask(5)
    finally:
        event.remove(Engine, "before_cursor_execute", another_is_faster)

    assert not waiting
    assert asked is not None
    assert asked.number == 0


def test_a_storage_without_a_server_is_refused_without_a_second_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail("it tried again"))

    with pytest.raises(UsageError, match="unable to open database file"):
        check_storage(f"sqlite:///{tmp_path}/none/search.db")
