"""What is in deploy/ is never applied here: it is read, and compared with what the project pins and understands."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench import __version__
from bench.cli.parser import parse
from bench.cli.run import RunOptions
from tests.making.commands import typed

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
FILES = sorted(path for path in DEPLOY.rglob("*") if path.is_file())
YAMLS = [path for path in FILES if path.suffix == ".yaml"]


def pinned() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines)


def documents(name: str) -> list[Any]:
    return list(yaml.safe_load_all((DEPLOY / name).read_text(encoding="utf-8")))


def job() -> Any:
    return next(item for item in documents("rayjob.yaml") if item["kind"] == "RayJob")["spec"]


def pods(spec: Any) -> Iterator[Any]:
    cluster = spec["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        yield group["template"]["spec"]


def commands() -> list[str]:
    """Return every command of ours in deploy/, without what is set before it."""
    lines = (DEPLOY / "README.md").read_text(encoding="utf-8").splitlines()
    code = [line.strip() for line in lines if line.startswith("    ")]
    found = [re.sub(r"^(?:[A-Z_]+=\S+ )+", "", line) for line in code]
    return [job()["entrypoint"], *(line for line in found if line.startswith("bench "))]


@pytest.mark.parametrize("path", YAMLS, ids=lambda path: str(path.name))
def test_every_file_is_yaml(path: Path) -> None:
    assert all(isinstance(item, dict) for item in documents(str(path.relative_to(DEPLOY))))


def test_every_version_is_the_pinned_one() -> None:
    versions, wanted = pinned(), {"mlflow": 0, "ray": 0, "torch": 0}
    for path in FILES:
        if path.name == "README.md":
            continue
        for name, version in re.findall(
            r"\b(mlflow|ray|torch)(?:\[[^\]]*\])?[=:]=?(\d+\.\d+\.\d+)", path.read_text(encoding="utf-8")
        ):
            assert version == versions[name], path
            wanted[name] += 1
    assert all(wanted.values()), wanted
    assert job()["rayClusterSpec"]["rayVersion"] == versions["ray"]
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["requires-python"]
    for path in FILES:
        if path.name == "Dockerfile":
            (python,) = re.findall(r"^FROM python:([\d.]+)-slim$", path.read_text(encoding="utf-8"), re.MULTILINE)
            assert f">={python}" == needed


def test_every_image_of_ours_is_of_this_version() -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for path in FILES)
    found = re.findall(r"retain-bench:([\d.]+\d)", text)
    assert set(found) == {__version__}
    assert set(re.findall(r"retain-bench-mlflow:([\d.]+\d)", text)) == {pinned()["mlflow"]}


def test_every_command_is_one_that_bench_understands() -> None:
    found = commands()
    assert len(found) >= 5
    for line in found:
        assert parse(shlex.split(line)[1:]) is not None, line


def test_the_job_joins_its_cluster_and_writes_where_all_pods_can() -> None:
    _, _, *words = shlex.split(job()["entrypoint"])
    options = typed(RunOptions, *words)

    assert options.address == "auto"
    for pod in pods(job()):
        (container,) = pod["containers"]
        mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
        claims = {volume["name"]: volume["persistentVolumeClaim"]["claimName"] for volume in pod["volumes"][:1]}
        assert claims[mounts["/shared"]] == "retain-bench"
        assert {item["name"] for item in container["env"]} >= {"MLFLOW_TRACKING_URI"}
        assert container["resources"]["limits"] == container["resources"]["requests"]
    for folder in (options.output, options.data):
        assert folder is not None
        assert folder.is_relative_to("/shared")


def test_the_job_has_a_token_and_its_lanes_are_on_the_workers() -> None:
    cluster = job()["rayClusterSpec"]

    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["headGroupSpec"]["rayStartParams"] == {"num-cpus": "0"}
    head, workers = pods(job())
    assert "nvidia.com/gpu" not in head["containers"][0]["resources"]["limits"]
    assert workers["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 4


def test_the_cluster_file_is_one_that_ray_takes() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    from importlib.util import find_spec

    found = find_spec("ray")
    assert found is not None
    assert found.origin is not None
    schema = json.loads((Path(found.origin).parent / "autoscaler" / "ray-schema.json").read_text(encoding="utf-8"))
    (config,) = documents("aws.yaml")

    jsonschema.validate(config, schema)
    assert config["available_node_types"][config["head_node_type"]]["resources"] == {"CPU": 0}
    starts = (config["head_start_ray_commands"][-1], config["worker_start_ray_commands"][-1])
    assert all("RAY_AUTH_MODE=token ray start" in line for line in starts)
    assert "/home/ray/.ray/auth_token" in config["file_mounts"]


@pytest.mark.parametrize("name", ["mlflow/docker-compose.yaml", "mlflow/kubernetes.yaml"])
def test_mlflow_takes_the_options_that_are_given(name: str) -> None:
    (words,) = _servers(documents(name))
    known = {"--backend-store-uri", "--artifacts-destination", "--host", "--port", "--workers", "--allowed-hosts"}

    assert words[:2] == ["mlflow", "server"]
    assert {word.split("=")[0] for word in words[2:]} == known  # of `mlflow server --help`, 3.17.2
    assert any(word.startswith("--backend-store-uri=postgresql://") for word in words)


def _servers(found: list[Any]) -> Iterator[list[str]]:
    for item in found:
        for service in item.get("services", {}).values():
            if service.get("command", [""])[0] == "mlflow":
                yield service["command"]
        if item.get("kind") == "Deployment":
            for container in item["spec"]["template"]["spec"]["containers"]:
                if container["name"] == "mlflow":
                    yield container["command"]
