"""Keep the numbers of a trial's scores in one binary file, because a table needs no questions and no answers.

``scores/numbers.bin`` is a copy of what ``scores/KEY.jsonl`` say: one line of JSON, and then float64 numbers, little
endian, metric after metric. The line names for each score key the metrics, the number of examples, a digest of the
predictions and the bytes of the jsonl file; ``crc`` is the checksum of the numbers. A copy that is damaged, or older
than its jsonl file, is made again from it.
"""

from __future__ import annotations

import json
import zlib
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from sys import byteorder
from typing import Any

from bench.store.drafts import drafted

FILE = "numbers.bin"
_FORM = 1  # raised if the file is laid out in another way; other files are made again


@dataclass(frozen=True, slots=True)
class Numbers:
    """One score of every example, [n] by metric, and the digest of the predictions; ``size`` is that of the jsonl."""

    by_metric: Mapping[str, array[float]]
    answers: str
    size: int

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, Any]], size: int) -> Numbers | None:
        """Return the numbers of the rows of a jsonl file, or None if the rows do not all have the same metrics."""
        try:
            metrics = list(rows[0]["scores"])
            by_metric = {name: array("d", [row["scores"][name] for row in rows]) for name in metrics}
            texts = json.dumps([row["prediction"] for row in rows])
        except (IndexError, KeyError, TypeError):
            return None
        return cls(by_metric, sha256(texts.encode()).hexdigest(), size)

    @property
    def count(self) -> int:
        """The number of examples."""
        return len(next(iter(self.by_metric.values()), ()))


def packed(known: Mapping[str, Numbers]) -> bytes:
    """Return the numbers of some scores, by score key, as the bytes of a file."""
    data = b"".join(_little(values).tobytes() for item in known.values() for values in item.by_metric.values())
    scores = {
        key: {"metrics": list(item.by_metric), "count": item.count, "answers": item.answers, "size": item.size}
        for key, item in known.items()
    }
    head = {"form": _FORM, "crc": zlib.crc32(data), "scores": scores}
    return json.dumps(head).encode() + b"\n" + data


def unpacked(content: bytes) -> dict[str, Numbers]:
    """Return the numbers by score key that a file's bytes hold; nothing if the file is damaged or of another form."""
    line, _, data = content.partition(b"\n")
    try:
        head = json.loads(line)
        if head["form"] != _FORM or head["crc"] != zlib.crc32(data):
            return {}
        found, start = dict[str, Numbers](), 0
        for key, item in head["scores"].items():
            by_metric = {}
            for metric in item["metrics"]:
                stop = start + 8 * item["count"]
                by_metric[metric] = _little(array("d", data[start:stop]))
                start = stop
            found[key] = Numbers(by_metric, item["answers"], item["size"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}
    return found if start == len(data) else {}


def read_numbers(folder: Path) -> dict[str, Numbers]:
    """Return the numbers that a folder of scores has by score key; a missing or damaged file has none."""
    try:
        return unpacked((folder / FILE).read_bytes())
    except OSError:
        return {}


def write_numbers(folder: Path, known: Mapping[str, Numbers]) -> None:
    """Write the numbers of all scores of a folder.

    Raises:
        WriteError: the disk refuses the file.
    """
    with drafted(folder / FILE, lasting=False) as draft:  # its checksum tells if a power cut left a part of it
        draft.write_bytes(packed(known))


def _little(values: array[float]) -> array[float]:
    """Return numbers whose bytes are in the other order on a machine that is not little endian."""
    if byteorder == "big":
        values = array("d", values)
        values.byteswap()
    return values
