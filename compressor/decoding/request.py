"""A sequence that is being decoded: how its tokens are chosen, and where its cache entries are."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor

from compressor.decoding.cache import Cache
from compressor.decoding.pruning import Pruning


@dataclass
class Sampling:
    """How the next token is chosen.

    Args:
        temperature: 0 takes the most probable token.
        top_p: smallest set of tokens with this probability to draw from, in (0, 1].
        generator: of the draw, on the CPU; one of its own, as torch makes it, where none is given.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    generator: torch.Generator = field(default_factory=torch.Generator)

    def choose(self, logits: Tensor) -> int:
        """The next id.

        Args:
            logits: (vocabulary,).
        """
        if self.temperature == 0:
            return int(logits.argmax())
        p = (logits.float().cpu() / self.temperature).softmax(-1)
        values, ids = p.sort(descending=True, stable=True)
        values[values.cumsum(-1) - values >= self.top_p] = 0.0  # the first always stays
        return int(ids[torch.multinomial(values, 1, generator=self.generator)])


@dataclass(eq=False)
class Request:
    """One sequence being decoded.

    Args:
        sampling: how its tokens are chosen.
        pruning: takes effect in the first prefill.
    Attributes:
        pending: the last chosen id, which has no cache entry yet.
        logits: (vocabulary,), what it was chosen from.
        position: the next absolute position.
        cache: where its entries are; None before the first prefill.
        row: of the cache.
    """

    sampling: Sampling = field(default_factory=Sampling)
    pruning: Pruning | None = None
    pending: int | None = None
    logits: Tensor | None = None
    position: int = 0
    cache: Cache | None = None
    row: int = 0

    @property
    def cache_bytes(self) -> int:
        """Bytes of keys and values in use."""
        return 0 if self.cache is None else self.cache.size_bytes(self.row)

    def rewind(self, count: int) -> None:
        """Remove the last entries of every layer; they must be text, which no layer drops.

        Args:
            count: number of entries.
        """
        if self.cache is not None:
            self.cache.rewind(self.row, count)
        self.position -= count
        self.pending = self.logits = None

    @contextmanager
    def rewinding(self, count: int) -> Iterator[None]:
        """`rewind` while a block runs, and afterwards unless it raised.

        Args:
            count: entries of every layer to remove.
        """
        attributes = dict(vars(self))
        with nullcontext() if self.cache is None else self.cache.rewinding(self.row, count):
            self.position -= count
            self.pending = self.logits = None
            try:
                yield
            except BaseException:
                vars(self).update(attributes)
                raise


def shared_cache(requests: Sequence[Request], layers: int) -> Cache:
    """The cache whose rows are exactly these requests, copied from their own ones where there is none.

    Args:
        requests: to be read together.
        layers: number of layers of the decoder.
    """
    cache = requests[0].cache
    if cache is not None and [(r.cache is cache, r.row) for r in requests] == [
        (True, row) for row in range(cache.rows)
    ]:
        return cache
    return Cache.gather([(request.cache or Cache(layers, 1), request.row) for request in requests])
