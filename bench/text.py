"""Rows of text in aligned columns."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from itertools import zip_longest


def text_table(
    rows: Iterable[Sequence[str]], left: Container[int] = (0,), *, least: Sequence[int] = (), gap: str = "  "
) -> Iterator[str]:
    """Yield one line per row; the columns in ``left`` are left-aligned, the others right-aligned.

    ``least`` holds the minimum widths of the first columns. A row with one cell spans the whole table.

    >>> list(text_table([("method", "Avg"), ("rank 8",), ("lora", "61.2")]))
    ['method   Avg', 'rank 8', 'lora    61.2']
    """
    rows = list(rows)
    columns = zip(*(row for row in rows if len(row) > 1), strict=True)
    widths = [max(pair) for pair in zip_longest((max(map(len, column)) for column in columns), least, fillvalue=0)]
    for row in rows:
        cells = [
            cell.ljust(width) if i in left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=False))
        ]
        yield (row[0] if len(row) == 1 else gap.join(cells)).rstrip()
