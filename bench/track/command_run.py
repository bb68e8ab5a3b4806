"""The MLflow run of a command, in which the runs that the command writes are nested."""

from __future__ import annotations

import getpass
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from bench.store.places import is_remote
from bench.text import shareable
from bench.values.canonical import digest


def output_name(root: Path) -> str:
    """Return the run folder, with the name of its machine if it is on a disk."""
    return str(root) if is_remote(root) else f"{socket.gethostname()}:{root.resolve()}"


def folder_digest(name: str) -> str:
    """Return a digest of a run folder's name for filters, in which a path's quotes would be a syntax error."""
    return digest(name)[:12]


def quest_key(study: str, folder: str) -> str:
    """Return the key of a quest in MLflow; ``folder`` is the digest of its run folder."""
    return digest([study, folder])[:12]


def command_run(client: Any, experiment: str, suite: str, root: Path, line: str, kind: str = "command") -> str:
    """Return the id of a command's run and mark it as running; ``kind`` is command or search.

    A run of the same command ``line`` on the same run folder is resumed. Tags keep the whole line and folder, by which
    a run is found; its name and description are for readers elsewhere.
    """
    found = None
    output = output_name(root)
    folder = folder_digest(output)
    condition = f"tags.kind = '{kind}' and tags.folder = '{folder}'"
    for run in client.search_runs([experiment], condition, max_results=100):
        if run.data.tags.get("command") == line:
            found = run
        elif run.info.status == "RUNNING":  # one command at a time works in a run folder, so this one died
            client.set_terminated(run.info.run_id, "KILLED")
    if found is None:
        tags = {
            "kind": kind,
            "command": line,
            "output": output,
            "folder": folder,
            "suite": suite,
            "mlflow.note.content": f"`{shareable(line)}`\n\nin the run folder `{root.name}`",
            **origin(),
        }
        found = client.create_run(experiment, tags=tags, run_name=shareable(line)[:250])
    client.update_run(found.info.run_id, "RUNNING")
    return str(found.info.run_id)


def command_runs(client: Any, experiment: str, root: Path) -> list[str]:
    """Return the ids of the runs of all commands that worked in a run folder."""
    condition = f"tags.kind = 'command' and tags.folder = '{folder_digest(output_name(root))}'"
    return [str(run.info.run_id) for run in all_runs(client, experiment, condition)]


def all_runs(client: Any, experiment: str, condition: str) -> Iterator[Any]:
    """Yield every run that meets a condition, page after page."""
    token = None
    while True:
        page = client.search_runs([experiment], condition, max_results=1000, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def origin() -> dict[str, str]:
    """Return the user and the source for MLflow's own columns."""
    tags = {"mlflow.source.name": "bench", "mlflow.source.type": "LOCAL"}
    with suppress(OSError, KeyError):  # a container may run under a number without a name
        tags["mlflow.user"] = getpass.getuser()
    return tags
