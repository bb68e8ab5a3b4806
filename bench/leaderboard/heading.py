"""What stands above a leaderboard: where it comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bench.environment import AND, UNKNOWN
from bench.plan.row_key import RowKey

_SAID = ("device", "processor", "torch", "transformers", "peft")


@dataclass(frozen=True, slots=True)
class Heading:
    """The origin of a leaderboard, as printed above it.

    ``environment`` has every value of each fact about the trainings and edits of the rows, such as their commits. If
    ``mixed`` is true, rows of different environments are compared. ``parts`` says how much of a task was scored, for
    each task that was scored only in part: "gqa 50 of 12,578". ``settings`` names what the suite sets differently than
    the methods do, and ``older`` counts the trials of an older version that the run folder also has. ``at_chance`` has
    a sentence for each source that Source leaves out, or one sentence if no source is above chance. ``titles`` has the
    names that papers use, by the names of methods and tasks.
    """

    suite: str
    command: str | None = None
    environment: Mapping[str, Sequence[str]] = field(default_factory=dict)
    mixed: bool = False
    parts: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    older: int = 0
    at_chance: tuple[str, ...] = ()
    titles: Mapping[str, str] = field(default_factory=dict)

    @property
    def commit(self) -> str:
        """The commits of the code that made the rows, or nothing if they are not known."""
        return AND.join(commit for commit in self.environment.get("commit", ()) if commit != UNKNOWN)

    @property
    def made_with(self) -> str:
        """The devices and the main versions that the rows were made with, or nothing if they are not known."""
        known = ((name, self.environment.get(name, ())) for name in _SAID)
        return ", ".join(f"{name} {AND.join(values)}" for name, values in known if values)

    def title(self, name: str) -> str:
        """Return the name that papers use for a method or a task, or its own name."""
        return self.titles.get(name, name)

    def row_title(self, key: RowKey) -> str:
        """Return a row's name with the name that papers use for its method; a control is in brackets."""
        name = f"{self.title(key.method)} {key.variant}".rstrip()
        return f"({name})" if key.control else name
