"""The change of weights that a method has learnt, by the full name of the parameter, and its files."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from typing_extensions import override

from bench.errors import DamagedError, PluginError, StoreError, one_line, unreadable
from bench.model.families import connector_of
from bench.model.saving import save_tensors

_PREFIX = "base_model.model."  # peft's prefix for the names of the model that it wraps
_WEIGHTS = "adapter_model.safetensors"
_CONFIG = "adapter_config.json"


@dataclass(frozen=True, slots=True, eq=False)
class Delta(ABC):
    """The change of one parameter; one that does not merge depends on the example, and is held live."""

    kind: ClassVar[str]
    merges: ClassVar[bool] = True

    @abstractmethod
    def merged(self, weight: Tensor) -> Tensor:
        """Return the changed parameter in float32, from W0 in float32, with W0's shape and device."""

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors of the delta by field name."""
        return {name: value for name, value in self._values().items() if isinstance(value, Tensor)}

    def settings(self) -> dict[str, Any]:
        """Return the other fields of the delta by name, such as its scale."""
        return {name: value for name, value in self._values().items() if not isinstance(value, Tensor)}

    def on(self, device: torch.device) -> Self:
        """Return the same delta with its tensors on a device."""
        return replace(self, **{name: tensor.to(device) for name, tensor in self.tensors().items()})

    def _values(self) -> dict[str, Any]:
        return {item.name: getattr(self, item.name) for item in fields(self)}


@dataclass(frozen=True, slots=True, eq=False)
class LowRank(Delta):
    """W0 + scale * B A, with B [out, rank] and A [rank, in]."""

    kind: ClassVar[str] = "low_rank"
    b: Tensor
    a: Tensor
    scale: float

    def product(self) -> Tensor:
        """Return scale * B A, float32 [out, in]."""
        return self.scale * (self.b.float() @ self.a.float())

    @override
    def merged(self, weight: Tensor) -> Tensor:
        return weight + self.on(weight.device).product()


@dataclass(frozen=True, slots=True, eq=False)
class Decomposed(LowRank):
    """diag(magnitude / |V|) V with V = W0 + scale * B A and |V| the norm of each row (DoRA)."""

    kind: ClassVar[str] = "decomposed"
    magnitude: Tensor

    @override
    def merged(self, weight: Tensor) -> Tensor:
        here = self.on(weight.device)
        direction = weight + here.product()
        length: Tensor = direction.norm(dim=1)
        return (here.magnitude.float() / length).unsqueeze(1) * direction


@dataclass(frozen=True, slots=True, eq=False)
class Dense(Delta):
    """W0 + delta."""

    kind: ClassVar[str] = "dense"
    delta: Tensor

    @override
    def merged(self, weight: Tensor) -> Tensor:
        return weight + self.delta.to(weight.device).float()


@dataclass(frozen=True, slots=True, eq=False)
class Sparse(Delta):
    """W0 + delta for the entries that ``mask`` selects.

    ``mask`` has one bit per entry, row by row; ``values`` holds the delta of each selected entry.
    """

    kind: ClassVar[str] = "sparse"
    mask: Tensor
    values: Tensor

    @classmethod
    def of(cls, delta: Tensor, keep: Tensor) -> Sparse:
        """Build from a dense ``delta`` [out, in] and the boolean ``keep`` [out, in]."""
        bits = torch.nn.functional.pad(keep.flatten().to(torch.uint8), (0, -keep.numel() % 8))
        powers = 2 ** torch.arange(8, dtype=torch.uint8, device=bits.device)
        return cls((bits.view(-1, 8) * powers).sum(1, dtype=torch.uint8), delta[keep].float())

    def keep(self, shape: torch.Size) -> Tensor:
        """Return the mask as booleans of ``shape``."""
        places = torch.arange(8, dtype=torch.uint8, device=self.mask.device)
        bits = (self.mask.unsqueeze(1) >> places) & 1
        return bits.flatten()[: shape.numel()].view(shape).bool()

    @override
    def merged(self, weight: Tensor) -> Tensor:
        here, result = self.on(weight.device), weight.clone()
        result[here.keep(weight.shape)] += here.values
        return result


@dataclass(frozen=True, slots=True, eq=False)
class Replaced(Delta):
    """The parameter itself, tuned in full."""

    kind: ClassVar[str] = "replaced"
    value: Tensor

    @override
    def merged(self, weight: Tensor) -> Tensor:
        return self.value.to(weight.device).float().clone()


@dataclass(frozen=True, slots=True, eq=False)
class Routed(Delta):
    """W0 x + scale * B M(x) A x, where M(x) [experts, experts] pairs ``rank`` rows of A with columns of B by example.

    The pool is A [experts, in] and B [out, experts]. The selectors K_A and K_B [experts, in], and K_AB [rank, experts,
    in] if the choice of B depends on that of A, choose the pairs as ``bench.model.routed`` says. With ``scores``, each
    pair is weighted by its scores. With ``freeze``, an answer keeps the choice that was made from its prompt.
    """

    kind: ClassVar[str] = "routed"
    merges: ClassVar[bool] = False
    b: Tensor
    a: Tensor
    scale: float
    select_a: Tensor
    select_b: Tensor
    select_ab: Tensor | None
    rank: int
    scores: bool
    freeze: bool

    @override
    def merged(self, weight: Tensor) -> Tensor:
        raise PluginError(
            f"A {self.kind} change of a weight {list(weight.shape)} cannot be merged, because each example chooses its "
            "own factors. Hold it live (Base.holding), or leave out what needs merged weights."
        )


_KINDS: dict[str, type[Delta]] = {kind.kind: kind for kind in (LowRank, Decomposed, Dense, Sparse, Replaced, Routed)}
_PEFT_FIELDS = {
    "a": "lora_A.weight",
    "b": "lora_B.weight",
    "magnitude": "lora_magnitude_vector",
}


class Change(Mapping[str, Delta]):
    """The deltas of a model's parameters by full name, e.g. ``model.….q_proj.weight``. Immutable."""

    def __init__(self, deltas: Mapping[str, Delta]) -> None:
        self._deltas = dict(deltas)

    @override
    def __getitem__(self, name: str) -> Delta:
        return self._deltas[name]

    @override
    def __iter__(self) -> Iterator[str]:
        return iter(self._deltas)

    @override
    def __len__(self) -> int:
        return len(self._deltas)

    def replace(self, deltas: Mapping[str, Delta]) -> Change:
        """Return a copy of the change with ``deltas`` in place of the deltas of the same parameters."""
        return Change({**self._deltas, **deltas})

    @property
    def bytes(self) -> int:
        """The size of all tensors in bytes."""
        tensors = (tensor for delta in self.values() for tensor in delta.tensors().values())
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    def save(self, folder: Path, base: str = "") -> None:
        """Write the change to a new folder; plain peft can load it if ``peft_loads`` is True."""
        folder.mkdir(parents=True, exist_ok=True)
        tensors, kinds = {}, {}
        for name, delta in self.items():
            kinds[name] = {"kind": delta.kind, "scale": None, **delta.settings()}
            for part, tensor in delta.tensors().items():
                tensors[_key(name, part)] = tensor.detach().cpu().contiguous()
        # a single key, because safetensors writes several keys in a random order
        save_tensors(tensors, folder / _WEIGHTS, {"bench": json.dumps(kinds)})
        if self.peft_loads:
            (folder / _CONFIG).write_text(json.dumps(self._peft_config(base), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Change:
        """Read a change that ``save`` wrote.

        Raises:
            DamagedError: the folder holds no change, or a damaged one.
            StoreError: the files cannot be read now; the change may be whole.
        """
        try:
            with safe_open(_weights(folder), "pt") as file:
                kinds = json.loads(file.metadata()["bench"])
                return cls({name: _read(file, name, kind) for name, kind in kinds.items()})
        except (SafetensorError, KeyError, ValueError, TypeError, AttributeError) as error:
            raise _damaged(folder, error) from error
        except (OSError, RuntimeError) as error:  # torch says RuntimeError if it cannot open or map a file
            raise StoreError(unreadable(folder, error)) from error

    @property
    def live(self) -> tuple[str, ...]:
        """The parameters whose deltas cannot be merged."""
        return tuple(name for name, delta in self.items() if not delta.merges)

    @property
    def peft_loads(self) -> bool:
        """Whether peft's adapter format can express the change."""
        adapters = self._adapters()
        uniform = {(delta.a.shape[0], delta.scale, delta.kind) for delta in adapters.values()}
        known = all(isinstance(delta, LowRank | Replaced) for delta in self.values())
        return known and len(uniform) == 1

    def _adapters(self) -> dict[str, LowRank]:
        return {name: delta for name, delta in self.items() if isinstance(delta, LowRank)}

    def _peft_config(self, base: str) -> dict[str, object]:
        adapters = self._adapters()
        first = next(iter(adapters.values()))
        tuned = [name for name, delta in self.items() if isinstance(delta, Replaced)]
        replaced = {connector_of(name) or name.split(".")[-3] for name in tuned}
        return {
            "peft_type": "LORA",
            "base_model_name_or_path": base,
            "r": first.a.shape[0],
            "lora_alpha": first.scale * first.a.shape[0],
            "lora_dropout": 0.0,
            "bias": "none",
            "use_dora": isinstance(first, Decomposed),
            "target_modules": sorted(name.removesuffix(".weight") for name in adapters),
            "modules_to_save": sorted(replaced) or None,
            "inference_mode": True,
        }


def _key(name: str, part: str) -> str:
    if part == "value":  # of a parameter that was tuned in full
        return _PREFIX + name
    return f"{_PREFIX}{name.removesuffix('.weight')}.{_PEFT_FIELDS.get(part, part)}"


def _weights(folder: Path) -> Path:
    """Return the file of a change's tensors; safe_open says of every file that it cannot open that it is missing.

    Raises:
        DamagedError: the file is missing.
    """
    path = folder / _WEIGHTS
    try:
        path.stat()
    except FileNotFoundError as error:
        raise _damaged(folder, error) from error
    return path


def _damaged(folder: Path, error: Exception) -> DamagedError:
    reason = f"{folder} holds no readable change: {one_line(error)}."
    return DamagedError(reason, "Delete the folder of its trial, then run the same command again.")


def _read(file: Any, name: str, saved: Mapping[str, Any]) -> Delta:
    kind = _KINDS[str(saved["kind"])]
    names = [item.name for item in fields(kind)]
    return kind(**{part: saved[part] if part in saved else file.get_tensor(_key(name, part)) for part in names})
