"""The memory of a container: what its limit leaves, by either version of control groups."""

import pytest
import torch

from compressor.models.loading import container, memory

V1 = {"limit": "memory.limit_in_bytes", "used": "memory.usage_in_bytes", "cache": "total_inactive_file"}
V2 = {"limit": "memory.max", "used": "memory.current", "cache": "inactive_file"}
NO_LIMIT = {"memory.max": "max", "memory.limit_in_bytes": str(2**63 - 4096)}


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """Makes a control group with a limit, bytes in use, and bytes of reclaimable cache among these."""
    monkeypatch.setattr(container, "ROOT", tmp_path / "groups")
    monkeypatch.setattr(container, "MEMBERSHIP", tmp_path / "membership")

    def make(version, limit, used, cache, path=""):
        directory = tmp_path / "groups" / ("memory" if version is V1 else "") / path
        directory.mkdir(parents=True, exist_ok=True)
        limit = NO_LIMIT[version["limit"]] if limit is None else limit
        (directory / version["limit"]).write_text(f"{limit}\n")
        (directory / version["used"]).write_text(f"{used}\n")
        others = "active_file 7\ninactive_anon 9\n"
        (directory / "memory.stat").write_text(f"{others}{version['cache']} {cache}\n")

    return make


@pytest.mark.parametrize("version", [V1, V2])
def test_what_is_in_use_is_not_free_and_cache_is(groups, version):
    groups(version, 1000, 700, 300)
    assert container.memory() == (600, 1000)
    groups(version, 1000, 1200, 100)
    assert container.memory() == (0, 1000)
    assert memory.memory(torch.device("cpu")) == (0, 1000)


@pytest.mark.parametrize("version", [V1, V2])
def test_no_limit(groups, version):
    groups(version, None, 700, 300)
    free, total = memory.memory(torch.device("cpu"))
    assert 2**20 < free <= total


def test_no_container(tmp_path, monkeypatch):
    monkeypatch.setattr(container, "ROOT", tmp_path)
    assert container.memory() == (float("inf"), float("inf"))


@pytest.mark.parametrize(
    ("version", "line"), [(V1, "4:cpu,memory:/slice/mine\n3:pids:/other\n"), (V2, "0::/slice/mine\n")]
)
def test_every_group_around_the_process_counts(groups, tmp_path, version, line):
    """Where the host's groups are seen, and not those of the container alone."""
    (tmp_path / "membership").write_text(line)
    groups(version, None, 9000, 0)
    groups(version, 5000, 4500, 0, "slice")
    groups(version, 3000, 1000, 0, "slice/mine")
    groups(version, 10, 10, 0, "slice/another")
    assert container.memory() == (500, 3000)


def test_a_group_without_its_use_is_taken_as_unused(groups, tmp_path):
    groups(V2, 1000, 700, 300)
    (tmp_path / "groups" / "memory.current").unlink()
    (tmp_path / "groups" / "memory.stat").unlink()
    assert container.memory() == (1000, 1000)
