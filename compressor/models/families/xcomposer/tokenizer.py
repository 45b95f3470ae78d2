"""The tokenizer of InternLM2 without its remote code: SentencePiece and the four control tokens of a chat."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from compressor.errors import ModelMismatchError, ModelUnavailableError

BEGIN, END, TURN_BEGIN, TURN_END = "<s>", "</s>", "[UNUSED_TOKEN_146]", "[UNUSED_TOKEN_145]"
SPELT_CONTROL = re.compile(r"(\[)(UNUSED_TOKEN_\d+\])")


class InternLM2Tokenizer:
    """Text to ids and back: text is taken literally, control tokens come by their ids only.

    It can be called as a tokenizer of transformers, for the little that is asked of one here.

    Args:
        file: tokenizer.model.
    Raises:
        ModelUnavailableError: the file is missing or damaged, or SentencePiece is not installed.
        ModelMismatchError: the vocabulary lacks the tokens of the chat format.
    """

    def __init__(self, file: Path) -> None:
        try:
            from sentencepiece import SentencePieceProcessor
        except ImportError as error:
            raise ModelUnavailableError(
                "The tokenizer of InternLM-XComposer-2.5 needs SentencePiece: pip install sentencepiece."
            ) from error
        if not file.is_file():
            raise ModelUnavailableError(
                f"There is no {file.name} in {file.parent.name!r}; finish the checkpoint's download."
            )
        try:
            self._pieces = SentencePieceProcessor(model_file=str(file))
        except (RuntimeError, OSError) as error:
            raise ModelUnavailableError(
                f"The file {file.name} of {file.parent.name!r} is damaged; download it again."
            ) from error
        self.unk_token_id = self._pieces.unk_id()
        ids = {piece: self._pieces.piece_to_id(piece) for piece in (BEGIN, END, TURN_BEGIN, TURN_END)}
        lacking = [piece for piece, id_ in ids.items() if id_ == self.unk_token_id]
        if lacking:
            raise ModelMismatchError(
                f"This tokenizer lacks {', '.join(lacking)}; is it that of InternLM-XComposer-2.5?"
            )
        self.bos_token_id, self.eos_token_id, self.turn_begin_id, self.turn_end_id = ids.values()
        self.control_ids = frozenset(ids.values())

    def encode(self, text: str) -> list[int]:
        """The ids of a text; a space breaks up what is spelt like one of the reserved tokens.

        `<s>` and `</s>` need no care: SentencePiece never reads them out of a text.
        """
        return self._pieces.encode(SPELT_CONTROL.sub(r"\1 \2", text))

    def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
        """The ids of a text under "input_ids", without any added around them."""
        return {"input_ids": self.encode(text)}

    def decode(self, ids: Sequence[int], **_: Any) -> str:
        """The text of ids, control tokens left out."""
        return self._pieces.decode([id_ for id_ in ids if id_ not in self.control_ids])
