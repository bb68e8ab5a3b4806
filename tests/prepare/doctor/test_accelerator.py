"""What is said of torch and of GPUs, on machines that have them and on machines that do not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.prepare.doctor import accelerator
from bench.prepare.doctor.accelerator import VisibleGpu, gpus, torch_build
from bench.prepare.doctor.child import Reply
from bench.sizes import GIB
from tests.prepare.doctor.diagnoses import assert_says

GPU = VisibleGpu("NVIDIA H100 80GB HBM3", 80 * GIB, 79 * GIB)


@pytest.fixture(autouse=True)
def driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accelerator, "driver", lambda: "570.1")


@pytest.mark.parametrize(
    ("built_for", "seen", "present", "visible", "level", "said"),
    [
        ("", 0, (), None, "ok", r"2\.13\.0, built for the CPU$"),
        ("12.6", 1, (GPU.name,), None, "ok", r"2\.13\.0, built for CUDA 12\.6$"),
        ("", 0, (GPU.name,), None, "warn", r"built for the CPU, but.*has a GPU: NVIDIA H100"),
        ("12.6", 0, (GPU.name,), None, "FAIL", r"sees none of 1 GPUs.*driver \(570\.1; too old for CUDA 12"),
        ("12.6", 0, (GPU.name,), "", "FAIL", r"CUDA_VISIBLE_DEVICES is ''.*unset it"),
        ("12.6", 0, (), None, "warn", r"has no GPU.*CPU build would save some GB"),
    ],
)
def test_torchs_build_is_compared_with_the_gpus_of_the_machine(
    built_for: str, seen: int, present: tuple[str, ...], visible: str | None, level: str, said: str
) -> None:
    assert_says(torch_build("2.13.0", built_for, seen, present, visible), level, said)


@pytest.mark.parametrize(
    ("seen", "dtype", "level", "said"),
    [
        ((GPU,), "bfloat16", "ok", r"gpu 0 .*79\.0 GiB free of 80\.0 GiB, driver 570\.1$"),
        ((), "float32", "ok", r"none; the suite micro does not need one"),
        ((), "bfloat16", "warn", r"none, but the suite micro is meant for one"),
        ((replace(GPU, free=40 * GIB),), "bfloat16", "warn", r"40\.0 GiB free of 80\.0 GiB"),
        ((replace(GPU, bfloat16=False),), "bfloat16", "FAIL", r"no bfloat16.*train_dtype=float32"),
    ],
)
def test_a_gpu_is_judged_by_its_free_memory_and_its_data_types(
    seen: tuple[VisibleGpu, ...], dtype: str, level: str, said: str
) -> None:
    (found,) = gpus(seen, "micro", dtype)

    assert_says(found, level, said)


def test_a_torch_that_cannot_be_imported_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Reply((), "libcudart.so: no such file")
    monkeypatch.setattr(accelerator, "ask", lambda *words, seconds: broken)

    torch, gpu = accelerator.check("micro", "float32")

    assert_says(torch, "FAIL", r"cannot be imported: libcudart")
    assert gpu.level == "ok"
