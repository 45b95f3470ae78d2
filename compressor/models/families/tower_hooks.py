"""What heuristics read of a vision encoder beyond its features, recorded by hooks on q_proj and k_proj.

The hooks stay in place and record only while `TowerHooks.recording` is active in the same thread of work, so
that two images can be encoded at once; attention itself keeps its fused kernel.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from torch import Tensor, nn

from compressor.errors import ModelMismatchError

OFFERED = frozenset({"features", "cls_attention", "keys", "queries"})


class TowerHooks:
    """Hooks on the two layers that methods ask about.

    Args:
        layers: of the encoder, each with `self_attn.q_proj` and `self_attn.k_proj`.
        feature_layer: index of the one whose output the projector reads.
        heads: of its attention.
        has_cls: whether the sequence begins with [CLS].
    """

    def __init__(self, layers: nn.ModuleList, feature_layer: int, heads: int, has_cls: bool) -> None:
        self.heads, self.has_cls = heads, has_cls
        self._sink: ContextVar[dict[str, Tensor] | None] = ContextVar("tower_sink", default=None)
        for name, layer in (("feature", layers[feature_layer]), ("last", layers[-1])):
            for part in ("q", "k"):
                projection = getattr(layer.self_attn, f"{part}_proj")
                projection.register_forward_hook(self._recorder(f"{name}_{part}"))

    def _recorder(self, name: str) -> Callable[[nn.Module, tuple, Tensor], None]:
        def record(module: nn.Module, inputs: tuple, output: Tensor) -> None:
            sink = self._sink.get()
            if sink is not None:
                sink[name] = output  # (B, n + 1, d_v)

        return record

    @contextmanager
    def recording(self, want: frozenset[str]) -> Iterator[dict[str, Tensor]]:
        """Collects the projections' outputs while it is open; empty where `want` needs none.

        Raises:
            ModelMismatchError: something is wanted that this encoder does not have.
        """
        unknown = want - OFFERED
        if unknown:
            raise ModelMismatchError(f"This model does not offer {', '.join(sorted(unknown))} to methods.")
        if want - {"features"} and not self.has_cls:
            raise ModelMismatchError(
                "This model's vision encoder has no [CLS] token, which the method reads; "
                "choose a method that does without, such as spatial, divprune or metacompress."
            )
        sink: dict[str, Tensor] = {}
        token = self._sink.set(sink if want - {"features"} else None)
        try:
            yield sink
        finally:
            self._sink.reset(token)

    def extras(
        self, sink: dict[str, Tensor], hidden: Tensor, want: frozenset[str], index: int
    ) -> dict[str, Tensor]:
        """The optional fields of `ImageTokens` for one image of the batch.

        Args:
            sink: what `recording` gave.
            hidden: output of the feature layer, [CLS] first, (B, n + 1, d_v).
            want: as for `recording`.
            index: of the image.
        """
        found: dict[str, Tensor] = {}
        if want & {"cls_attention", "keys"}:
            keys = sink["feature_k"][index].unflatten(-1, (self.heads, -1))  # (n + 1, heads, d_k)
        if "keys" in want:
            found["keys"] = keys
        if "cls_attention" in want:
            query = sink["feature_q"][index, 0].unflatten(-1, (self.heads, -1))  # (heads, d_k)
            scores = (keys.float() * query.float()).sum(-1) * query.shape[-1] ** -0.5
            found["cls_attention"] = scores.T.softmax(-1)
            found["cls_feature"] = hidden[index, 0]
        if "queries" in want:
            found |= {"last_queries": sink["last_q"][index], "last_keys": sink["last_k"][index]}
        return found
