"""Which files of a repository make a checkpoint, and which of them a directory lacks."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from compressor.errors import ModelUnavailableError
from compressor.models.loading.files import WeightFormat, weight_files


@dataclass(frozen=True)
class RepositoryFiles:
    """What is downloaded of a repository, and what of it no checkpoint is without.

    Args:
        patterns: of the names that are downloaded; never of code.
        needed: of each tuple of names, one at least.
        weights: the formats that are read; the files of one at least.
        entries: by the name of a JSON file, the entry without which it does not count as there.
    """

    patterns: tuple[str, ...]
    needed: tuple[tuple[str, ...], ...] = (("config.json",),)
    weights: tuple[WeightFormat, ...] = ()
    entries: Mapping[str, str] = field(default_factory=dict)

    def lacking_names(self, names: Collection[str]) -> str:
        """What is needed and not among names of files; empty where nothing is."""
        patterns = tuple(pattern for _, pattern in self.weights)
        for group in (*self.needed, patterns):
            if group and not any(fnmatchcase(name, each) for name in names for each in group):
                return " or ".join(group)
        return ""

    def complete_in(self, directory: Path) -> bool:
        """Whether a directory lacks nothing needed, every part of the weights included."""
        names = {file.name for file in directory.iterdir() if file.is_file()}  # no link to a missing file
        if self.lacking_names({name for name in names if self._counts(directory / name)}):
            return False
        try:
            return not self.weights or bool(weight_files(directory, self.weights))
        except ModelUnavailableError:
            return False

    def _counts(self, file: Path) -> bool:
        if file.name not in self.entries:
            return True
        try:
            return self.entries[file.name] in json.loads(file.read_text(encoding="utf-8"))
        except ValueError:
            return True  # it is there; that it is damaged, loading says


CONFIG = RepositoryFiles(("config.json",))
