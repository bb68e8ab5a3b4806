"""A trial that was never run, for tests of what is kept and told of one."""

from bench.values.recipe import Recipe
from bench.values.scores import ScoreSpec
from bench.values.trial import Trial

TRIAL = Trial(
    method="lora",
    hyper={},
    rank=4,
    target="t",
    seed=0,
    recipe=Recipe(updates=2, batch_size=2, lr=1e-3, connector_lr=1e-4),
    model="m",
    data="d",
    code="c",
)
ASKED = ScoreSpec(task="t", split="test", count=2, examples="e", max_new_tokens=8, code="c")
