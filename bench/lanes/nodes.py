"""The nodes of a cluster: check that each can run lanes, and take back trials if a node is lost."""

from __future__ import annotations

import atexit
import logging
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.errors import DataError, UsageError, one_line
from bench.plugins.tasks import Tasks

log = logging.getLogger(__name__)

_ANSWER_SECONDS = 180.0  # how long a node may take to start a worker and look at its disk
_WATCH_SECONDS = 1.0


def check(folders: Mapping[str, Path], tasks: Sequence[str], *, gpus: bool) -> None:
    """Refuse a cluster that has a node on which a lane cannot work.

    ``folders`` gives the folders that each node must see, by their description.

    Raises:
        UsageError: a node lacks a folder, software that scores one of the ``tasks``, or this version of the package;
            the message names every such node.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    from bench import __version__

    kind = "GPU" if gpus else "CPU"
    nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get(kind, 0) > 0]
    look = ray.remote(num_cpus=0, max_retries=0)(lacking)
    asked = {
        node["NodeID"]: look.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote(folders, __version__, tasks)
        for node in nodes
    }
    found = []
    for node in nodes:
        try:
            missing = ray.get(asked[node["NodeID"]], timeout=_ANSWER_SECONDS)
        except Exception as error:  # noqa: BLE001  a lane would fail there for the same reason, whatever it is
            missing = [f"no lane can start there ({' '.join(str(error).split())[-200:]})"]
        found += [f"node {name_of(node)}: {reason}" for reason in missing]
    if found:
        raise UsageError("; ".join(found) + ".")


def lacking(folders: Mapping[str, Path], version: str, tasks: Sequence[str] = ()) -> list[str]:
    """Return the reasons why a lane cannot work on this machine."""
    from bench import __version__

    reasons = [] if __version__ == version else [f"it has retain-bench {__version__}, but the driver has {version}"]
    for what, folder in folders.items():
        try:
            there = folder.exists()
        except Exception as error:  # noqa: BLE001  a file system's driver may raise anything
            reasons.append(f"it cannot reach the {what} {folder} ({one_line(error)})")
            continue
        if not there:
            reasons.append(f"it does not have the {what} {folder}: put it on every node, or on a disk that all share")
    installed = Tasks()
    for name in tasks:
        try:
            installed.load(name).ready()
        except DataError as error:
            reasons.append(str(error).rstrip("."))
        except UsageError:  # the task of a plugin file, which this node gets only with the lane
            continue
    return reasons


@dataclass(slots=True)
class Watch:
    """A watch over a cluster's nodes: other lanes take the trials of a lost node.

    It does nothing if Ray is not ``joined``, that is, if Ray is private and has only this machine.
    """

    broker: Any
    joined: bool = True
    gone: set[str] = field(default_factory=set)
    _next: float = 0.0

    def look(self) -> None:
        """Take back the trials of lost nodes; look at most once per second."""
        import ray

        if not self.joined or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _WATCH_SECONDS
        for node in ray.nodes():
            if not node["Alive"] and node["NodeID"] not in self.gone:
                self.gone.add(node["NodeID"])
                if labels := ray.get(self.broker.node_lost.remote(node["NodeID"])):
                    log.warning("Node %s is gone; another lane takes %s.", name_of(node), ", ".join(labels))


def name_of(node: Mapping[str, Any]) -> str:
    """Return a node's address and the start of its id, because several nodes may run on one machine."""
    return f"{node['NodeManagerAddress']} ({node['NodeID'][:8]})"


def unpacked(plugins: Sequence[Path], sources: Sequence[bytes]) -> list[Path]:
    """Return paths to plugin files as the driver has them; files that differ here are written as copies.

    ``sources`` are the driver's contents; it is empty if driver and lanes share a disk.
    """
    if not sources:
        return list(plugins)
    paths = []
    for path, source in zip(plugins, sources, strict=True):
        if path.is_file() and path.read_bytes() == source:
            paths.append(path)
            continue
        folder = Path(tempfile.mkdtemp(prefix="bench-plugin-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        (folder / path.name).write_bytes(source)
        paths.append(folder / path.name)
    return paths
