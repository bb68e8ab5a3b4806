import signal
import socket
from contextlib import suppress
from pathlib import Path

import pytest

from bench import Task
from bench.cli import main
from bench.errors import DataError, TrialError, UsageError
from bench.lanes import cluster
from bench.lanes.broker import Broker
from bench.lanes.cluster import check_address, devices, lanes_on
from bench.lanes.nodes import lacking, unpacked
from bench.plugins.registry import Registry
from bench.store.places import place
from bench.values.job import Job
from bench.values.recipe import Recipe
from bench.values.trial import Trial

RECIPE = Recipe(updates=2, batch_size=2, lr=1e-3, connector_lr=1e-4)


@pytest.mark.parametrize("address", ["auto", "10.0.0.7:6379", "head.lab:6379", "[fe80::1]:6379"])
def test_a_running_cluster_has_an_address(address: str) -> None:
    check_address(address, None)


@pytest.mark.parametrize(
    ("address", "lanes", "said"),
    [
        ("ray://head:10001", None, r"is a Ray Client address\. bench must run on a cluster node"),
        ("head", None, "Give auto, or HOST:PORT"),
        ("http://head:8265", None, "Give auto, or HOST:PORT"),
        ("auto", 0, "nothing would run on the cluster"),
    ],
)
def test_what_is_none_is_refused_with_the_reason(address: str, lanes: int | None, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        check_address(address, lanes)


@pytest.mark.parametrize("verb", ["run", "search", "study table1"])
def test_an_address_is_checked_before_anything_starts(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main([*verb.split(), "--address", "ray://head:10001", "--output", str(tmp_path / "runs")]) == 2
    assert "Use --address auto there, or ray job submit" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("fails", [False, True])
def test_sigterm_does_what_it_did_after_ray_has_started_or_has_not(fails: bool) -> None:
    before = signal.getsignal(signal.SIGTERM)

    def start() -> None:
        with cluster._same_termination():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            if fails:
                raise OSError("no room")

    try:
        with suppress(OSError):
            start()
        assert signal.getsignal(signal.SIGTERM) is before
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("word", ["auto", "given"])
def test_an_address_where_nothing_listens_is_refused_at_once(
    word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = f"127.0.0.1:{server.getsockname()[1]}"
    monkeypatch.setenv("RAY_ADDRESS", closed)

    with (
        pytest.raises(UsageError, match=r"the Ray cluster there cannot be joined .*refused"),
        devices(None, "auto" if word == "auto" else closed, tmp_path, 1),
    ):
        pass


def test_a_private_ray_that_does_not_start_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def late(**_: object) -> None:
        raise Exception("The current node timed out during startup.")  # noqa: TRY002  as Ray raises it

    monkeypatch.setattr("ray.init", late)
    monkeypatch.setattr(cluster, "_settings", lambda: None)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "")

    with pytest.raises(TrialError, match=r"did not start .*timed out during startup.*less busy.*--lanes 0"):
        cluster._started(tmp_path, 1)


def test_a_node_names_every_folder_that_it_lacks(tmp_path: Path) -> None:
    from bench import __version__

    folders = {"base model": tmp_path, "data folder": tmp_path / "data", "run folder": place("s3://lab/runs")}

    found = lacking(folders, __version__)

    assert len(found) == 2
    assert found[0].startswith(f"it does not have the data folder {tmp_path}/data: put it on every node")
    assert "it cannot reach the run folder s3://lab/runs" in found[1]
    assert lacking({}, "0.0.9") == [f"it has retain-bench {__version__}, but the driver has 0.0.9"]


def test_a_node_says_what_a_task_cannot_be_scored_without(monkeypatch: pytest.MonkeyPatch) -> None:
    from bench import __version__

    def without_java(task: Task) -> None:
        raise DataError("No Java is found. Install one.")

    monkeypatch.setattr(Registry().task_class("coco_caption"), "ready", without_java)

    assert lacking({}, __version__, ("gqa", "of_a_plugin_file", "coco_caption")) == ["No Java is found. Install one"]


def test_a_plugin_is_taken_from_its_place_unless_a_node_has_another(tmp_path: Path) -> None:
    same, other, missing = tmp_path / "same.py", tmp_path / "other.py", tmp_path / "missing.py"
    same.write_text("a = 1\n", encoding="utf-8")
    other.write_text("an older version\n", encoding="utf-8")

    found = unpacked((same, other, missing), (b"a = 1\n", b"b = 1\n", b"c = 1\n"))

    assert found[0] == same
    assert [path.name for path in found] == ["same.py", "other.py", "missing.py"]
    assert [path.read_bytes() for path in found] == [b"a = 1\n", b"b = 1\n", b"c = 1\n"]
    assert unpacked((same, other), ()) == [same, other]


def test_a_trial_that_loses_its_node_twice_is_not_to_blame() -> None:
    trial = Trial("lora", {}, 4, "t", 0, RECIPE, "m", "d", "c")
    broker = Broker([Job(trial, ())], {})

    for lane in (0, 1, 2):
        assert broker.take(lane) is not None
        assert broker.lost(lane, blame=False) == trial.label
    assert broker.lost(0) == ""
    assert broker.take(0) is not None
    broker.lost(0)
    assert broker.take(1) is not None
    broker.lost(1)

    assert broker.over  # two deaths of its own
    assert [event.kind for event in broker.events].count("failed") == 1


@pytest.mark.parametrize(("devices", "workers", "lanes"), [(8, 1, 8), (8, 2, 4), (7, 2, 3), (2, 2, 1)])
def test_every_lane_has_devices_of_its_own(devices: int, workers: int, lanes: int) -> None:
    assert lanes_on(devices, workers, "GPU") == lanes


def test_more_workers_than_devices_are_refused() -> None:
    with pytest.raises(UsageError, match="--gpus-per-trial 3 is more than the 2 GPUs here"):
        lanes_on(2, 3, "GPU")
    with pytest.raises(UsageError, match="--gpus-per-trial 2 is more than the 1 core here"):
        lanes_on(1, 2, "core")
