"""What a plan costs (work, memory, time and disk), and the options with which it fits the memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

from bench.errors import UsageError
from bench.plan.plan import Cell, Plan
from bench.plan.request import Request
from bench.plugins.method import Dimensions, EditMethod, TrainMethod
from bench.plugins.registry import ZERO_SHOT
from bench.plugins.task import Split
from bench.prepare.price.blueprint import Adapted, Blueprint
from bench.prepare.price.by_rank import by_rank
from bench.prepare.price.captured import captured_bytes
from bench.prepare.price.change_sizes import ChangeSizes
from bench.prepare.price.memory import BYTES, RUNTIME, Footprint, editing, evaluation, training
from bench.prepare.price.rates import Fleet, Rates
from bench.prepare.price.work import Todo, lane_count, todo, wall_seconds
from bench.trial.hooks import called
from bench.values.recipe import Recipe
from bench.values.resources import Resources
from bench.values.trial import Trial

TEXT_TOKENS = 96  # assumed for system prompt, question and answer without the image; lists of OCR tokens are longer
LEARNT_TOKENS = 20  # assumed for an answer that is taught, with its end; a caption of COCO has about 13
ANSWER_BYTES = 300  # assumed for one example's line in a score file

_Way = tuple[Callable[..., object], Recipe]  # a method's ``adapt``, and the recipe under which it adapts


@dataclass(frozen=True, eq=False)
class Quote:
    """A plan's price.

    ``fleet`` is the GPUs that it is priced for (None: the CPU), and ``rates`` is their speed (None: unknown).
    ``most_lanes`` is the number of lanes that the command asks for; None means as many as the devices allow.
    """

    plan: Plan
    blueprint: Blueprint
    resources: Resources
    fleet: Fleet | None
    rates: Rates | None
    priced_elsewhere: bool = False
    most_lanes: int | None = None
    _made: dict[tuple[_Way, int], Adapted] = field(default_factory=dict)  # a replaced quote has it, too

    @cached_property
    def todo(self) -> tuple[Todo, ...]:
        """What is left to do."""
        return todo(self.plan)

    @property
    def tokens(self) -> int:
        """How many tokens an example is assumed to have, including its image."""
        return min(self.blueprint.image_tokens + TEXT_TOKENS, self.plan.request.recipe.max_length)

    @property
    def share(self) -> int:
        """How many examples of one update each GPU takes."""
        return -(-self.plan.request.recipe.batch_size // self.resources.workers)

    @property
    def micro_batch(self) -> int:
        """How many examples a GPU trains on at once."""
        most = self.resources.micro_batch_size or self.plan.request.recipe.micro_batch_size
        return min(most or self.share, self.share)

    @property
    def unit(self) -> str:
        """The name of one device's hours; a probe on a CPU measures one core."""
        return "GPU-hours" if self.fleet else "core-hours"

    @property
    def lanes(self) -> int:
        """How many trials run at once, each on its own devices; 1 if ``most_lanes`` is 0 (one process)."""
        return lane_count(self.fleet, self.resources.workers, self.most_lanes)

    @property
    def wall_hours(self) -> float:
        """The hours until all that is left is done on the fleet's lanes; 0 if no rates are known."""
        if self.rates is None:
            return 0.0
        return wall_seconds(self.todo, self.rates, self.resources.workers, self.lanes) / 3600

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods of the plan, including implied parents, and its controls with another recipe or rank."""
        return tuple(dict.fromkeys(name for name, _ in self.trials))

    @property
    def ranks(self) -> tuple[int, ...]:
        """The ranks of the plan, the smallest first."""
        return tuple(sorted({rank for _, rank in self.trials}))

    @cached_property
    def trials(self) -> Mapping[tuple[str, int], Trial]:
        """The first trial of each method and rank in the plan, parents before their edits.

        A control whose recipe or rank is not that of its block, because it adapts other layers, stands under its row's
        name and the rank of the block.
        """
        found: dict[tuple[str, int], Trial] = {}
        for place, trial in self._places():
            found.setdefault(place, trial)
        return found

    @property
    def to_learn(self) -> frozenset[tuple[str, int]]:
        """The methods and ranks, as in ``trials``, of which the store still lacks a change."""
        lacking = {job.trial.id for job in self.plan.jobs if self.plan.learns(job)}
        return frozenset(place for place, trial in self._places() if trial.id in lacking)

    def _places(self) -> Iterator[tuple[tuple[str, int], Trial]]:
        """Yield every trial of the plan with its method and rank, or those of its control."""
        controls = {cell.trial.id for cell in self._controls}
        for job in self.plan.jobs:
            if job.trial.method != ZERO_SHOT and job.trial.rank is not None and job.trial.id not in controls:
                yield (job.trial.method, job.trial.rank), job.trial
        for cell in self._controls:
            yield (cell.key.name, cell.key.rank or 0), cell.trial

    @property
    def _controls(self) -> Iterator[Cell]:
        """Yield the controls whose recipe or rank is not that of their block."""
        recipe = self.plan.request.recipe
        for cell in self.plan.cells:
            if cell.key.control and (cell.trial.recipe, cell.trial.rank) != (recipe, cell.key.rank):
                yield cell

    @cached_property
    def adapted(self) -> Mapping[tuple[str, int], Adapted]:
        """The model as each training method adapts it at each rank, under its own recipe.

        Raises:
            UsageError: a rank is larger than the smaller dimension of an adapted layer.
        """
        for rank in self.plan.request.ranks:
            self._check(rank)
        self._measure()
        found = {place: self._adapted(trial) for place, trial in self.trials.items()}
        return {place: adapted for place, adapted in found.items() if adapted is not None}

    def _adapted(self, trial: Trial) -> Adapted | None:
        """Return the model as a trial adapts it, or None for an edit; it is computed once per ``adapt``."""
        method = self.plan.method(trial)
        if not isinstance(method, TrainMethod) or trial.rank is None:
            return None
        way, rank = (type(method).adapt, trial.recipe), trial.rank
        if (way, rank) not in self._made:
            self._made[way, rank] = self._measured(method, trial.recipe, rank)
        return self._made[way, rank]

    def _measure(self) -> None:
        """Measure the model as the plan's trials adapt it, each way of adapting it at all of its ranks."""
        methods, ranks = dict[_Way, TrainMethod](), dict[_Way, list[int]]()
        for trial in self.trials.values():
            method = self.plan.method(trial)
            if not isinstance(method, TrainMethod) or trial.rank is None:
                continue
            way: _Way = (type(method).adapt, trial.recipe)
            if (way, trial.rank) not in self._made:
                methods.setdefault(way, method)
                ranks.setdefault(way, []).append(trial.rank)
        for way, method in methods.items():
            found = by_rank(ranks[way], partial(self._measured, method, way[1]))
            self._made.update({(way, rank): adapted for rank, adapted in found.items()})

    def _measured(self, method: TrainMethod, recipe: Recipe, rank: int) -> Adapted:
        return self.blueprint.adapt(method, rank, recipe, self.tokens)

    @property
    def plain_blocks(self) -> int:
        """How many decoder blocks keep their activations; gradient checkpointing computes the others again."""
        asked = self.resources.plain_blocks
        return self.blueprint.blocks if asked is None else min(asked, self.blueprint.blocks)

    def footprint(self, name: str, rank: int, *, plain: int | None = None) -> Footprint:
        """Return the memory of a method, or of a control, at a rank, with ``plain`` blocks (None: as asked for)."""
        trial = self.trials[name, rank]
        method, recipe, dimensions = self.plan.method(trial), trial.recipe, self._dimensions(trial)
        if not isinstance(method, TrainMethod):
            found = editing(method, self.blueprint, recipe, dimensions)
        else:
            chosen, adapted = self.plain_blocks if plain is None else plain, self.adapted[name, rank]
            found = training(method, self.blueprint, recipe, dimensions, adapted, plain=chosen)
        return self._on_device(replace(found, method=name, rank=rank))

    def captures(self, name: str) -> Mapping[str, int]:
        """Return the bytes of main memory that an edit captures the inputs of a block with; empty if it does not."""
        trial = next(trial for (method, _), trial in self.trials.items() if method == name)
        method = self.plan.method(trial)
        if not isinstance(method, EditMethod) or not (count := called(method.captured)):
            return {}
        return captured_bytes(count, self.blueprint, trial.recipe, self._dimensions(trial))

    def _dimensions(self, trial: Trial) -> Dimensions:
        found = self.blueprint.dimensions(trial.rank or 0, trial.recipe, self.tokens)
        return replace(found, learnt=min(LEARNT_TOKENS, found.tokens), tasks=max(1, len(trial.learns)))

    def _on_device(self, item: Footprint) -> Footprint:
        """Return a footprint; on a GPU, add the memory of the GPU's own libraries."""
        return item if self.fleet is None else replace(item, fixed={**item.fixed, "runtime": RUNTIME})

    @property
    def evaluation(self) -> Footprint:
        """The memory of evaluation; its micro-batch is the number of answers generated at once."""
        asked = self.plan.request
        tokens = self.blueprint.image_tokens + TEXT_TOKENS  # only training truncates prompts
        answer = max(asked.tasks.load(name).answer_tokens for name in (*asked.targets, *asked.sources))
        registry = self.plan.request.registry
        held = [job.trial for job in self.plan.jobs if not registry.method(job.trial.method).merges]
        live = max(map(self.changes.of, held), default=0)
        return self._on_device(evaluation(self.blueprint, asked.recipe, tokens, answer, live))

    @cached_property
    def pictures(self) -> int:
        """How many images a lane sees at most; there are fewer if questions share an image."""
        plan, asked = self.plan, self.plan.request
        taught = {task for job in plan.trainings for task in job.trial.learns}
        scored = {item.task: item.count for job in plan.jobs for item in job.asked}
        seen = sum(size(asked, name, "train") for name in taught)
        return sum(scored.values()) + seen + self._mixed_in()

    def _mixed_in(self) -> int:
        """Return how many examples of sources the trainings see at most."""
        trials = [job.trial for job in self.plan.trainings if job.trial.sources]
        names = {name for trial in trials for name in trial.sources}
        most = sum(trial.recipe.updates * trial.recipe.batch_size for trial in trials)
        return min(most, sum(size(self.plan.request, name, "train") for name in names))

    @property
    def feature_bytes(self) -> int:
        """The bytes of one image's vision features, including a class token."""
        return self.blueprint.feature_values * BYTES[self.plan.request.recipe.eval_dtype]

    @cached_property
    def changes(self) -> ChangeSizes:
        """The sizes of the plan's changes."""
        return ChangeSizes(self.plan, self._dimensions, self._trained)

    def _trained(self, trial: Trial) -> int:
        known = self._adapted(trial)
        return known.trained if known else 0

    def disk(self) -> Iterator[tuple[str, int]]:
        """Yield the bytes on disk by part: base model, changes, scores, and checkpoints during training."""
        changes, left = self.changes.totals()
        answers = sum(asked.count for job in self.plan.jobs for asked in job.asked)
        largest = max((adapted.trained for adapted in self.adapted.values()), default=0)
        yield "base model", self.blueprint.parameters * BYTES[self.plan.request.recipe.eval_dtype]
        yield "changes", changes
        if left:
            yield "kept for later stages, and banks", left
        yield "scores", answers * ANSWER_BYTES
        # twice, because a checkpoint is kept until the next one is complete
        yield "checkpoints of running trainings", 2 * 12 * largest * self.lanes

    def _check(self, rank: int) -> None:
        if reason := self.plan.request.suite.shapes().refusal(self.plan.request.recipe, rank):
            raise UsageError(f"Rank {rank} is too large: {reason}")


def size(request: Request, name: str, split: Split) -> int:
    """Return how many examples a task's split has; if data is missing, the number that the task declares."""
    task = request.tasks.load(name)
    declared = task.sizes.get(split) if request.assumed else None
    return declared or len(task.examples(split))
