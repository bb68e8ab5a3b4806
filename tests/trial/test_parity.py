from __future__ import annotations

from pathlib import Path

import pytest

from bench.errors import StoreError
from bench.store.run_folder import Store
from bench.trial.parity import FILE, Difference, Parity, lines, read, write

PARITY = Parity(
    "lora-r4-gqa-s0",
    {"dtype": "float16", "eval_batch": "64"},
    (
        Difference("batch 1 against 64, float16", "gqa", 100, 3, -0.02),
        Difference("batch 1 against 64, float16", "okvqa", 50, 0, 0.0),
        Difference("float32 against float16", "gqa", 100, 12, 0.105),
        Difference("float32 against float16", "okvqa", 50, 0, 0.0),
    ),
    ("No adapter.",),
)


def test_a_table_has_a_line_per_comparison_and_a_column_per_task() -> None:
    assert list(lines(PARITY)) == [
        "lora-r4-gqa-s0, scored in float16, merged, 64 answers at once",
        "answers that differ between two ways to generate, and the metric of the first minus the second's, in points",
        "                             gqa            okvqa",
        "batch 1 against 64, float16   3/100  -2.00  0/50",
        "float32 against float16      12/100 +10.50  0/50",
        "No adapter.",
    ]


def test_every_subject_keeps_its_own_and_the_last_word_counts(tmp_path: Path) -> None:
    store = Store(tmp_path)
    other = Parity("zero_shot", {}, ())

    write(store, "a", Parity("old", {}, ()))
    write(store, "b", other)
    write(store, "a", PARITY)

    assert read(store) == {"a": PARITY, "b": other}
    assert read(Store(tmp_path / "empty")) == {}


@pytest.mark.parametrize("text", ["{", "[]", '{"a": {}}', '{"a": {"label": "x", "differences": [{}]}}'])
def test_a_damaged_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).parent.mkdir()
    (tmp_path / FILE).write_text(text, encoding="utf-8")

    with pytest.raises(StoreError, match=r"eval\.json is damaged .* Delete it"):
        read(Store(tmp_path))
