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
