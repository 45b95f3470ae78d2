"""How much memory training will take: an estimate by formula, for planning; what is measured may differ."""

from dataclasses import dataclass
from typing import Any

from compressor.projection import token_budget
from compressor.training.settings import TrainingSettings
from compressor.training.teacher_cache import SHARD

ADAM = 16  # bytes per trained number in float32: itself, its gradient and two moments
LOGITS = 8  # copies of (T, V) that live at once: logits, log-probabilities and their gradients, twice


@dataclass(frozen=True)
class MemoryEstimate:
    """Estimated bytes.

    Args:
        weights: of the frozen model.
        compressor: W_q, W_k and beta with their gradients and AdamW's moments.
        preparation: the largest forward pass of the teacher.
        step: the largest forward and backward pass of the student.
    """

    weights: int
    compressor: int
    preparation: int
    step: int

    @property
    def total(self) -> int:
        """At the worst moment; preparation and steps never run together."""
        return self.weights + self.compressor + max(self.preparation, self.step)


def estimate(
    config: Any,
    weights: int,
    settings: TrainingSettings,
    *,
    n: int,
    text: int,
    responses: int,
    d_c: int = 64,
    itemsize: int = 2,
) -> MemoryEstimate:
    """Memory of a training run on a Llama-like language model, as an estimate.

    Without checkpointing, every layer keeps queries, keys, values and output of its attention, three
    activations of its feed-forward part, and what its two norms read in float32. With it, every layer keeps
    its input, and one layer at a time all of that.

    Args:
        config: of the language model (hidden_size, intermediate_size, ...).
        weights: bytes of the whole frozen model.
        settings: of the run.
        n: image tokens.
        text: further tokens per dialogue.
        responses: response tokens among `text`.
        d_c: compression width.
        itemsize: bytes of a number in the model.
    """
    d, ff, layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    heads, groups = config.num_attention_heads, config.num_key_value_heads
    m = max(token_budget(n, rate) for rate in settings.rates)
    batch = min(settings.micro_batch, settings.batch)
    kept = itemsize * (2 * d + 2 * d * groups // heads + 3 * ff) + 8 * d + 4 * heads + 8
    passing = itemsize * (3 * ff + d) + 8 * d  # gradients on their way through a layer
    tokens = m + text
    logits = LOGITS * 4 * responses * config.vocab_size
    projection = 4 * (2 * m * n + 2 * n * d + 4 * m * d)  # P and scores; X and Xp; windows and P X
    if settings.checkpointing:
        held, moment = layers * itemsize * d, kept + passing
    else:
        held, moment = layers * kept, passing
    return MemoryEstimate(
        weights=weights,
        compressor=ADAM * (2 * d * d_c + d_c),
        preparation=SHARD * (n + text) * itemsize * (3 * ff + 6 * d),
        step=batch * (tokens * held + projection + max(tokens * moment, logits)),
    )
