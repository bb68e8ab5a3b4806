"""What names a row of a leaderboard, from the plan to every report. Loads nothing."""

from __future__ import annotations

from dataclasses import dataclass, field, replace


@dataclass(frozen=True, slots=True)
class RowKey:
    """A row of a leaderboard: ``method`` at ``rank``, and ``variant`` if it is not the method's own row.

    Rows of one rank and ``connector`` are compared with each other; the untouched base model has no rank. Keys with
    equal first four fields are the same row: its seeds and targets may differ in the other fields. Only a ``ranked``
    row can be the highest. A ``control`` is a trivial baseline: every row should beat it, or the one that ``against``
    names. ``tries`` counts the configurations tried to choose the row, and ``note`` says what was chosen.
    """

    method: str
    variant: str = ""
    rank: int | None = None
    connector: str = ""
    ranked: bool = field(default=True, compare=False)
    control: bool = field(default=False, compare=False)
    against: str = field(default="", compare=False)
    tries: int = field(default=1, compare=False)
    note: str = field(default="", compare=False)

    @property
    def name(self) -> str:
        """The method, and what sets the row apart from the method's own."""
        return f"{self.method} {self.variant}".rstrip()

    @property
    def label(self) -> str:
        """The row's name in running text."""
        return self.name if self.rank is None else f"{self.name} r{self.rank}"

    @property
    def block(self) -> tuple[int, str]:
        """What the row is compared within: its rank (0 for none) and its connector."""
        return (self.rank or 0, self.connector)

    def sibling(self, method: str, variant: str = "") -> RowKey:
        """Return the key of another row of the same block."""
        return replace(self, method=method, variant=variant)
