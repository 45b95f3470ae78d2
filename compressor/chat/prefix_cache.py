"""What the language model has read of a chat, so that it reads nothing twice.

The transcript of a chat is a list of token ids; the cache is only a speed-up for a prefix of it.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from compressor.decoding import Pruning, Request, Sampling, prefill, step
from compressor.models.base import VisionLanguageModel


def closed_answer(model: VisionLanguageModel, ids: Sequence[int]) -> list[int]:
    """The ids of an answer as a transcript holds them: with `eos_id` at the end, however the answer ended.

    Args:
        model: the model.
        ids: with or without one of its `stop_ids` at the end.
    """
    ended = bool(ids) and ids[-1] in model.stop_ids
    return [*(ids[:-1] if ended else ids), model.eos_id]


class Reading:
    """The ids of a chat that have been read, and the request whose cache holds their keys and values.

    Args:
        model: that reads.
    Attributes:
        ids: read so far; the image is one id among them.
        request: whose pending id follows them.
    """

    def __init__(self, model: VisionLanguageModel) -> None:
        self.model = model
        self.forget()

    def forget(self) -> None:
        """Read everything anew the next time."""
        self.request, self.ids = Request(), []

    @torch.inference_mode()
    def prefill(
        self,
        ids: Sequence[int],
        image: Tensor,
        sampling: Sampling,
        prune: Callable[[], Pruning] | None = None,
        anew: bool = False,
    ) -> int:
        """Go on from the longest prefix of `ids` that was read already, and choose the id that follows them.

        Where it raises, all that was read is as it was.

        Args:
            ids: a transcript with a new prompt.
            image: what stands for the image's id, (m, d).
            sampling: how this and the next ids are chosen.
            prune: what leaves inside the decoder; asked for where the image is read.
            anew: read all of it, whatever was read already.
        Returns:
            how many tokens were read, those of the image included where they were.
        Raises:
            NumericalError: the logits are not finite.
        """
        request, shared = self.request, 0 if anew else self._shared(ids)
        rewound = len(self.ids) - shared
        if self.model.image_token_id not in self.ids[:shared]:
            # no rewinding past the image: layers may differ in its entries
            request, shared, rewound = Request(pruning=prune() if prune else None), 0, 0
        embeds = self.model.embed_ids(ids[shared:], None if shared else image)
        with request.rewinding(rewound):
            request.sampling = sampling
            prefill(self.model.decoder, [request], [embeds])
        self.request, self.ids = request, list(ids)
        return len(embeds)

    def _shared(self, ids: Sequence[int]) -> int:
        """Length of the prefix that `ids` shares with what was read; the last of `ids` is always read."""
        shared = 0
        while shared < min(len(ids) - 1, len(self.ids)) and ids[shared] == self.ids[shared]:
            shared += 1
        return shared

    @torch.inference_mode()
    def step(self) -> int:
        """Read the pending id, and choose the next.

        Raises:
            NumericalError: the logits are not finite; all is as it was.
        """
        pending = self.request.pending
        next_id = step(self.model.decoder, [self.request])[0]
        self.ids.append(pending)
        return next_id
