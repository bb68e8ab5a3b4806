"""Write values as canonical JSON: the text whose digest is an id."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping

_MOST = 1024  # texts that are kept; a command has some dozens of recipes and sets of hyperparameters

_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)
_by_repr: dict[str, str] = {}
_by_object: dict[int, tuple[object, str]] = {}


def canonical(value: object) -> str:
    """Return a value as JSON with sorted keys, without spaces, in ASCII; equal values have equal texts.

    >>> canonical({"seed": 0, "rank": None})
    '{"rank":null,"seed":0}'

    Raises:
        ValueError: a number is NaN or infinite.
    """
    # the encoder is made for structures, and takes ten times as long for a number
    return str(value) if type(value) is int else _ENCODER.encode(value)


def canonical_object(texts: Mapping[str, str]) -> str:
    """Return the canonical JSON of an object whose values are canonical JSON already.

    >>> canonical_object({"seed": "0", "rank": "null"}) == canonical({"rank": None, "seed": 0})
    True
    """
    return "{" + ",".join([f'"{name}":{texts[name]}' for name in sorted(texts)]) + "}"


def canonical_mapping(mapping: Mapping[str, object]) -> str:
    """Return the canonical JSON of plain values by name; it is written once for all mappings of one ``repr``.

    1, 1.0 and True are equal in Python, and so are 0.0 and -0.0, but their JSON differs; their ``repr`` does, too.
    """
    shown = repr(mapping)
    if shown not in _by_repr:
        if len(_by_repr) >= _MOST:
            _by_repr.clear()
        _by_repr[shown] = canonical(dict(mapping))
    return _by_repr[shown]


def canonical_frozen(value: object, as_json: Callable[[], object]) -> str:
    """Return the canonical JSON of a frozen value, which ``as_json`` returns; it is written once for an object."""
    known = _by_object.get(id(value))
    if known is None or known[0] is not value:
        if len(_by_object) >= _MOST:
            _by_object.clear()
        # it keeps the object, because Python may give its id to another one after that
        known = _by_object[id(value)] = (value, canonical(as_json()))
    return known[1]


def digest(value: object) -> str:
    """Return the SHA-256 of a JSON value, as hex; equal values have equal digests."""
    return sha256(canonical(value))


def sha256(text: str) -> str:
    """Return the SHA-256 of a text, as hex."""
    return hashlib.sha256(text.encode()).hexdigest()
