"""Checks of training methods: what they learn, and what they must not alter."""

from __future__ import annotations

import pickle
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from bench.checks.runs import (
    Watched,
    effects,
    few,
    global_generators,
    learn,
    learnt,
    logits,
    plain_change,
    trace,
    traces,
    train,
    unequal,
)
from bench.checks.tiny import RANK, RECIPE, tiny
from bench.errors import PluginError, TrialError, first_line
from bench.model.families import connector_of
from bench.plugins.hyperparameters import state_names, values
from bench.plugins.method import TrainMethod
from bench.trial.fit import Fitted, fit
from bench.trial.hooks import called, mixed
from bench.values.recipe import CONNECTORS, Connector

_ONE_UPDATE = replace(RECIPE, updates=1)
_STOP_AT, _UPDATES = 6, 8
_STARTS_WITHIN = 1e-4  # absolute, for float32 logits of size 1
_REPRODUCES_WITHIN = 1e-3
_ACCUMULATES_WITHIN = 1e-3  # relative to a gradient's norm
_MERGES = "merges: ClassVar[bool] = "

Plugin = type[TrainMethod]


def check_trains_adapters_only(plugin: Plugin) -> None:
    """The base model's own weights stay frozen and unaltered, and at least one parameter is trained."""
    bench = tiny()
    base = {id(parameter): name for name, parameter in bench.base.model.named_parameters()}
    model = called(plugin().adapt, bench.base.tree(), RANK, RECIPE)
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trainable:
        raise PluginError(f"{plugin.__name__}.adapt leaves 0 parameters to train. Return what insert_lora returns.")
    thawed = [base[id(parameter)] for parameter in trainable if id(parameter) in base]
    if thawed:
        raise PluginError(f"{few(thawed)} would be trained. Freeze the base; train only what adapt adds.")
    bench = tiny()
    before = trace(bench)
    train(plugin(), bench)
    changed = [name for name in traces(before, trace(bench)) if name.startswith("the bytes")]
    if changed:
        raise PluginError(f"Training changed {few(changed)} of the base model. Write only to what adapt added.")


def check_starts_at_the_base_model(plugin: Plugin) -> None:
    """Right after ``adapt``, outputs equal the base model's, under every connector policy."""
    for connector in CONNECTORS:
        bench = tiny()
        wanted = logits(bench.base.model, bench)
        model = called(plugin().adapt, bench.base.tree(), RANK, replace(RECIPE, connector=connector))
        gap = float((logits(model, bench) - wanted).abs().max())
        if not gap <= _STARTS_WITHIN:
            raise PluginError(
                f"With connector {connector}, outputs differ by {gap:.2g} from the base model's right after adapt. "
                "Start from a change of zero, e.g. with B = 0."
            )


def check_finite_at_start(plugin: Plugin) -> None:
    """Loss and gradients are finite at B = 0, in float32 and in bfloat16."""
    for dtype in ("float32", "bfloat16"):
        watched = Watched(inner=plugin())
        try:
            train(watched, tiny(dtype), recipe=_ONE_UPDATE)
        except TrialError as error:
            if dtype != "float32":  # in float32, the checks that train say the same, and a fault is told once
                error.args = (f"In {dtype}, at B = 0: {error}",)
            raise
        bad = [name for name, value in watched.gradients[0].items() if not value.isfinite().all()]
        if bad:
            raise PluginError(
                f"In {dtype}, the gradient of {few(bad)} is not finite at B = 0. Guard divisions by a norm of B."
            )


def check_is_deterministic(plugin: Plugin) -> None:
    """One seed gives bitwise equal weights, even if other code has drawn random numbers."""
    with global_generators(2):
        again = learn(plugin())
    if names := unequal(learnt(plugin), again):
        raise PluginError(
            f"Two trainings with one seed differ in {few(names)}. Draw only from step.generator, "
            "and do not iterate over sets."
        )


def check_mixes_alike(plugin: Plugin) -> None:
    """``mix`` returns as many known numbers as it is given, and the same ones whatever other code has drawn."""
    found = []
    for seed in (1, 2):
        with global_generators(seed):
            lessons, generator = tiny().lessons, torch.Generator().manual_seed(0)
            found.append(mixed(plugin().mix, range(len(lessons.examples)), lessons.sources, generator))
    if found[0] != found[1]:
        raise PluginError(
            f"Two calls of {plugin.__name__}.mix with one seed return different examples. Draw only from the generator "
            "that it is given, because a resumed training and every worker call it again."
        )


def check_keeps_hyperparameters(plugin: Plugin) -> None:
    """Training changes no hyperparameter, because they are part of the trial's id."""
    method = plugin()
    before = values(method)
    train(method)
    changed = [name for name, value in values(method).items() if value != before[name]]
    if changed:
        raise PluginError(
            f"Training changed the hyperparameter {changed[0]}. "
            f"Keep run state in a field(init=False) named {changed[0]}_."
        )


def check_deltas_reproduce_outputs(plugin: Plugin) -> None:
    """Base + ``change()`` gives the adapted model's outputs, under every connector policy."""
    for connector in CONNECTORS:
        bench = tiny()
        watched = Watched(inner=plugin())
        change = learn(watched, bench, recipe=replace(RECIPE, connector=connector))
        wanted = logits(watched.model, bench)
        with bench.base.holding(change) as model:
            gap = float((logits(model, bench) - wanted).abs().max())
        if not gap <= _REPRODUCES_WITHIN:
            raise PluginError(
                f"With connector {connector}, outputs of base + change() differ by {gap:.2g} from the trained model's. "
                "Return from change() exactly what the forward pass adds, including its scale."
            )


def check_declares_whether_its_change_merges(plugin: Plugin) -> None:
    """``merges`` says truly whether the change can be merged, because plans refuse what needs merged weights."""
    change = learn(plugin(), recipe=_ONE_UPDATE)
    if plugin.merges and change.live:
        raise PluginError(f"The change of {few(list(change.live))} cannot be merged. Declare {_MERGES}False.")
    if not plugin.merges and not change.live:
        raise PluginError(f"Every delta of the change can be merged. Drop {_MERGES}False.")


def check_obeys_the_connector_policy(plugin: Plugin) -> None:
    """The connector is trained if the recipe says full or lora, and not if it says frozen."""
    for connector in CONNECTORS:
        moves = _moves_connector(plugin, connector)
        if moves and connector == "frozen":
            raise PluginError("With connector frozen, the change alters the connector. Pass the recipe to insert_lora.")
        if not moves and connector != "frozen":
            raise PluginError(
                f"With connector {connector}, the change does not alter the connector. "
                "Pass the recipe to insert_lora, and return everything that was trained."
            )


def check_rank_scales_parameters(plugin: Plugin) -> None:
    """A larger rank trains more parameters."""
    counts = [train(plugin(), recipe=_ONE_UPDATE, rank=rank).trainable_parameters for rank in (2, 4)]
    if any(more <= fewer for fewer, more in pairwise(counts)):
        raise PluginError(f"Rank 2 trains {counts[0]} parameters, rank 4 {counts[1]}. Pass the rank to insert_lora.")


def check_differs_from_lora(plugin: Plugin) -> None:
    """At the method's defaults, the weights differ from plain LoRA's after six updates."""
    bench, method = tiny(), plugin()
    ours, plain = (effects(item, bench) for item in (learnt(plugin), plain_change(method.lr, method.made_for)))
    if ours.keys() == plain.keys() and all(torch.equal(value, plain[name]) for name, value in ours.items()):
        raise PluginError(
            f"At its defaults, {plugin.__name__} learns exactly what plain LoRA learns. "
            "Choose defaults that have an effect within six updates."
        )


def check_off_equals_plain_lora(plugin: Plugin) -> None:
    """With ``off`` set, six updates give exactly plain LoRA's weights, bit for bit."""
    for connector in ("full", "lora"):
        recipe = replace(RECIPE, connector=connector)
        method = plugin(**plugin.off)  # type: ignore[arg-type]
        if names := unequal(learn(method, recipe=recipe), plain_change(method.lr, method.made_for, recipe)):
            settings = ", ".join(f"{name}={value}" for name, value in plugin.off.items())
            raise PluginError(
                f"With {settings} and connector {connector}, {few(names)} differ from plain LoRA's. "
                "With off set, skip everything that the method adds: its terms (even one times 0), draws and roundings."
            )


def check_resumes(plugin: Plugin) -> None:
    """A training stopped at 6 of 8 updates and resumed in a new instance equals an unbroken run."""
    recipe = replace(RECIPE, updates=_UPDATES)
    unbroken = train(plugin(), recipe=recipe)
    stopped, resumed = plugin(), plugin()
    with TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "checkpoint.pt"
        try:
            _fit_until(_STOP_AT + 1, stopped, checkpoint)
            rest = _fit_until(_UPDATES + 1, resumed, checkpoint)
        except pickle.UnpicklingError as error:
            raise PluginError(
                f"The checkpoint cannot be read back: {first_line(error)} "
                "Keep only tensors, numbers, strings, lists and dicts in run state."
            ) from error
    assert rest is not None
    names = unequal(unbroken.change, rest.change)
    if names or unbroken.losses != rest.losses:
        fields = {*values(stopped), *state_names(stopped)}
        loose = [name for name in vars(stopped) if name not in fields]
        hint = f" {loose[0]!r} is not a field, so no checkpoint holds it." if loose else ""
        raise PluginError(
            f"After a stop at {_STOP_AT} of {_UPDATES} updates and a resume, {few(names) or 'the losses'} differ from "
            f"those of an unbroken run.{hint} Keep all run state in fields declared field(init=False)."
        )


def check_accumulates(plugin: Plugin) -> None:
    """One batch of 16 and four of 4 give the same update, with dropout 0 and unequal answer lengths."""
    whole, parts = (_gradients(plugin, size) for size in (None, 4))
    for index, (one, other) in enumerate(zip(whole, parts, strict=True)):
        for name, gradient in one.items():
            gap = float((gradient - other[name]).norm())
            if not gap <= _ACCUMULATES_WITHIN * float(gradient.norm()) + 1e-7:
                raise PluginError(
                    f"At update {index + 1}, the gradient of {name} depends on how the batch is split. "
                    "Add terms that depend on the weights in penalty, which is called once per update, not in backward."
                )


class _Killed(Exception):  # noqa: N818  it simulates a kill signal, which is not an error
    """Raised in the middle of a training, to end it as a kill would."""


def _fit_until(update: int, method: TrainMethod, checkpoint: Path) -> Fitted | None:
    """Train with a checkpoint every six updates, and die in the given update before a checkpoint."""

    def die(index: int, total: int, loss: float) -> None:
        if index == update:
            raise _Killed

    recipe, lessons = replace(RECIPE, updates=_UPDATES), tiny().lessons_of(method)
    try:
        return fit(method, RANK, 0, recipe, lessons, checkpoint=checkpoint, every=_STOP_AT, progress=die)
    except _Killed:
        return None


def _gradients(plugin: Plugin, size: int | None) -> list[dict[str, Tensor]]:
    watched = Watched(inner=plugin(), shake=0.02)
    train(watched, recipe=replace(RECIPE, updates=3, batch_size=16, dropout=0.0, micro_batch_size=size))
    return watched.gradients


def _moves_connector(plugin: Plugin, connector: Connector) -> bool:
    bench = tiny()
    change = learn(plugin(), bench, recipe=replace(RECIPE, updates=2, connector=connector))
    after = effects(change, bench)
    return any(
        not torch.equal(value, bench.base.pristine[name].float()) for name, value in after.items() if connector_of(name)
    )
