"""The cache of what the language model has read of a chat, so that it reads nothing twice.

The transcript of a chat is a list of token ids; the cache is only a speed-up for a prefix of it.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from compressor.chat.protocol import Ids
from compressor.decoding import Pruning, Request, Sampling, prefill, step
from compressor.models.base import VisionLanguageModel


class PrefixCache:
    """The ids of a chat that have been read, and the request whose cache holds their keys and values.

    Args:
        model: that reads.
    Attributes:
        ids: read so far; the image is one id among them.
        request: whose pending id follows them.
        deciding_ids: that decided which image tokens the cache holds; () where none did.
    """

    def __init__(self, model: VisionLanguageModel) -> None:
        self.model = model
        self.reset()

    def reset(self) -> None:
        """Drop the cache; the next prefill starts from scratch."""
        self.request = Request()
        self.ids: list[int] = []
        self.deciding_ids: Ids = ()

    @property
    def pending(self) -> int:
        """The id that was chosen last and has no cache entry yet; there is one after a prefill."""
        assert self.request.pending is not None
        return self.request.pending

    @torch.inference_mode()
    def prefill(
        self,
        ids: Sequence[int],
        image: Tensor,
        sampling: Sampling,
        prune: Callable[[], Pruning] | None = None,
        deciding_ids: Ids = (),
    ) -> int:
        """Go on from the longest prefix of `ids` that was read already, and choose the id that follows them.

        Where it raises, the cache is as it was.

        Args:
            ids: a transcript with a new prompt.
            image: what stands for the image's id, (m, d).
            sampling: how this and the next ids are chosen.
            prune: what leaves inside the decoder; called where the image is read.
            deciding_ids: that decide it; a cache that others decided is not reused.
        Returns:
            number of tokens that were read, those of the image included where they were.
        Raises:
            NumericalError: the logits are not finite.
        """
        request, shared = self.request, self._common_prefix(ids) if deciding_ids == self.deciding_ids else 0
        rewound = len(self.ids) - shared
        if self.model.image_token_id not in self.ids[:shared]:
            # no rewinding past the image: layers may differ in its entries
            request, shared, rewound = Request(pruning=prune() if prune else None), 0, 0
        embeds = self.model.embed_ids(ids[shared:], None if shared else image)
        with request.rewinding(rewound):
            request.sampling = sampling
            prefill(self.model.decoder, [request], [embeds])
        self.request, self.ids, self.deciding_ids = request, list(ids), deciding_ids
        return len(embeds)

    def _common_prefix(self, ids: Sequence[int]) -> int:
        """Length of the prefix that `ids` shares with what was read; the last of `ids` is always read."""
        shared = 0
        while shared < min(len(ids) - 1, len(self.ids)) and ids[shared] == self.ids[shared]:
            shared += 1
        return shared

    @torch.inference_mode()
    def step(self) -> int:
        """Read the pending id, and choose the next.

        Raises:
            NumericalError: the logits are not finite; the cache is as it was.
        """
        pending = self.pending
        next_id = step(self.model.decoder, [self.request])[0]
        self.ids.append(pending)
        return next_id
