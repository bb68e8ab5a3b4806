"""Save and read which sources the last command left out of Source, because the base model is at chance on them."""

from __future__ import annotations

from collections.abc import Collection

from bench.store.json_note import read_note, write_note
from bench.store.run_folder import Store
from bench.values.trial import Trial

_FILE = "left_out.json"


def save(store: Store, base: Trial, names: Collection[str]) -> None:
    """Save the sources that are left out; ``base`` is the trial of the untouched base model."""
    noted = _read(store)
    if set(noted.get(base.id, ())) != set(names):
        write_note(store.root / _FILE, {**noted, base.id: sorted(names)})


def read(store: Store, base: Trial) -> tuple[str, ...]:
    """Return the sources that are left out, or an empty tuple if no command left one out.

    Raises:
        StoreError: the file is damaged.
    """
    return tuple(_read(store).get(base.id, ()))


def _read(store: Store) -> dict[str, list[str]]:
    noted = read_note(
        store.root / _FILE,
        lambda data: {base: list(names) for base, names in data.items()},
        "{path} is damaged ({error}). Delete it; the next run writes it again.",
    )
    return noted or {}
