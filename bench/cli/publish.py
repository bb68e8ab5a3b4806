"""``bench publish``: gather a run as a folder that others can read, cite and compare with, or upload it to a hub."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.cli.arguments import Command, arg, flag
from bench.cli.options import Output
from bench.cli.which_run import OneRun, shown_run
from bench.console import say, tell, warn
from bench.environment import known_facts
from bench.errors import DataError, UsageError, one_line
from bench.papers.other_run import MANIFEST, MANIFEST_SCHEMA
from bench.sizes import readable_size
from bench.store.drafts import staged
from bench.store.json_note import json_text
from bench.store.places import local_path
from bench.store.run_folder import Store
from bench.store.runs import FOLDER, Run
from bench.text import counted, shareable
from bench.values.scores import Score

_HUB = "hub:"
_PRIVATE = {"command.json", "study.json"}  # they have the absolute paths from which a run resumes
_CARD = "README.md"


@dataclass(frozen=True, kw_only=True)
class PublishOptions(OneRun, Output, Command):
    """The options of ``bench publish``."""

    to: str = arg("", "an empty folder, or hub:OWNER/NAME for a data set on the hub (needs a login)", "DIR|hub:O/N")
    yes: bool = flag("upload to the hub; without it, the files are only listed")


def publish(options: PublishOptions) -> int:
    """Write a run as a publication pack, or upload it."""
    if not options.to:
        raise UsageError("--to is missing. Name an empty folder, or hub:OWNER/NAME.")
    store = options.existing()
    run = shown_run(store, options.output, options.run, ["run", "sequence", "study"])
    files = pack(store, run)
    if options.to.startswith(_HUB):
        return _upload(files, options.to.removeprefix(_HUB), run, yes=options.yes)
    if "://" in options.to:
        raise UsageError(f"--to {options.to} is a URL. Name a folder, or hub:OWNER/NAME.")
    folder = local_path(options.to)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise UsageError(f"{folder} is not empty. Choose a new folder.")
    except OSError as error:
        raise UsageError(f"Cannot write to {folder}: {error.strerror}. Choose another folder.") from error
    write_pack(files, folder)
    say(f"wrote {folder}: {counted(len(files), 'file')}, {readable_size(sum(map(len, files.values())))}")
    say(f"Open {folder / 'index.html'} in a browser.")
    return 0


def pack(store: Store, run: Run) -> dict[str, bytes]:
    """Return the files of a publication pack by their path: the reports, the page, a card and a manifest.

    Raises:
        UsageError: the run has no reports yet.
    """
    root = store.root / (run.reports or FOLDER)
    found = sorted(path for path in root.rglob("*") if path.is_file() and path.name not in _PRIVATE)
    files = {path.relative_to(root).as_posix(): path.read_bytes() for path in found}
    if not run.finished or "index.html" not in files:
        raise UsageError(f"The run {run.name} is not finished. Run its command again: {run.command}")
    table = next((text for name, text in files.items() if name.endswith(".md")), b"").decode("utf-8")
    files[_CARD] = _card(run, table).encode("utf-8")
    files[MANIFEST] = f"{json_text(_manifest(store, run, files))}\n".encode()
    return files


def write_pack(files: Mapping[str, bytes], folder: Path) -> None:
    """Write the files of a pack into a folder."""
    with staged(folder) as here:
        for name, data in files.items():
            path = here / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)


def _manifest(store: Store, run: Run, files: Mapping[str, bytes]) -> dict[str, Any]:
    """Return what others need to know before they compare numbers: versions, base model, what was scored, digests."""
    trials = set(run.trials)
    records = [record for record in store.records() if record.trial.id in trials]
    shown = {key for keys in run.scores.values() for key in keys}
    scores = [score for record in records for key, score in record.scores.items() if key in shown]
    recipes = Counter(json_text(record.trial.recipe.to_json()) for record in records if record.trial.target)
    return {
        "schema": MANIFEST_SCHEMA,
        "name": run.name,
        "kind": run.kind,
        "command": shareable(run.command),
        "started": run.started,
        "suite": run.selection.get("suite"),
        "base_models": sorted({record.trial.model for record in records}),
        "fit_versions": sorted({record.trial.version for record in records}),
        "eval_versions": sorted({score.asked.version for score in scores}),
        "recipe": json.loads(recipes.most_common(1)[0][0]) if recipes else {},
        "scored": _scored(scores),
        "trials": {record.trial.id: record.trial.label for record in records},
        "environment": known_facts(record.environment for record in records),
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
    }


def _scored(scores: Sequence[Score]) -> dict[str, dict[str, Any]]:
    """Return by task which examples were scored, and every environment in which they were."""
    by_task: dict[str, list[Score]] = {}
    for score in scores:
        by_task.setdefault(score.asked.task, []).append(score)
    return {
        task: {
            "examples": found[-1].asked.examples,
            "count": found[-1].asked.count,
            "environment": known_facts(score.environment for score in found),
        }
        for task, found in by_task.items()
    }


def _card(run: Run, table: str) -> str:
    """Return the card of a pack: what it is, how it was made, how to read it, and its table."""
    return f"""---
tags: [retain-bench]
---

# {run.name}

A {run.kind} of retain-bench: how much a multimodal LLM forgets when it is fine-tuned, with every method on equal terms.

* Open `index.html` in a browser: tables, figures, and the examples that were forgotten.
* `scores.parquet` has the score of every example; `*.json` and `*.csv` have every number of the tables.
* `{MANIFEST}` has versions, environments, the ids of all trials, and the digest of every file.

The command:

    {shareable(run.command)}

The pack has no weights and no data sets. Questions, accepted answers and replies are in it, as far as they changed or
were scored; the licences of the data sets apply to them.

{table}"""


def _listing(files: Mapping[str, bytes]) -> Iterator[str]:
    """Yield a line for each file at the top of a pack, and one for each folder."""
    sizes = dict[str, list[int]]()
    for name, data in files.items():
        top, inside, _ = name.partition("/")
        sizes.setdefault(top + inside, []).append(len(data))
    for name, found in sizes.items():
        many = f" ({counted(len(found), 'file')})" if name.endswith("/") else ""
        yield f"  {readable_size(sum(found)):>9}  {name}{many}"


def _upload(files: Mapping[str, bytes], address: str, run: Run, *, yes: bool) -> int:
    """List the files of a pack, and with ``yes`` upload them as a data set on the hub.

    Raises:
        UsageError: the address is not OWNER/NAME.
        DataError: the hub refuses the files.
    """
    if address.count("/") != 1 or not all(address.split("/")):
        raise UsageError(f"--to hub:{address} is not an address. Write hub:OWNER/NAME.")
    tell(_listing(files))
    whole = f"{counted(len(files), 'file')}, {readable_size(sum(map(len, files.values())))}"
    if not yes:
        warn(f"{whole} would go to the public data set {address} on the hub. Add --yes to upload them.")
        return 0
    from huggingface_hub import HfApi  # imported here because only an upload needs it

    with TemporaryDirectory() as folder:
        write_pack(files, Path(folder))
        try:
            api = HfApi()
            api.create_repo(address, repo_type="dataset", exist_ok=True)
            api.upload_folder(
                repo_id=address, repo_type="dataset", folder_path=folder, commit_message=f"Add {run.name}"
            )
        except Exception as error:
            raise DataError(
                f"The hub refused {address}: {one_line(error)}. Log in with `hf auth login`, or choose another name."
            ) from error
    say(f"uploaded {whole} to the data set {address}")
    return 0
