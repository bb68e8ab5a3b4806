import errno
from pathlib import Path

import pytest

from bench.errors import DataError, StoreError
from bench.store.json_note import read_note, write_note

DAMAGED = "{path} is damaged ({error!r}). Delete it."


def test_a_note_is_parsed_and_none_where_there_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "note.json").write_text('{"a": 1}', encoding="utf-8")

    assert read_note(tmp_path / "note.json", lambda data: int(data["a"]), DAMAGED) == 1
    assert read_note(tmp_path / "none.json", lambda data: int(data["a"]), DAMAGED) is None


@pytest.mark.parametrize("text", ["{", "[]", "{}", "null", "\udcff", '{"a": "x"}'])
def test_a_note_of_another_form_is_refused_with_its_path_the_reason_and_the_remedy(tmp_path: Path, text: str) -> None:
    path = tmp_path / "{odd} note.json"
    path.write_text(text, errors="surrogateescape", encoding="utf-8")

    with pytest.raises(StoreError, match=r"\{odd\} note\.json is damaged \(\w+Error\(.*\)\. Delete it\.$"):
        read_note(path, lambda data: int(data["a"]), DAMAGED)


@pytest.mark.parametrize(
    "reason", [PermissionError(errno.EACCES, "Permission denied"), OSError(errno.ESTALE, "Stale file handle")]
)
def test_a_note_that_cannot_be_read_now_is_not_to_be_deleted(
    tmp_path: Path, reason: OSError, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "note.json"
    path.write_text('{"a": 1}', encoding="utf-8")

    def refused(*_: object) -> bytes:
        raise reason

    monkeypatch.setattr(Path, "read_bytes", refused)

    with pytest.raises(StoreError) as caught:
        read_note(path, lambda data: data, DAMAGED)

    assert str(caught.value).startswith(f"{path} cannot be read ([Errno {reason.errno}] {reason.strerror}). Check ")
    assert "elete" not in str(caught.value)


def test_the_kind_of_error_is_the_callers(tmp_path: Path) -> None:
    (tmp_path / "note.json").write_text("{", encoding="utf-8")

    with pytest.raises(DataError, match="is damaged"):
        read_note(tmp_path / "note.json", lambda data: data, DAMAGED, DataError)
    with pytest.raises(DataError, match=r"cannot be read \(.*Is a directory"):
        read_note(tmp_path, lambda data: data, DAMAGED, DataError)


def test_a_note_is_written_with_its_folder_and_a_line_end(tmp_path: Path) -> None:
    write_note(tmp_path / "new" / "note.json", {"b": 1, "a": [2]}, indent=None, sort_keys=True)

    assert (tmp_path / "new" / "note.json").read_text(encoding="utf-8") == '{"a": [2], "b": 1}\n'
