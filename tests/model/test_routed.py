from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

from bench import Change, LowRank, PluginError, Routed
from bench.checks.runs import learn, trace, traces, unequal
from bench.checks.tiny import RECIPE, Tiny, tiny
from bench.methods.mixlora import MixLoRA
from bench.model.decoding import greedy
from bench.model.holding import holding, write
from bench.model.routed import Choice, Router, dependent, paired, picked

A = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
B = torch.tensor([[1.0, 0.0, 3.0], [2.0, 1.0, 0.0]])
K = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, -1.0]])
X = torch.tensor([[[1.0, 2.0], [3.0, 0.0]]])
NEVER: frozenset[int] = frozenset()


class OneLinear(nn.Module):
    """A model whose only layer is a linear one."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2, bias=False)
        nn.init.zeros_(self.layer.weight)

    def forward(self, x: Tensor, attention_mask: Tensor | None = None, labels: Tensor | None = None) -> Tensor:
        found: Tensor = self.layer(x)
        return found


def pool(**settings: Any) -> Routed:
    """Return the pool of the worked example: alpha / rank is 6 / 2."""
    known = {"b": B.clone(), "a": A.clone(), "select_a": K.clone(), "select_b": K.clone(), "select_ab": None}
    return Routed(**{**known, "scale": 3.0, "rank": 2, "scores": False, "freeze": True, **settings})


def held(delta: Routed, x: Tensor, **words: Tensor) -> Tensor:
    model = OneLinear()
    with torch.no_grad(), holding(model, Change({"layer.weight": delta}), {}):
        found: Tensor = model(x, **words)
    return found


def test_a_worked_example_of_the_choice_and_of_what_it_adds() -> None:
    # the mean is (2, 1) and the scores are (2, 1, 1): of the equal ones the first is taken
    assert picked(X.mean(dim=1) @ K.T, 2)[0].tolist() == [[0, 1]]
    assert torch.equal(held(pool(), X), X @ torch.tensor([[3.0, 0.0], [6.0, 3.0]]).T)


def test_a_worked_example_of_a_choice_of_b_that_depends_on_that_of_a() -> None:
    sums = dependent(torch.tensor([[0.5, 0.1, 0.2]]), torch.tensor([[[0.0, 1.0, 0.0]]]))

    torch.testing.assert_close(sums, torch.tensor([[0.62668343, 0.85412668, 0.51918989]]))
    assert picked(sums, 2)[0].tolist() == [[1, 0]]


def test_a_worked_example_of_pairs_that_swap() -> None:
    choice = Choice(torch.tensor([[0, 1]]), torch.tensor([[1, 0]]), torch.ones(1, 2))

    found = paired(X @ A.T, choice) @ B.T

    assert torch.equal(found, X @ (B[:, [1]] @ A[[0]] + B[:, [0]] @ A[[1]]).T)


def test_the_router_depends_on_the_rows_of_a_that_were_chosen() -> None:
    torch.manual_seed(0)
    depend = torch.randn(2, 3, 2)
    router = Router.of(pool(select_ab=depend, scores=True), torch.device("cpu"))
    mean = torch.tensor([[2.0, 1.0], [-1.0, 0.5]])

    choice = router(mean, A)

    for row, chosen in enumerate(choice.a.tolist()):
        sums = (K @ mean[row]).softmax(0) + sum((depend[k] @ A[place]).softmax(0) for k, place in enumerate(chosen))
        places = sums.argsort(descending=True)[:2]
        assert choice.b[row].tolist() == places.tolist()
        logits = (K @ mean[row])[chosen]
        weight = 2 * logits.softmax(0) * 2 * sums[places] / sums[places].sum()
        torch.testing.assert_close(choice.weight[row], weight)


def test_the_weights_of_the_pairs_have_mean_1_and_follow_the_scores() -> None:
    places, weights = picked(torch.tensor([[0.0, 2.0, 1.0]]), 2)

    assert places.tolist() == [[1, 2]]
    assert weights.sum().item() == pytest.approx(2.0)
    assert (weights[0, 0] / weights[0, 1]).log().item() == pytest.approx(1.0)


def test_padding_and_answers_that_are_learnt_do_not_choose() -> None:
    other = torch.tensor([[40.0, -9.0]])
    padded = torch.cat([other[None], X, other[None]], dim=1)
    mask = torch.tensor([[0, 1, 1, 1]])
    labels = torch.tensor([[-100, -100, -100, 7]])

    found = held(pool(), padded, attention_mask=mask, labels=labels)

    torch.testing.assert_close(found[:, 1:3], held(pool(), X))
    assert not torch.allclose(held(pool(), padded)[:, 1:3], held(pool(), X))


def test_a_routed_change_is_refused_by_its_kind_if_it_should_be_merged() -> None:
    with pytest.raises(PluginError, match=r"^A routed change of a weight \[2, 2\] cannot be merged, because each exam"):
        pool().merged(torch.zeros(2, 2))


def test_weights_cannot_be_written_with_a_routed_change() -> None:
    model = OneLinear()

    with pytest.raises(PluginError, match=r"layer\.weight: a routed change"):
        write(model, {"layer.weight": pool()}, {"layer.weight": torch.zeros(2, 2)})

    assert not model.layer.weight.any()


def test_a_routed_change_survives_saving_and_peft_does_not_load_it(tmp_path: Path) -> None:
    change = Change({"m.a.weight": pool(), "m.b.weight": pool(select_ab=torch.ones(2, 3, 2), scores=True)})

    change.save(tmp_path)

    assert unequal(change, Change.load(tmp_path)) == []
    assert not change.peft_loads
    assert change.live == ("m.a.weight", "m.b.weight")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter_model.safetensors"]


def test_what_is_noted_of_the_other_kinds_has_not_changed(tmp_path: Path) -> None:
    from bench import Replaced

    Change({"m.a.weight": LowRank(B, A, 2.0), "m.a.bias": Replaced(torch.ones(2))}).save(tmp_path)

    with safe_open(tmp_path / "adapter_model.safetensors", "pt") as file:
        noted = file.metadata()["bench"]
    expected = {"m.a.weight": {"kind": "low_rank", "scale": 2.0}, "m.a.bias": {"kind": "replaced", "scale": None}}
    assert noted == json.dumps(expected)


@pytest.fixture(scope="module", params=["freeze", "token"])
def taught(request: pytest.FixtureRequest) -> tuple[Tiny, Change]:
    """A base model, and a change that alters most answers."""
    bench = tiny()
    recipe = replace(RECIPE, updates=8, lr=5e-2)
    return bench, learn(MixLoRA(decode=request.param, experts=2.0), bench, recipe=recipe)


def said(model: Any, bench: Tiny, indices: Sequence[int], most: int, ends: Any = NEVER) -> list[list[int]]:
    with torch.no_grad():
        return greedy(model, bench.test.prompt_batch(indices), most, ends)


@pytest.mark.slow
def test_answers_alone_and_in_a_batch_with_padding_are_the_same(taught: tuple[Tiny, Change]) -> None:
    bench, change = taught
    everything = range(len(bench.test.examples))
    assert not bench.test.prompt_batch(everything)["attention_mask"].all()

    with bench.base.holding(change) as model:
        together = said(model, bench, everything, 6)
        alone = [said(model, bench, [index], 6)[0] for index in everything]

    assert together == alone
    assert together != said(bench.base.model, bench, everything, 6)


@pytest.mark.slow
def test_rows_that_end_early_leave_the_others_as_transformers_answers_them(taught: tuple[Tiny, Change]) -> None:
    bench, change = taught
    everything = range(len(bench.test.examples))
    batch = bench.test.prompt_batch(everything)
    lengths = set[int]()
    with bench.base.holding(change) as model:
        held_model: Any = model
        free = said(model, bench, everything, 6)
        for place in range(6):
            ends = sorted({row[place] for row in free[::3]})
            tokens = held_model.generate(
                **batch, do_sample=False, num_beams=1, max_new_tokens=6, eos_token_id=ends, pad_token_id=0
            )
            rows = tokens[:, batch["input_ids"].shape[1] :].tolist()
            cut = [row[: next((at for at, token in enumerate(row) if token in ends), 6)] for row in rows]
            found = said(model, bench, everything, 6, ends)
            assert found == cut
            lengths |= {len(row) for row in found}
    assert len(lengths) > 2


@pytest.mark.slow
def test_the_choice_of_a_prompt_is_kept_while_it_is_answered_unless_each_token_chooses(
    taught: tuple[Tiny, Change], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, change = taught
    calls: list[int] = []
    forward = Router.forward

    def counted(router: Router, mean: Tensor, a: Tensor) -> Choice:
        calls.append(len(mean))
        return forward(router, mean, a)

    monkeypatch.setattr(Router, "forward", counted)
    with bench.base.holding(change) as model:
        said(model, bench, range(4), 3)

    frozen = all(delta.freeze for delta in change.values() if isinstance(delta, Routed))
    assert calls == [4] * 14 * (1 if frozen else 3)


@pytest.mark.slow
def test_a_lane_keeps_no_trace_of_a_routed_change(taught: tuple[Tiny, Change]) -> None:
    bench, change = taught
    before, attributes = trace(bench), set(vars(bench.base.model))

    with bench.base.holding(change) as model:
        said(model, bench, range(3), 3)
        assert traces(before, trace(bench))

    assert traces(before, trace(bench)) == []
    assert set(vars(bench.base.model)) == attributes


@pytest.mark.slow
def test_a_lane_keeps_no_trace_after_an_error(taught: tuple[Tiny, Change]) -> None:
    bench, change = taught
    before = trace(bench)

    with pytest.raises(ZeroDivisionError), bench.base.holding(change):
        raise ZeroDivisionError

    assert traces(before, trace(bench)) == []


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_held_change_gives_the_precision_of_the_model(dtype: str) -> None:
    bench = tiny(dtype)
    change = learn(MixLoRA(), tiny(), recipe=replace(RECIPE, updates=2))

    with torch.no_grad(), bench.base.holding(change) as model:
        logits: Any = model(**bench.batch(), use_cache=False).logits

    assert str(logits.dtype) == f"torch.{dtype}"
    assert logits.isfinite().all()
