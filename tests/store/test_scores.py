import errno
from pathlib import Path

import pytest

from bench.errors import StoreError
from bench.store.run_folder import Store
from bench.values.scores import Score
from tests.making.trials import ASKED, TRIAL


def test_scores_that_lack_an_example_are_named(tmp_path: Path) -> None:
    store = Store(tmp_path)
    name = store.scores_of(TRIAL).write(ASKED.key, [{"id": "1"}])

    with pytest.raises(StoreError, match="1 of 2 examples"):
        store.scores_of(TRIAL).read(Score(ASKED, "a", {"a": 1.0}, name))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            PermissionError(errno.EACCES, "Permission denied"),
            r"cannot be read \(.*Permission denied\)\. Check .* again",
        ),
        (
            FileNotFoundError(errno.ENOENT, "No such file"),
            r"is missing or damaged \(.*No such file\)\. Delete .* again",
        ),
    ],
)
def test_scores_are_to_be_deleted_only_if_they_are_gone_or_damaged(
    tmp_path: Path, error: OSError, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = Store(tmp_path).scores_of(TRIAL)
    name = trial.write(ASKED.key, [{"id": "1"}, {"id": "2"}])

    def refused(*_: object, **__: object) -> str:
        raise error

    monkeypatch.setattr(Path, "read_text", refused)

    with pytest.raises(StoreError, match=words):
        trial.read(Score(ASKED, "a", {"a": 1.0}, name))
