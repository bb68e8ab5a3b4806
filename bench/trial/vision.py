"""Encode groups of images: their features come from files if a lane has encoded them before, else from the tower."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.environment import cores
from bench.file_digests import of_files
from bench.model.family import Features, Pixels
from bench.model.resident import Base
from bench.model.tower_key import code_digest
from bench.plugins.images import rgb_image
from bench.store.shared_folder import Claim
from bench.trial.feature_files import FeatureFiles

if TYPE_CHECKING:
    from PIL.Image import Image

Images = Sequence["Image | Path"]

_READERS = 4  # threads that decode and resize
_SLICE = 8  # images that a thread resizes at once
_AHEAD = 32  # images that are decoded while the tower works on those before
_WAIT_SECONDS = 120.0  # for a lane that computes the same group; a lane that hangs must not stop the others
SMALL = 10_000_000  # parameters; for micro's tower, files would save less than 1 % of a run


@dataclass(frozen=True, slots=True)
class _Decoding:
    """A group that threads decode and resize: its place in the request, its claim, and its slices."""

    place: int
    claim: Claim
    slices: Sequence[Future[Sequence[Pixels]]]


def encoded(base: Base, groups: Sequence[Images], files: FeatureFiles) -> Iterator[tuple[int, Sequence[Features]]]:
    """Yield the number of each group and the features of its images; a group passes the tower as a whole.

    A group that another lane computes at the same time comes last, from that lane's file.

    Raises:
        DataError: an image cannot be decoded.
    """
    encoder = _Encoder(base, groups, files)
    try:
        yield from encoder.run()
    finally:
        encoder.close()


class _Encoder:
    """Encodes the groups of one request: threads decode the next images while the tower works on those before."""

    def __init__(self, base: Base, groups: Sequence[Images], files: FeatureFiles) -> None:
        self._base = base
        self._groups = groups
        self._files = files
        self._keys = _keys(base, groups, files)
        self._decoding: deque[_Decoding] = deque()
        self._readers = ThreadPoolExecutor(min(_READERS, cores()))

    def run(self) -> Iterator[tuple[int, Sequence[Features]]]:
        busy = []
        for place, key in enumerate(self._keys):
            if (features := self._files.read(key)) is not None:  # without a claim, which takes longer
                yield place, features
            elif (claim := self._files.claim(key)) is None:
                busy.append(place)
            else:
                yield from self._start(place, claim)
            while sum(len(self._groups[item.place]) for item in list(self._decoding)[1:]) > _AHEAD:
                yield self._encode()
        while self._decoding:
            yield self._encode()
        yield from self._wait_for(busy)

    def _wait_for(self, busy: Sequence[int]) -> Iterator[tuple[int, Sequence[Features]]]:
        """Take groups from the lanes that compute them, or compute them if a lane dies or hangs."""
        seconds = _WAIT_SECONDS
        for place in busy:
            claim = self._files.claim(self._keys[place], seconds)
            if claim is None:
                seconds = 0.0  # a lane that hangs costs one wait, not one for each of its groups
            yield from self._start(place, claim or Claim())
            while self._decoding:
                yield self._encode()

    def close(self) -> None:
        """Give up what was not encoded because of an error."""
        self._readers.shutdown(cancel_futures=True)
        while self._decoding:
            self._decoding.pop().claim.release()

    def _start(self, place: int, claim: Claim) -> Iterator[tuple[int, Sequence[Features]]]:
        """Let threads decode a group, or yield it if it has got a file since this lane last looked."""
        if (features := self._files.read(self._keys[place])) is not None:
            claim.release()
            yield place, features
            return
        slices = [self._readers.submit(self._ready, part) for part in _slices(self._groups[place])]
        self._decoding.append(_Decoding(place, claim, slices))

    def _ready(self, images: Images) -> Sequence[Pixels]:
        return self._base.pixels([rgb_image(image) for image in images])

    def _encode(self) -> tuple[int, Sequence[Features]]:
        """Let the oldest group pass the tower."""
        item = self._decoding[0]
        pixels = [image for part in item.slices for image in part.result()]
        features = self._files.write(self._keys[item.place], self._base.encode(pixels))
        self._decoding.popleft().claim.release()
        return item.place, features


def _slices(images: Images) -> Iterator[Images]:
    for start in range(0, len(images), _SLICE):
        yield images[start : start + _SLICE]


def _keys(base: Base, groups: Sequence[Images], files: FeatureFiles) -> Sequence[str | None]:
    """Return what names the file of each group: digests of tower and images; None for a group without a file.

    The bits of an image's features depend on the group that it passes the tower in, so a key covers the whole group.
    """
    none: Sequence[None] = [None] * len(groups)
    if files.limit == 0 or sum(value.numel() for value in base.tower.parameters()) < SMALL:
        return none
    try:
        known = of_files({image for images in groups for image in images if isinstance(image, Path)})
    except OSError:  # the error of the image that cannot be read says more
        return none
    start = f"{base.tower_key} {code_digest(rgb_image.__module__)}".encode()
    return [
        hashlib.sha256(start + b"".join(_digest(image, known) for image in images)).hexdigest() for images in groups
    ]


def _digest(image: Image | Path, known: Mapping[Path, bytes]) -> bytes:
    """Return the digest of an image: of the bytes of its file, or of its pixels in memory."""
    if isinstance(image, Path):
        return known[image]
    pixels = rgb_image(image)
    return hashlib.sha256(f"pixels {pixels.size} ".encode() + pixels.tobytes()).digest()
