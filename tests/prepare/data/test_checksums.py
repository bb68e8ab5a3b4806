from pathlib import Path

import pytest

from bench.errors import UsageError
from bench.prepare.data.checksums import held


def test_a_folder_of_data_is_held_by_one_command_and_free_after_it(tmp_path: Path) -> None:
    with held(tmp_path), pytest.raises(UsageError, match="Another bench data get is working in"), held(tmp_path):
        pass
    with held(tmp_path):
        pass
