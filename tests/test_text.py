from bench.text import text_table


def test_words_go_to_the_left_numbers_to_the_right_and_no_line_ends_in_spaces() -> None:
    rows = [("method", "Avg", "note"), ("lora", "61.25", ""), ("dora", "7", "tied")]

    assert list(text_table(rows, left={0, 2})) == ["method    Avg  note", "lora    61.25", "dora        7  tied"]


def test_a_row_of_one_cell_spans_the_table() -> None:
    rows = [("a", "b"), ("longer than all columns",), ("c", "d")]

    assert list(text_table(rows)) == ["a  b", "longer than all columns", "c  d"]


def test_columns_are_at_least_as_wide_as_asked_for() -> None:
    assert list(text_table([("a", "1", "2")], least=(3, 4), gap=" ")) == ["a      1 2"]


def test_a_table_without_rows_has_no_lines() -> None:
    assert list(text_table([], least=(3,))) == []
