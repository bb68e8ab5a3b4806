"""How a command ends whose lanes or search have ended early."""

import sys
from collections.abc import Sequence
from types import SimpleNamespace

import pytest

from bench.errors import TrialError
from bench.lanes import lanes


@pytest.fixture(autouse=True)
def _no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let remote calls be local ones."""
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(get=lambda answer: answer))


def broker(*broken: str) -> SimpleNamespace:
    """Return a broker with jobs left, and the reasons that its broken lanes gave."""
    answers = {"halted": "", "is_over": False, "broken_lanes": list(broken)}
    return SimpleNamespace(**{name: SimpleNamespace(remote=lambda a=answer: a) for name, answer in answers.items()})


@pytest.mark.parametrize(
    ("broken", "errors", "reason"),
    [
        (("lane 0: no model",), (), "lane 0: no model"),
        (("lane 0: no model",), (OSError("no room"),), "no room"),
    ],
)
def test_a_command_without_lanes_says_why_and_how_to_go_on(
    broken: Sequence[str], errors: Sequence[BaseException], reason: str
) -> None:
    with pytest.raises(TrialError) as caught:
        lanes._check_end(broker(*broken), lanes._Troubles(list(errors)))

    assert str(caught.value) == (f"No lane is left. Correct this, then run the same command again to resume: {reason}")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            TrialError("It was lost. Run the same command again."),
            "The search failed: It was lost. Run the same command again.",
        ),
        (OSError("no room"), "The search failed. Correct this, then run the same command again to resume: no room"),
    ],
)
def test_a_search_that_failed_says_how_to_go_on_once(error: Exception, said: str) -> None:
    with pytest.raises(TrialError) as caught:
        lanes._check_end(broker(), lanes._Troubles(drive=error))

    assert str(caught.value) == said
