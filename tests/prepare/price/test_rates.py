"""Rates that follow from those that were measured."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from bench.errors import UsageError
from bench.prepare.price.rates import (
    GPUS,
    REFERENCE,
    Fleet,
    GpuModel,
    ProbeResult,
    Rates,
    here,
    kind,
    published,
)
from tests.making.quotes import RATE


def declared(name: str) -> float:
    return 3.2 if name.startswith("mdgd") else 1.0


@pytest.mark.parametrize(
    ("methods", "plain"),
    [
        ({"mdgd": 1.0}, 3.2),
        ({"mdgd": 1.0, "dora": 2.0}, 3.2),  # dora looks slower than mdgd's declaration says, because it came first
        ({"mdgd": 1.0, "dora": 4.0}, 4.0),
        ({"mdgd": 2.0, "lora": 4.0}, 4.0),  # what was measured counts, and 2.0 x 3.2 does not
    ],
)
def test_the_rate_of_plain_lora_follows_from_what_was_measured(methods: Mapping[str, float], plain: float) -> None:
    rates = Rates.of_methods(methods, declared, 1.0, "by hand")

    assert rates.of("new") == pytest.approx(plain)
    assert rates.of("mdgd_gm", 3.2) == pytest.approx(plain / 3.2)
    assert rates.of("mdgd", 3.2) == methods["mdgd"]


def plain(name: str) -> float:
    return 1.0


@pytest.mark.parametrize(
    ("device", "name"),
    [
        ("NVIDIA A100-SXM4-40GB", "A100 40GB"),
        ("NVIDIA A100 80GB PCIe", "A100 80GB"),
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA H100 80GB HBM3", "H100"),
    ],
)
def test_devices_are_known_by_the_names_they_report(device: str, name: str) -> None:
    assert kind(device) == GPUS[name]
    assert kind("Some Accelerator") is None


def test_a_published_rate_scales_with_peak_arithmetic_and_size() -> None:
    rates = published(7_060_000_000, GPUS["RTX 4090"])
    half = published(14_120_000_000, REFERENCE)
    assert rates is not None
    assert half is not None

    assert rates.train == pytest.approx(RATE * 165 / 312)
    assert "scaled to RTX 4090" in rates.origin
    assert half.train == pytest.approx(RATE / 2)
    assert published(2_000_000, REFERENCE) is None
    assert published(7_060_000_000, GpuModel("odd", 2**34, None)) is None


def test_a_probe_is_read_back_and_scaled_to_known_devices_alone(tmp_path: Path) -> None:
    found = ProbeResult("NVIDIA A100-SXM4-40GB", "m", 20, 4, {"lora": 4.0, "dora": 2.0}, 12.0, 64)
    found.save(tmp_path)

    assert ProbeResult.read(tmp_path) == found
    assert ProbeResult.read(tmp_path / "none") is None
    scaled = found.rates("m", GPUS["RTX 4090"], plain)
    assert scaled is not None
    assert scaled.of("dora") == pytest.approx(2 * 165 / 312)
    assert scaled.of("another", 2.0) == pytest.approx(4 / 2.0 * 165 / 312)  # LoRA's, for what was not probed
    assert found.rates("other", REFERENCE, plain) is None
    assert found.rates("m", GpuModel("odd", 2**34, 1e12), plain) is not None
    assert found.rates("m", None, plain) is None


def test_a_damaged_probe_is_named(tmp_path: Path) -> None:
    (tmp_path / "probe.json").write_text('{"device": "x"}', encoding="utf-8")

    with pytest.raises(UsageError, match=r"probe\.json is not what bench plan --probe writes"):
        ProbeResult.read(tmp_path)


def test_this_machines_gpus_are_priced_by_what_they_report(monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "NVIDIA GeForce RTX 3090")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: SimpleNamespace(total_memory=25_438_126_080))

    assert here() == Fleet(GpuModel("NVIDIA GeForce RTX 3090", 25_438_126_080, 71e12), 2)
