import pytest

from bench.errors import first_line, one_line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("two\n  lines", "two lines"),
        ("cannot reach http://ann:secret@host/x", "cannot reach http://host/x"),
        ("", "OSError"),
        ("x" * 301, "x" * 300 + " …"),
    ],
)
def test_an_error_on_one_line_is_short_and_names_no_password(text: str, line: str) -> None:
    assert one_line(OSError(text)) == line


@pytest.mark.parametrize(("text", "line"), [("\n one\ntwo", "one"), (" ", "OSError")])
def test_the_first_line_of_an_error_is_never_empty(text: str, line: str) -> None:
    assert first_line(OSError(text)) == line
