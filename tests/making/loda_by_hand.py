"""Train a stage of LoDA by hand, from its equations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.checks.tiny import RANK, Tiny, tiny
from bench.trial.stages import Stage
from bench.trial.updates import seed_update
from tests.making.stage_runs import PLAIN
from tests.making.stages_by_hand import descent, slopes, updates_of


@dataclass
class HandLayer:
    """W = W_(t-1) + scale (w_G B_G A_G + B_I A_I); ``a`` has w_G A_G above A_I, and ``b`` has B_G next to B_I."""

    a: Tensor
    b: Tensor
    gate: Tensor
    scale: float

    def answering(self) -> tuple[Tensor, Tensor]:
        return torch.cat([self.b[:, :RANK] @ self.gate.float(), self.b[:, RANK:]], dim=1), self.a


@dataclass
class Hand:
    """A stage that is trained by hand."""

    stage: Stage
    method: Any
    bench: Tiny
    base: dict[str, Tensor]
    layers: dict[str, HandLayer]
    connector: dict[str, Tensor]

    @classmethod
    def start(cls, stage: Stage, method: Any) -> Hand:
        bench = tiny()
        base = merged(bench, stage)
        layers, new = {}, moments(bench, stage)
        for name in new:
            size = len(new[name])
            shared = name.replace("k_proj", "q_proj").replace("v_proj", "q_proj").replace("up_proj", "gate_proj")
            old = torch.zeros(size, size, dtype=torch.float64)
            if stage.kept:
                root, mean = (stage.kept[f"{shared}.{part}"].double() for part in ("root", "mean"))
                old = root @ root.T + mean * torch.eye(size)
            rows = top((old + new[name]).numpy())
            a, gate = method.general_weight * rows, np.eye(RANK)
            if stage.kept:
                o, n = (rows @ s.numpy() @ rows.T for s in (old, new[name]))
                gate = n @ np.linalg.inv(o + n)
                a = np.concatenate([a, task_rows(old.numpy(), new[name].numpy(), method.ridge)])
            b = torch.zeros(bench.base.pristine[name].shape[0], len(a))
            layers[name] = HandLayer(torch.tensor(a).float(), b, torch.tensor(gate), PLAIN.scale)
        connector = {name: value.clone() for name, value in base.items() if "projector" in name}
        return cls(stage, method, bench, base, layers, connector)

    def train(self) -> None:
        step = descent([layer.b for layer in self.layers.values()], [*self.connector.values()], PLAIN)
        for k, update in enumerate(updates_of(self.stage, self.bench, PLAIN)):
            batch = self.bench.lessons.training_batch(update.examples, PLAIN.max_length)
            generator = seed_update(self.stage.seed(0), k)
            bits = torch.randint(2, (1 << 16,), generator=torch.Generator().manual_seed(generator.initial_seed()))
            rows = zip(batch["input_ids"].tolist(), batch["attention_mask"].tolist(), strict=True)
            second = [sum(int(bits[i]) for i, m in zip(ids, mask, strict=True) if m) % 2 == 1 for ids, mask in rows]
            if len(set(second)) == 1:
                gradients = self.gradients(batch, [True] * len(second))
            else:
                gradients = self.perturbed(batch, second, float(torch.rand((), generator=generator)))
            for value, slope in zip(self.trained, gradients, strict=True):
                value.grad = slope
            step()

    @property
    def trained(self) -> list[Tensor]:
        return [*(layer.b for layer in self.layers.values()), *self.connector.values()]

    def perturbed(self, batch: Mapping[str, Tensor], second: list[bool], drawn: float) -> list[Tensor]:
        """Return the gradients of the first half where those of the second half lead."""
        origins, ascent = [value.clone() for value in self.trained], self.gradients(batch, second)
        length = sum(float(slope.square().sum()) for slope in ascent) ** 0.5
        rho = self.method.rho_max * drawn
        for value, slope in zip(self.trained, ascent, strict=True):
            value += (-rho if self.method.perturb == "descent" else rho / length) * slope
        found = self.gradients(batch, [not is_second for is_second in second])
        for value, origin in zip(self.trained, origins, strict=True):
            value.copy_(origin)
        return found

    def gradients(self, batch: Mapping[str, Tensor], chosen: list[bool]) -> list[Tensor]:
        """Return the gradients of the mean loss of some examples in every B and in the connector."""
        labels = batch["labels"].masked_fill(~torch.tensor(chosen)[:, None], -100)
        weights = {n: self.base[n] + layer.scale * layer.b @ layer.a for n, layer in self.layers.items()}
        tokens = int((labels != -100).sum())
        _, slope = slopes(self.bench, {**weights, **self.connector}, {**batch, "labels": labels}, tokens)
        factors = [layer.scale * slope[name] @ layer.a.T for name, layer in self.layers.items()]
        return factors + [slope[name] for name in self.connector]


def merged(bench: Tiny, stage: Stage) -> dict[str, Tensor]:
    """Return the weights of the base model with the earlier stages."""
    changed = {name: delta.merged(bench.base.pristine[name]) for name, delta in stage.previous.items()}
    return {**bench.base.pristine, **changed}


def moments(bench: Tiny, stage: Stage) -> dict[str, Tensor]:
    """Return each decoder layer's X^T X over the training examples at the start of a stage, float64."""
    found: dict[str, Tensor] = {}
    linears = {n: m for n, m in bench.base.model.named_modules() if isinstance(m, torch.nn.Linear) and ".layers." in n}
    with torch.no_grad():
        for index in range(len(bench.train.examples)):
            batch = bench.train.training_batch([index], PLAIN.max_length)

            def add(name: str, linear: Any, inputs: tuple[Tensor]) -> None:
                rows = inputs[0][0].double()
                found[f"{name}.weight"] = found.get(f"{name}.weight", 0) + rows.T @ rows

            handles = [m.register_forward_pre_hook(partial(add, name)) for name, m in linears.items()]
            torch.func.functional_call(bench.base.model, merged(bench, stage), (), {**batch, "use_cache": False})
            for handle in handles:
                handle.remove()
    return found


def top(matrix: np.ndarray) -> np.ndarray:
    """Return the top eigenvectors as rows."""
    return with_signs(np.linalg.eigh(matrix)[1][:, ::-1][:, :RANK]).T


def task_rows(old: np.ndarray, new: np.ndarray, ridge: float) -> np.ndarray:
    """Return A_I."""
    inverse = np.linalg.inv(np.linalg.cholesky(old + ridge * np.diag(old).mean() * np.eye(len(old))))
    spanning = inverse.T @ np.linalg.eigh(inverse @ new @ inverse.T)[1][:, ::-1][:, :RANK]
    return with_signs(np.linalg.qr(spanning)[0]).T


def with_signs(vectors: np.ndarray) -> np.ndarray:
    return np.stack([column * np.sign(column[np.abs(column).argmax()]) for column in vectors.T], axis=1)
