"""The MLflow run of a command, in which the runs that the command writes are nested."""

from __future__ import annotations

import getpass
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.spec import digest
from bench.store.places import is_remote


@dataclass(frozen=True, slots=True)
class CommandRun:
    """A command line as it was typed, with its run folder; ``kind`` is command or search."""

    kind: str
    line: str
    suite: str
    root: Path

    @property
    def output(self) -> str:
        """The run folder, with the name of its machine if it is on a disk."""
        return str(self.root) if is_remote(self.root) else f"{socket.gethostname()}:{self.root.resolve()}"

    @property
    def folder(self) -> str:
        """A digest of the run folder for filters, in which a path's quotes would be a syntax error."""
        return digest(self.output)[:12]


def command_run(client: Any, experiment: str, command: CommandRun) -> str:
    """Return the id of the command's run and mark it as running.

    A run of the same command on the same run folder is resumed.
    """
    found = None
    condition = f"tags.kind = '{command.kind}' and tags.folder = '{command.folder}'"
    for run in client.search_runs([experiment], condition, max_results=100):
        if run.data.tags.get("command") == command.line:
            found = str(run.info.run_id)
        elif run.info.status == "RUNNING":  # one command at a time works in a run folder, so this one died
            client.set_terminated(run.info.run_id, "KILLED")
    key = found or _create(client, experiment, command)
    client.update_run(key, "RUNNING")
    return key


def origin() -> dict[str, str]:
    """Return the user and the source for MLflow's own columns."""
    tags = {"mlflow.source.name": "bench", "mlflow.source.type": "LOCAL"}
    with suppress(OSError, KeyError):  # a container may run under a number without a name
        tags["mlflow.user"] = getpass.getuser()
    return tags


def _create(client: Any, experiment: str, command: CommandRun) -> str:
    tags = {
        "kind": command.kind,
        "command": command.line,
        "output": command.output,
        "folder": command.folder,
        "suite": command.suite,
        "mlflow.note.content": f"`{command.line}`\n\nin `{command.output}`",
        **origin(),
    }
    run = client.create_run(experiment, tags=tags, run_name=command.line[:250])
    return str(run.info.run_id)
