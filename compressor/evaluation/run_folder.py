"""A run of the evaluation: its processes, and the folder from which a killed run resumes.

`accelerate launch --multi_gpu --num_processes N -m compressor evaluate ...` starts several processes, without
a GPU too, and each answers its share; without `--multi_gpu` accelerate starts only one where it finds no GPU.
"""

import json
import os
from collections.abc import Iterable
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from compressor import fingerprint
from compressor.errors import ResultsError
from compressor.evaluation.answering import Answers

if TYPE_CHECKING:
    from accelerate import PartialState

TIMEOUT = timedelta(days=7)  # shares differ in length, and the first process to finish waits for the others


def process_state() -> "PartialState":
    """The state of this process among those of a launch; a launch of one if nothing was launched.

    Without a GPU the processes communicate by gloo, which accelerate chooses only if the CPU is requested.
    """
    from accelerate import PartialState

    return PartialState(cpu=not torch.cuda.is_available(), timeout=TIMEOUT)


class JsonLines:
    """A file that grows by one JSON object per line; a last line that a kill cut short is no line."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> list[dict[str, Any]]:
        """All complete lines; none where there is no file.

        Raises:
            ResultsError: a line is no JSON object.
        """
        if not self.path.exists():
            return []
        rows = []
        complete = self.path.read_bytes().rpartition(b"\n")[0]
        for number, line in enumerate(complete.splitlines(), 1):
            try:
                row = json.loads(line)
            except ValueError:
                row = None
            if not isinstance(row, dict):
                raise ResultsError(f"Line {number} of {self.path} is damaged: delete it and start again.")
            rows.append(row)
        return rows

    def append(self, rows: Iterable[dict[str, Any]]) -> None:
        """Add lines at once, in the place of a last one that was cut short."""
        text = "".join(json.dumps(row) + "\n" for row in rows)
        with self.path.open("ab+") as file:
            if file.seek(0, os.SEEK_END):
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    file.seek(0)
                    file.truncate(file.read().rfind(b"\n") + 1)
            file.write(text.encode())


class RunFolder:
    """The answers of one evaluation, one file per process, beside what was evaluated.

    Args:
        path: of the folder; made where there is none.
        run: what all answers depend on, fields as of `fingerprint`; a folder is never continued with others.
    Raises:
        ResultsError: the folder holds another run, or cannot be written.
    """

    def __init__(self, path: Path, run: fingerprint.Fields) -> None:
        self.path = path
        about = path / "run.json"
        try:
            path.mkdir(parents=True, exist_ok=True)
            if not about.exists():
                draft = path / f"run.json.{os.getpid()}"
                draft.write_text(json.dumps(run, indent=1) + "\n", encoding="utf-8")
                draft.replace(about)  # a kill leaves the whole file or none
            stored = json.loads(about.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ResultsError(f"{path} cannot hold a run: {error}; choose another folder.") from error
        if refusal := fingerprint.refusal(path, stored, run):
            raise ResultsError(refusal)

    def read(self) -> dict[tuple[str, str], Answers]:
        """All answers so far, of all processes, by setting and dialogue."""
        rows = (
            _answers(row, path)
            for path in sorted(self.path.glob("answers-*.jsonl"))
            for row in JsonLines(path).read()
        )
        return {answers.key: answers for answers in rows}

    def append(self, process: int, answers: Iterable[Answers]) -> None:
        """Write what a process has answered."""
        JsonLines(self.path / f"answers-{process}.jsonl").append(map(asdict, answers))

    @property
    def scores(self) -> JsonLines:
        """A judge's scores of the answers."""
        return JsonLines(self.path / "marks.jsonl")


def _answers(row: dict[str, Any], path: Path) -> Answers:
    try:
        return Answers(**row)
    except TypeError as error:
        raise ResultsError(f"{path} holds lines that are no answers: choose another folder.") from error
