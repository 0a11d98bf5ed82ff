"""How much memory there is: what the user says, and what the kernel's files say of the container."""

from pathlib import Path

import pytest

from clearyear.errors import InputError
from clearyear.job import make_job
from clearyear.limits import Limit, bytes_text, cgroup_limit, memory_limit
from clearyear.settings import parse_size

NONE_V1 = "9223372036854771712"


def machine(root: Path, cgroup: str, files: dict[str, str]) -> Path:
    """A root with /proc/self/cgroup and files below /sys/fs/cgroup."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(cgroup)
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return root


V1 = "12:pids:/x\n5:cpu,memory:/docker/abc\n1:name=systemd:/docker/abc\n0::/\n"


@pytest.mark.parametrize(
    ("cgroup", "files", "expected"),
    [
        # a container of its own cgroup namespace, as Docker and Cloud Run start it today
        ("0::/\n", {"memory.max": "2147483648"}, 2 << 30),
        ("0::/\n", {"memory.max": "max"}, None),
        # the root of a machine has no such file
        ("0::/\n", {}, None),
        # a service: what stands above it binds too
        ("0::/a.slice/b.service\n", {"a.slice/b.service/memory.max": "max", "a.slice/memory.max": "500"}, 500),
        ("0::/a.slice/b.service\n", {"a.slice/b.service/memory.max": "300", "a.slice/memory.max": "500"}, 300),
        # the host's path inside a container without a namespace names nothing there
        ("0::/docker/abc\n", {"memory.max": "700"}, 700),
        (V1, {"memory/memory.limit_in_bytes": "900"}, 900),
        (V1, {"memory/docker/abc/memory.limit_in_bytes": "800", "memory/memory.limit_in_bytes": NONE_V1}, 800),
        (V1, {"memory/memory.limit_in_bytes": NONE_V1}, None),
        # hybrid: the controller is v1's, v2 is mounted but empty
        (V1, {"memory/memory.limit_in_bytes": "900", "unified/memory.max": "max"}, 900),
        # another controller's group is no limit of memory
        ("3:cpu:/x\n", {"memory/x/memory.limit_in_bytes": "5", "memory.max": "5"}, None),
        ("0::/\n", {"memory.max": "rubbish"}, None),
        ("", {}, None),
    ],
)
def test_cgroup(tmp_path: Path, cgroup: str, files: dict[str, str], expected: int | None) -> None:
    assert cgroup_limit(machine(tmp_path, cgroup, files)) == expected


def test_without_cgroups_there_is_no_limit(tmp_path: Path) -> None:
    assert cgroup_limit(tmp_path) is None
    assert memory_limit(root=tmp_path) is None


def test_the_job_goes_before_the_setting_and_the_container_binds_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = machine(tmp_path, "0::/\n", {"memory.max": "1000"})
    assert memory_limit(root=root) == Limit(1000, "the container's, by its cgroup")
    monkeypatch.setenv("CLEARYEAR_MEMORY_LIMIT", "600")
    assert memory_limit(root=root) == Limit(600, "CLEARYEAR_MEMORY_LIMIT")
    assert memory_limit(800, root=root) == Limit(800, "memory_limit")
    assert memory_limit(3000, root=root) == Limit(1000, "the container's, by its cgroup")


@pytest.mark.parametrize(
    ("text", "size"),
    [
        *(("2GiB", 2 << 30), ("2Gi", 2 << 30), ("2gib", 2 << 30), ("2 GiB", 2 << 30), ("1.5GiB", 3 << 29)),
        *(("1500MB", 1_500_000_000), ("512Mi", 512 << 20), ("2G", 2 * 10**9), ("2147483648", 2 << 30), ("900b", 900)),
    ],
)
def test_sizes(text: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert parse_size(text) == size
    assert make_job({"scenes": "s", "out": "o", "memory_limit": text}).memory_limit == size
    assert make_job({"scenes": "s", "out": "o", "memory_limit": size}).memory_limit == size
    monkeypatch.setenv("CLEARYEAR_MEMORY_LIMIT", text)
    assert memory_limit(root=Path("/nowhere")) == Limit(size, "CLEARYEAR_MEMORY_LIMIT")


@pytest.mark.parametrize("text", ["", "lots", "-1", "GiB", "2 GiB of it", "2 elephants", "1e9", "nan", "2GiBs", "2Bi"])
def test_what_is_no_size_is_refused_with_what_would_be(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for refuse in (
        lambda: parse_size(text),
        lambda: make_job({"scenes": "s", "out": "o", "memory_limit": text}),
    ):
        with pytest.raises(InputError) as refused:
            refuse()
        assert repr(text) in str(refused.value)
        assert "2GiB, 1500MB or a number of bytes" in str(refused.value)
    if text:
        monkeypatch.setenv("CLEARYEAR_MEMORY_LIMIT", text)
        with pytest.raises(InputError, match="CLEARYEAR_MEMORY_LIMIT = ") as refused:
            memory_limit(root=Path("/nowhere"))
        assert "2GiB, 1500MB or a number of bytes" in str(refused.value)


@pytest.mark.parametrize("value", [True, 1.5, -5, [1], {"a": 1}])
def test_a_job_takes_no_other_kind_of_value(value: object) -> None:
    with pytest.raises(InputError, match="memory_limit"):
        make_job({"scenes": "s", "out": "o", "memory_limit": value})


def test_sizes_are_said_with_three_digits() -> None:
    assert [bytes_text(n) for n in (5, 1234, 99_940_000, 123_456_789, 2 << 30)] == [
        *("5 B", "1.2 kB", "99.9 MB", "123 MB", "2.1 GB")
    ]
