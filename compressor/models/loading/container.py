"""The memory that control groups of Linux leave to this process, which the machine's own does not tell.

Source: the kernel's documentation, "Memory Resource Controller" and "Control Group v2".
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")  # lines of "number:controllers:path"


@dataclass(frozen=True)
class _Version:
    """Where a version of control groups says what; `cache` is an entry of memory.stat."""

    controller: str
    directory: str
    limit: str
    used: str
    cache: str


_VERSIONS = (
    _Version("", "", "memory.max", "memory.current", "inactive_file"),
    _Version("memory", "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def memory() -> tuple[float, float]:
    """Bytes that are free, and bytes in all, of the tightest of the groups; infinite outside of any.

    Cache of files that were read once is in use, but given back when the memory is wanted: it counts as free.
    """
    free = total = float("inf")
    for version in _VERSIONS:
        for directory in _directories(version):
            limit = _number(directory / version.limit)
            if limit is not None:
                used = (_number(directory / version.used) or 0) - _entry(directory, version.cache)
                free, total = min(free, max(limit - used, 0)), min(total, limit)
    return free, total


def _directories(version: _Version) -> Iterator[Path]:
    """The group that is mounted, which is a container's own, and those around this process below it."""
    root = ROOT / version.directory
    yield root
    try:
        lines = MEMBERSHIP.read_text(encoding="utf-8").splitlines()
    except OSError:  # no Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if version.controller in controllers.split(","):
            parts = [part for part in path.split("/") if part not in ("", "..")]
            yield from (root.joinpath(*parts[: end + 1]) for end in range(len(parts)))


def _number(file: Path) -> int | None:
    """What a file holds; None where there is none, or it says "max"."""
    try:
        text = file.read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def _entry(directory: Path, name: str) -> int:
    try:
        lines = (directory / "memory.stat").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    entries = {key: value for key, _, value in (line.partition(" ") for line in lines)}
    return int(entries.get(name, 0))
