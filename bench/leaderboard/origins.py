"""Where a trial and its scores come from: what matters of the environments, from its record and its parents'."""

from __future__ import annotations

from collections.abc import Sequence

from bench.leaderboard.environments import Facts, facts
from bench.spec import Asked, Trial
from bench.store.run_folder import Store


def environments(trial: Trial, store: Store, scores: Sequence[Asked]) -> Facts:
    """Return what is known of where a trial and its parents were trained, and where some scores were made.

    The untouched base model is not trained.
    """
    own = store.read(trial)
    known = [own, *(store.read(parent) for parent in trial.ancestors())] if trial.target else []
    made = own.scores if own is not None else {}
    scored = {item.task: made[item.key].environment for item in scores if item.key in made}
    return facts([each.environment for each in known if each is not None], scored)
