from __future__ import annotations

import importlib.util
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from bench.checks.tiny import RANK, RECIPE, Squares
from bench.cli.main import main
from bench.cli.options import Cells
from bench.cli.request import read_request
from bench.errors import TrialError
from bench.model.adapters import adapted_layers, insert_lora, lora_adapters
from bench.model.dora_layer import ROWS, base_norms, row_norms
from bench.model.four_bit import dequantised
from bench.model.llava.family import Llava
from bench.model.resident import Base, Form
from bench.plan.plan import make
from bench.plan.request import Request
from bench.plan.suite import Suite
from bench.plugins.method import TrainMethod
from bench.plugins.registry import Registry
from bench.plugins.tasks import Tasks
from bench.store.run_folder import Store
from bench.trial.corpus import Corpus
from bench.trial.fit import fit
from bench.trial.runner import TrialRunner
from bench.values.recipe import Recipe
from tests.layouts.checkpoint import write
from tests.making.live_tensors import live_tensors

pytest.importorskip("bitsandbytes")

QLORA = replace(RECIPE, updates=2, train_dtype="bfloat16", quantization="4bit")
CPU = torch.device("cpu")

# The 16 levels of NF4: QLoRA, arXiv:2305.14314, appendix E.
LEVELS = [
    -1.0, -0.6961928, -0.5250730, -0.3949175, -0.2844414, -0.1847734, -0.0910500, 0.0,
    0.0795803, 0.1609302, 0.2461123, 0.3379152, 0.4407098, 0.5626170, 0.7229568, 1.0,
]  # fmt: skip
_BLOCK = 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint whose layers have multiples of 64 inputs."""
    return write(tmp_path_factory.mktemp("wide"), width=128, dtype="float32")


@pytest.fixture
def base(folder: Path) -> Base:
    return Base.load(folder, Form.training(QLORA), CPU)


def test_the_decoders_linear_layers_alone_are_in_4_bits(base: Base, folder: Path) -> None:
    full = Base.load(folder, Form("bfloat16"), CPU)
    packed = {name for name, value in base.model.named_parameters() if value.dtype == torch.uint8}

    expected = {name for name in adapted_layers(full.model, replace(RECIPE, connector="frozen"))}
    assert packed == expected
    assert len(packed) == 14
    for name, value in full.model.named_parameters():
        assert name in packed or torch.equal(value, base.model.get_parameter(name)), name
    assert all(torch.equal(*pair) for pair in zip(full.tower.parameters(), base.tower.parameters(), strict=True))
    assert all(re.fullmatch(Llava.decoder_linears, name.removesuffix(".weight")) for name in packed)


def test_a_methods_w0_is_the_dequantised_weight(base: Base, folder: Path) -> None:
    full = Base.load(folder, Form("bfloat16"), CPU).model
    model = insert_lora(base.tree(), RANK, QLORA)

    for adapter in lora_adapters(model):
        original = full.get_parameter(adapter.name).float()
        weight = adapter.weight
        blocks = weight.flatten().view(-1, _BLOCK)
        shares = blocks / blocks.abs().amax(1, keepdim=True)
        distance = (shares.unsqueeze(-1) - torch.tensor(LEVELS)).abs().amin(-1)
        assert weight.dtype == torch.float32
        assert weight.shape == original.shape
        assert distance.max() < 0.01  # bfloat16 rounds the levels
        assert (weight - original).norm() < 0.11 * original.norm()


def test_layers_that_the_cpu_would_read_wrongly_are_refused(tiny_folder: Path) -> None:
    with pytest.raises(TrialError, match=r"q_proj has 32 inputs. .* a multiple of 64. Use a GPU, or --base full"):
        Base.load(tiny_folder, Form(quantization="4bit"), CPU)


@pytest.mark.parametrize("name", ["lora", "dora", "l2", "orth_reg", "lorasculpt"])
def test_every_method_trains_on_a_base_in_4_bits(name: str, base: Base) -> None:
    method = Registry().method(name)()
    assert isinstance(method, TrainMethod)
    before = {name: value.clone() for name, value in base.model.named_parameters()}

    fitted = fit(method, RANK, 0, QLORA, Corpus(base, Squares(), "train", QLORA.template))

    assert fitted.change is not None
    tensors = [tensor for delta in fitted.change.values() for tensor in delta.tensors().values()]
    assert all(tensor.dtype == torch.float32 and tensor.isfinite().all() for tensor in tensors)
    assert any(getattr(delta, "b", torch.zeros(1)).any() for delta in fitted.change.values())
    assert all(torch.equal(value, before[name]) for name, value in base.model.named_parameters())


def test_a_tree_shares_what_is_in_4_bits(base: Base) -> None:
    name = next(name for name, value in base.model.named_parameters() if value.dtype == torch.uint8)
    one: Any = base.model.get_parameter(name)
    other: Any = base.tree().get_parameter(name)

    assert one is other
    assert one.quant_state is other.quant_state


@pytest.mark.slow
def test_a_base_in_4_bits_wakes_as_it_was(base: Base) -> None:
    before = {name: value.clone() for name, value in base.model.named_parameters()}
    weight = insert_lora(base.tree(), RANK, QLORA)
    first = next(lora_adapters(weight)).weight

    base.rest()
    base.wake()

    assert all(torch.equal(value, before[name]) for name, value in base.model.named_parameters())
    assert torch.equal(next(lora_adapters(weight)).weight, first)


@pytest.fixture
def run(tiny_suite: Suite, squares: Tasks, folder: Path, tmp_path: Path) -> TrialRunner:
    """Everything of lora, dare and model_tailor under a recipe in 4 bits."""
    recipe: Recipe = replace(tiny_suite.recipe, updates=2, quantization="4bit")
    store = Store(tmp_path)
    methods = ("lora", "dare", "model_tailor")
    suite = replace(tiny_suite, model=str(folder))
    request = Request(suite, methods, (2,), tiny_suite.targets, tiny_suite.sources, recipe, tasks=squares)
    bench = TrialRunner(store, folder, squares)
    for job in make(request, store).pending:
        assert bench.run(job).error is None
    return bench


@pytest.mark.slow
def test_scores_and_edits_are_of_the_full_weights(run: TrialRunner) -> None:
    forms = {key[0] for key in run.warm._corpora}
    held = {form: base.model.get_parameter(_SOME).dtype for form, base in run.warm._bases.items()}

    assert forms == {Form("float32", quantization="4bit"), Form("float32")}
    assert held == {Form("float32", quantization="4bit"): torch.uint8, Form("float32"): torch.float32}
    assert {key[2] for key in run.warm._corpora if key[0].quantization == "4bit"} == {"train"}
    assert run.warm.heal() == []


_SOME = "model.language_model.layers.0.self_attn.q_proj.weight"


@pytest.mark.slow
def test_a_plugin_that_writes_to_a_weight_in_4_bits_is_found_out(run: TrialRunner) -> None:
    base = run.warm._bases[Form("float32", quantization="4bit")]
    weight = base.model.get_parameter(_SOME)
    before = weight.clone()

    weight.data.add_(1)

    assert run.warm.heal() == [_SOME]
    assert torch.equal(weight, before)


@pytest.mark.slow
def test_looking_for_writes_leaves_the_scales_where_they_are(run: TrialRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    from bitsandbytes.functional import QuantState

    moved: list[object] = []
    monkeypatch.setattr(QuantState, "to", lambda state, device: moved.append(device))

    assert run.warm.heal() == []
    assert moved == []


def test_without_bitsandbytes_nothing_starts(
    tiny_suite: Suite,
    tiny_tasks: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "bitsandbytes" else find(name))

    for words in (["--base", "4bit"], ["--set", "recipe.quantization=4bit"]):
        assert (
            main(["plan", "--suite", "tiny", "--plugin", str(tiny_tasks), *words, "--output", str(tmp_path / "runs")])
            == 2
        )
        error = capsys.readouterr().err
        assert error == "bench: --base 4bit needs bitsandbytes. Install it: pip install 'retain-bench[4bit]'\n"


def test_the_option_base_is_a_field_of_the_recipe(tiny_suite: Suite, tiny_tasks: Path) -> None:
    cells = Cells(suite="tiny", methods="lora", ranks="2", plugin=(tiny_tasks,))
    asked = [read_request(replace(cells, base=base), Path("runs")) for base in ("full", "4bit", None)]

    full, packed, plain = (item.recipe for item in asked)
    assert full == plain
    assert packed == replace(full, quantization="4bit")
    assert full.to_json() != packed.to_json()


def test_doras_layers_compute_their_decomposed_weight_in_4_bits(base: Base) -> None:
    model: Any = insert_lora(base.tree(), RANK, replace(QLORA, dropout=0.3), dora=True).train()
    name, adapter = next((item.name, item) for item in lora_adapters(model) if item.block is not None)
    layer = model.get_submodule(f"base_model.model.{name.removesuffix('.weight')}")
    assert adapter.magnitude is not None
    with torch.no_grad():
        adapter.b.normal_()
        adapter.magnitude.mul_(2)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 5, adapter.a.shape[1], generator=generator, dtype=torch.bfloat16)

    torch.manual_seed(1)
    dropped = nn.functional.dropout(x.float(), 0.3)
    torch.manual_seed(1)
    found = layer(x).detach()

    weight = adapter.weight
    gain = adapter.magnitude / (weight + adapter.scale * adapter.b @ adapter.a).norm(dim=1)
    added = (gain - 1) * (dropped @ weight.T) + gain * adapter.scale * (dropped @ adapter.a.T @ adapter.b.T)
    added = added.detach()
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), x.float() @ weight.T + added, rtol=0.02, atol=0.02 * float(added.std()))


def test_row_norms_dequantise_a_thousand_rows_at_once() -> None:
    from bitsandbytes.nn import Params4bit

    rows, width = 2 * ROWS + 100, _BLOCK
    weight = Params4bit(torch.randn(rows, width), requires_grad=False, quant_type="nf4").to(CPU)
    a, b = torch.randn(RANK, width), torch.randn(rows, RANK)

    with Sizes() as sizes:  # type: ignore[no-untyped-call]
        norms = base_norms(weight)
        found = row_norms(weight, a, b, 2.0, norms)

    assert sizes.largest == ROWS * width
    whole = dequantised(weight)
    assert torch.equal(norms, base_norms(whole))
    assert torch.equal(found, row_norms(whole, a, b, 2.0, norms))


class Sizes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """The entries of the largest tensor of floats that is computed meanwhile."""

    largest = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor) and out.is_floating_point():
            self.largest = max(self.largest, out.numel())
        return out


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_doras_layers_keep_no_tensor_of_the_weights_size_in_4_bits(base: Base, dropout: float) -> None:
    model: Any = insert_lora(base.tree(), RANK, replace(QLORA, dropout=dropout), dora=True).train()
    adapter = next(item for item in lora_adapters(model) if item.name.endswith("down_proj.weight"))
    layer = model.get_submodule(f"base_model.model.{adapter.name.removesuffix('.weight')}")
    out, width = adapter.weight.shape
    saved = list[torch.Tensor]()

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        saved.append(tensor)
        return tensor

    before = {item.data_ptr() for item in live_tensors(out * width)}
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        result = layer(torch.randn(3, width, dtype=torch.bfloat16, requires_grad=True))

    assert result.requires_grad
    assert any(item.shape == (3, out) for item in saved)
    large = [item for item in (*saved, *live_tensors(out * width)) if item.numel() >= out * width]
    assert {item.data_ptr() for item in large} <= before
