"""Follow a run folder that was moved or copied: MLflow stores where the folder was when it wrote each MLflow run."""

from __future__ import annotations

import shlex
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from bench.errors import StoreError
from bench.track.command_run import folder_digest, output_name, quest_key

ARTIFACTS = "mlartifacts"
_WAIT_SECONDS = 30.0


def local_folder(address: str) -> Path | None:
    """Return the folder of MLflow's address of files, or None if the address is not on a disk of this machine."""
    if address.startswith("file:"):
        return Path(url2pathname(urlsplit(address).path))
    return Path(address) if address.startswith("/") else None


@dataclass(frozen=True, slots=True)
class _Moved:
    """An experiment whose files are no longer at ``address``, and that address as a folder."""

    experiment: int
    address: str
    folder: Path


def follow(database: Path, root: Path) -> None:
    """Write the run folder's place into its own database, in one transaction, if the database names another place.

    An experiment keeps a place that exists if the folder has no files of its runs: somebody chose that place.

    Raises:
        StoreError: the database cannot be changed.
    """
    if not database.is_file():
        return
    with closing(sqlite3.connect(database, timeout=_WAIT_SECONDS, isolation_level=None)) as connection:
        moved = _moved(connection, root)
        if not moved:
            return
        try:
            connection.execute("BEGIN IMMEDIATE")
            for each in moved:
                _change_addresses(connection, each, (root / ARTIFACTS).as_uri())
            for old in {each.folder.parent for each in moved}:
                _change_names(connection, old, root)
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise StoreError(_refused(database, root, moved[0].folder, error)) from error


def _moved(connection: sqlite3.Connection, root: Path) -> Sequence[_Moved]:
    """Return the experiments whose files are in this run folder, or nowhere, but whose address is another."""
    try:
        found = connection.execute("SELECT experiment_id, artifact_location FROM experiments").fetchall()
    except sqlite3.Error:  # not a database of MLflow yet; if it is damaged, MLflow says so
        return ()
    moved = []
    for experiment, address in found:
        folder = local_folder(address or "")
        if folder is None or folder.name != ARTIFACTS or folder == root / ARTIFACTS:
            continue
        runs = connection.execute("SELECT run_uuid FROM runs WHERE experiment_id = ?", (experiment,))
        if not folder.is_dir() or any((root / ARTIFACTS / run).is_dir() for (run,) in runs):
            moved.append(_Moved(experiment, address, folder))
    return moved


def _change_addresses(connection: sqlite3.Connection, moved: _Moved, now: str) -> None:
    """Change the address of an experiment's files and of the files of its runs."""
    connection.execute("UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?", (now, moved.experiment))
    connection.execute(
        "UPDATE runs SET artifact_uri = :now || substr(artifact_uri, length(:old) + 1) "
        "WHERE experiment_id = :experiment AND substr(artifact_uri, 1, length(:old) + 1) = :old || '/'",
        {"now": now, "old": moved.address, "experiment": moved.experiment},
    )


def _change_names(connection: sqlite3.Connection, old: Path, root: Path) -> None:
    """Change the tags that name the run folder, so that a later command finds the runs of an earlier one again."""

    def change(key: str, before: str, after: str) -> None:
        connection.execute("UPDATE tags SET value = ? WHERE key = ? AND value = ?", (after, key, before))

    name, now = output_name(root), folder_digest(output_name(root))
    for (before,) in connection.execute("SELECT DISTINCT value FROM tags WHERE key = 'output'").fetchall():
        if not before.endswith(f":{old}"):
            continue
        was = folder_digest(before)
        for (study,) in connection.execute("SELECT DISTINCT value FROM params WHERE key = 'study'").fetchall():
            change("quest", quest_key(study, was), quest_key(study, now))
        change("folder", was, now)
        change("output", before, name)


def _refused(database: Path, root: Path, old: Path, error: sqlite3.Error) -> str:
    sync = shlex.join(["bench", "sync", "--output", str(root)])
    delete = shlex.join(["rm", "-r", str(database), str(root / ARTIFACTS)])
    return (
        f"{database} says that MLflow's files are in {old}, and cannot be changed ({error}). Make it writable and run "
        f"{sync}, or rebuild it with {delete} and {sync}."
    )
