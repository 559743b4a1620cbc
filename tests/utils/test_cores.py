import os

import pytest

from flowtrain.utils.cores import available_cores


def tree(root, lines):
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(lines)
    return root


@pytest.fixture
def eight(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)


@pytest.mark.parametrize(
    ("limit", "cores"), [("150000 100000", 2), ("50000 100000", 1), ("max 100000", 8), ("junk", 8)]
)
def test_the_quota_of_a_container(tmp_path, eight, limit, cores):
    folder = tree(tmp_path, "0::/a/b\n") / "sys/fs/cgroup/a"
    (folder / "b").mkdir(parents=True)
    (folder / "cpu.max").write_text(limit)  # of the group around
    assert available_cores(tmp_path) == cores


def test_a_container_sees_the_path_of_the_host(tmp_path, eight):
    folder = tree(tmp_path, "0::/docker/0123\n") / "sys/fs/cgroup"
    folder.mkdir(parents=True)
    (folder / "cpu.max").write_text("300000 100000\n")
    assert available_cores(tmp_path) == 3


def test_control_groups_of_version_1(tmp_path, eight):
    folder = tree(tmp_path, "5:memory:/x\n4:cpu,cpuacct:/job\n") / "sys/fs/cgroup/cpu,cpuacct/job"
    folder.mkdir(parents=True)
    (folder / "cpu.cfs_quota_us").write_text("200000\n")
    (folder / "cpu.cfs_period_us").write_text("100000\n")
    assert available_cores(tmp_path) == 2
    (folder / "cpu.cfs_quota_us").write_text("-1\n")
    assert available_cores(tmp_path) == 8


def test_affinity_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3}, raising=False)
    assert available_cores(tmp_path) == 1
