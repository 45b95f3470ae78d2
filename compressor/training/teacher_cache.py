"""What a frozen model makes of the training dialogues, computed once and kept on disk.

A training step then runs the student only: image tokens, ids and the uncompressed model's states at the
response tokens are read from memory-mapped files. The teacher's last hidden states are kept, not its logits:
the frozen head turns them into the same logits, and they take d numbers a token instead of one per word.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from compressor import fingerprint
from compressor.chat.batch import greedy_answer_ids
from compressor.dialogues import Dialogue
from compressor.models.base import VisionLanguageModel
from compressor.training.teacher_forcing import Transcript, answer_ids, response_states, transcript

Responses = Literal["data", "model"]
SHARD = 16  # dialogues per file: what one teacher forward reads
MAX_RESPONSE = 64  # tokens of an answer of the model's own


@dataclass(frozen=True, eq=False)
class TrainingExample:
    """One dialogue, ready for the student.

    Args:
        image: all tokens, (n, d), in the model's dtype.
        text: its ids, with the responses.
        teacher: the uncompressed model's last hidden states at the response tokens, (T, d).
    """

    image: Tensor
    text: Transcript
    teacher: Tensor


class TeacherCache(Sequence[TrainingExample]):
    """The samples of a folder that `build_teacher_cache` has filled.

    Args:
        folder: of the files.
        fields: what they depend on, see `depends_on`.
        count: of the samples.
        device: where they go.
    """

    def __init__(self, folder: Path, fields: fingerprint.Fields, count: int, device: torch.device) -> None:
        self.folder, self.fields, self.count, self.device = folder, fields, count, device
        self._files: dict[int, Any] = {}

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> TrainingExample:
        if not 0 <= index < self.count:
            raise IndexError(index)
        shard, row = divmod(index, SHARD)
        if shard not in self._files:
            self._files[shard] = safe_open(_path(self.folder, shard), framework="pt")
        read = self._files[shard].get_tensor
        image, before, after, response, teacher = (
            read(f"{row}.{name}").to(self.device)
            for name in ("image", "before", "after", "response", "teacher")
        )
        return TrainingExample(image, Transcript(before, after, response), teacher)


def build_teacher_cache(
    model: VisionLanguageModel,
    dialogues: Sequence[Dialogue],
    cache: Path,
    responses: Responses = "data",
    process: int = 0,
    processes: int = 1,
    progress: Callable[[int], None] = lambda done: None,
) -> TeacherCache:
    """Encodes images and asks the uncompressed model, unless the cache holds that already.

    Args:
        model: the frozen model.
        dialogues: with true answers where `responses` is "data".
        cache: folder of caches; this one's name is a digest of what it depends on.
        responses: the data's answers, or the model's own greedy ones on the whole image.
        process: number of this process, from 0.
        processes: of the launch; each writes every `processes`-th file. Wait for all before reading.
        progress: is given the number of dialogues that a file adds.
    Raises:
        ImageError, DataError: a picture cannot be read.
    """
    fields = depends_on(model, dialogues, responses)
    folder = cache / f"{model.name}-{len(dialogues)}-{fingerprint.short_name(fields)}"
    folder.mkdir(parents=True, exist_ok=True)
    for shard in range(process, -(-len(dialogues) // SHARD), processes):
        part = dialogues[shard * SHARD : (shard + 1) * SHARD]
        if not _path(folder, shard).exists():
            _write(_path(folder, shard), _samples(model, part, responses))
        progress(len(part))
    return TeacherCache(folder, fields, len(dialogues), model.device)


def depends_on(
    model: VisionLanguageModel, dialogues: Sequence[Dialogue], responses: Responses
) -> fingerprint.Fields:
    """What the files of `build_teacher_cache` depend on; arguments and errors as there."""
    return {
        **fingerprint.of_model(model),
        "number of dialogues": len(dialogues),
        "dialogues": fingerprint.of_dialogues(dialogues),
        "responses": responses,
    }


@torch.no_grad()
def _samples(
    model: VisionLanguageModel, dialogues: Sequence[Dialogue], responses: Responses
) -> list[TrainingExample]:
    images = [tokens.embeddings for tokens in model.encode_batch([d.image for d in dialogues])]
    questions = [[turn.question for turn in dialogue.turns] for dialogue in dialogues]
    if responses == "model":
        answers = greedy_answer_ids(model, images, questions, MAX_RESPONSE)
    else:
        answers = [[answer_ids(model, turn.answer) for turn in dialogue.turns] for dialogue in dialogues]
    texts = [transcript(model, chat, replies) for chat, replies in zip(questions, answers, strict=True)]
    teachers = response_states(model, images, texts)
    return [TrainingExample(*parts) for parts in zip(images, texts, teachers, strict=True)]


def _path(folder: Path, shard: int) -> Path:
    return folder / f"{shard:05d}.safetensors"


def _write(path: Path, samples: Sequence[TrainingExample]) -> None:
    """All at once, so that a killed run leaves no half of a file."""
    tensors = {}
    for row, sample in enumerate(samples):
        named = {"image": sample.image, "teacher": sample.teacher, **vars(sample.text)}
        tensors |= {f"{row}.{name}": value.detach().cpu().contiguous() for name, value in named.items()}
    part = path.with_suffix(f".{os.getpid()}.part")
    save_file(tensors, part)
    os.replace(part, path)
