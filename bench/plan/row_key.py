"""Define the key that names a leaderboard row, from the plan to every report.

This module imports nothing heavy.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

SORTS = ("avg", "source", "target", "lost", "method")  # how the rows of a rank can be sorted; lost: least forgetting


@dataclass(frozen=True, slots=True)
class RowKey:
    """The key of a leaderboard row: a ``method`` at a ``rank``, and a ``variant`` (empty for the default row).

    Rows of one rank and ``connector`` are compared with each other; the untouched base model has no rank. Keys whose
    first four fields are equal name the same row, even if the other fields differ between its seeds and targets. Only a
    ``ranked`` row can be the highest. A ``control`` is a trivial baseline that every row should beat, or only the row
    that ``against`` names. ``tries`` counts the configurations tried to choose the row, and ``note`` says what was
    chosen. ``remark`` is the sentence that the method adds to every table with one of its rows. ``given`` says what the
    row was given that plain LoRA is not, such as source data; only rows that were given the same compete.
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
    remark: str = field(default="", compare=False)
    given: str = field(default="", compare=False)

    @property
    def name(self) -> str:
        """The method, and the variant if there is one."""
        return f"{self.method} {self.variant}".rstrip()

    @property
    def label(self) -> str:
        """The name and the rank, for use in a sentence."""
        return self.name if self.rank is None else f"{self.name} r{self.rank}"

    @property
    def block(self) -> tuple[int, str]:
        """The rank (0 without a rank) and the connector; rows of one block are compared with each other."""
        return (self.rank or 0, self.connector)

    def sibling(self, method: str, variant: str = "") -> RowKey:
        """Return the key of another row of the same block."""
        return replace(self, method=method, variant=variant)
