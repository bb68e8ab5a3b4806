"""make perf writes what a timing printed into its own section of docs/performance.md."""

from pathlib import Path

import pytest

from tests.perf import __main__ as perf

OLD = f"""# Page

{perf._FIRST}

printed:

### loss

yesterday, elsewhere

### planning

kept

{perf._LAST}

After.
"""


def test_a_timing_replaces_its_own_section_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "performance.md"
    page.write_text(OLD, encoding="utf-8")
    monkeypatch.setattr(perf, "PAGE", page)

    for name in ("loss", "dora", "loss"):
        perf.write(name, f"### {name}\n\ntoday\n")

    text = page.read_text(encoding="utf-8")
    assert [line for line in text.splitlines() if line.startswith("### ")] == ["### dora", "### loss", "### planning"]
    assert "yesterday" not in text
    assert "kept" in text
    assert text.startswith("# Page\n\n")
    assert text.endswith("After.\n")
