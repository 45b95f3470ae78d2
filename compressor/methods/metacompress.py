"""MetaCompress: P is generated from the image's own tokens by a small learned attention.

Xp = X + E_pos, Q = Pool(Xp) W_q, K = Xp W_k, P = softmax_rows(Q diag(beta) K^T / sqrt(d_c)).
Source: MetaCompress (CVPR 2026), section 5, equations 6-10, and supplement 8-9.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self, get_args

import numpy as np
import torch
from torch import Tensor, nn

from compressor import options
from compressor.assets import ASSETS
from compressor.errors import InvalidOptionError, InvalidRateError
from compressor.methods import weights_file
from compressor.methods.base import Method
from compressor.methods.similarity import nan_to_zero
from compressor.projection import Projection
from compressor.tokens import ImageTokens

Pool = Literal["max", "average"]
Positions = Literal["sinusoidal", "none"]
COMPRESSORS = ASSETS / "compressors"
SELF_LOGIT = 8.0


def pool_windows(n: int, m: int, kernel: int = 3, device: torch.device | None = None) -> Tensor:
    """Where the m pooling windows start, (m,) int64, in exact integer arithmetic.

    start_i = floor(i (n - kernel) / (m - 1)): the windows of torch's fractional max pooling with its random
    samples at 0, the last one flush right; a single one starts at n - kernel. For m > n - kernel + 1 the same
    formula holds and neighbouring windows may coincide; for n < kernel all start at 0 and are cut at the end.

    Args:
        n: tokens of the image.
        m: windows, 1 to n.
        kernel: tokens per window.
        device: of the result.
    Raises:
        InvalidRateError: m is outside 1 to n.
    Source: MetaCompress, supplement 8.2.
    """
    if not 1 <= m <= n or kernel < 1:
        raise InvalidRateError(f"{n} tokens can be pooled by 1 to {n} windows of at least 1 token, not {m}.")
    last = max(n - kernel, 0)
    return (
        torch.arange(m, device=device) * last // (m - 1) if m > 1 else torch.full((1,), last, device=device)
    )


def window_tokens(n: int, m: int, kernel: int = 3, device: torch.device | None = None) -> Tensor:
    """The tokens of each pooling window, (m, kernel) indices below n.

    Args:
        n: tokens of the image.
        m: windows, 1 to n.
        kernel: tokens per window.
        device: of the result.
    Raises:
        InvalidRateError: m is outside 1 to n.
    """
    starts = pool_windows(n, m, kernel, device)
    return (starts[:, None] + torch.arange(kernel, device=device)).clamp_max(n - 1)


class MetaCompress(nn.Module, Method):
    """The generator of P; one set of weights serves every rate and every number of tokens.

    Args:
        d: width of the language model's embeddings.
        d_c: compression width.
        pool: of the queries, "max" (supplement 8.2) or "average" (a second reading of the paper).
        positions: "sinusoidal" along the token sequence for any n, or "none".
        token_norm: typical norm of a token; sqrt(d) if not known.
        position_scale: norm of each position vector; `token_norm` if None.
        sigma_w: standard deviation of W_q = W_k at the start; None chooses it so that the expected logit of
            a token with itself, (|x|^2 + |e|^2) sigma_w^2 sqrt(d_c), is 8.
        seed: of the initial weights.
        model_name: the model whose tokens it reads.
    Raises:
        InvalidOptionError: the value of an option is of a wrong type or out of range.
    """

    name = "metacompress"
    title = "MetaCompress"
    description = (
        "A learned attention over the image's own tokens writes the matrix P. "
        "It never sees the question, so one compression serves the whole chat."
    )

    def __init__(
        self,
        d: int,
        d_c: int = 64,
        pool: Pool = "max",
        positions: Positions = "sinusoidal",
        *,
        token_norm: float | None = None,
        position_scale: float | None = None,
        sigma_w: float | None = None,
        seed: int = 0,
        model_name: str = "",
    ) -> None:
        super().__init__()
        options.choice("pool of MetaCompress", pool, get_args(Pool))
        options.choice("positions of MetaCompress", positions, get_args(Positions))
        options.whole_number("d of MetaCompress", d, 1)
        options.whole_number("d_c of MetaCompress", d_c, 1)
        options.seed("seed of MetaCompress", seed)
        if token_norm is not None:
            options.number("token_norm of MetaCompress", token_norm, 0, above=True)
        for name, value in (("position_scale", position_scale), ("sigma_w", sigma_w)):
            if value is not None:
                options.number(f"{name} of MetaCompress", value, 0)
        token_norm = math.sqrt(d) if token_norm is None else token_norm
        self.d, self.d_c, self.pool, self.position_kind = d, d_c, pool, positions
        self.position_scale = token_norm if position_scale is None else position_scale
        if sigma_w is None:
            square = token_norm**2 + (self.position_scale**2 if positions == "sinusoidal" else 0.0)
            sigma_w = math.sqrt(SELF_LOGIT / (square * math.sqrt(d_c)))
        self.sigma_w, self.model_name, self.trained = sigma_w, model_name, False
        start = torch.randn(d, d_c, generator=torch.Generator().manual_seed(seed)) * sigma_w
        self.query = nn.Parameter(start)
        self.key = nn.Parameter(start.clone())
        self.scale = nn.Parameter(torch.ones(d_c))
        self._table: Tensor | None = None  # the longest E_pos so far; a row does not depend on n

    @classmethod
    def create(cls, model: Any, **options: Any) -> Self:
        """The weights that ship for the model if there are any, else the initialisation from its token norms.

        Options describe another generator than the shipped one, so they always give an initialisation.

        Args:
            model: whose tokens are to be read.
            **options: of the generator, without its width.
        Raises:
            InvalidOptionError: no model was given, there is no such option, or a value is not allowed.
            ModelMismatchError: the weights that ship belong to another model.
        """
        if model is None:
            raise InvalidOptionError("MetaCompress reads a model's tokens: give get_method a model.")
        folder = COMPRESSORS / model.name
        if not options and weights_file.present(folder):
            return cls.load(folder, model_name=model.name, d=model.width).to(model.device)
        cls.require_options(options)
        generator = cls(model.width, **{"token_norm": model.token_norm, "model_name": model.name, **options})
        return generator.to(model.device)

    @classmethod
    def option_names(cls) -> list[str]:
        """All but the width, which is the model's."""
        return [name for name in super().option_names() if name != "d"]

    @property
    def label(self) -> str:
        """The name, with a warning where the weights are only an initialisation."""
        return self.title if self.trained else f"{self.title} (untrained)"

    def positions(self, n: int) -> Tensor:
        """E_pos, (n, d): sine and cosine along the sequence, every row of norm `position_scale`, or zeros.

        Args:
            n: tokens of the image.
        """
        if self.position_kind == "none":
            return self.query.new_zeros(n, self.d)
        table, query = self._table, self.query
        if table is None or len(table) < n or (table.device, table.dtype) != (query.device, query.dtype):
            with torch.inference_mode(False):  # training may read it later
                self._table = table = self._sinusoids(n)
        return table[:n]

    def _sinusoids(self, n: int) -> Tensor:
        """The table in float64 on the host, as not every device has that, then as the parameters are."""
        angles = np.arange(n)[:, None] / 10000.0 ** (np.arange(0, self.d, 2) / self.d)  # (n, ceil(d / 2))
        table = np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(n, -1)[:, : self.d]
        table *= self.position_scale / np.linalg.norm(table, axis=1, keepdims=True).clip(min=1e-12)
        if self.query.dtype == torch.float32:
            table = table.astype(np.float32)
        on_host = torch.from_numpy(table).to(self.query.dtype)
        if self.query.device.type == "cuda":
            on_host = on_host.pin_memory()  # from other memory, a copy is one that waits
        return on_host.to(self.query.device, non_blocking=True)

    def scores(self, embeddings: Tensor, budget: int) -> Tensor:
        """The logits of P before the softmax.

        Args:
            embeddings: (..., n, d), the projector's output; read in the parameters' dtype.
            budget: m.
        Returns:
            (..., m, n).
        """
        n = embeddings.shape[-2]
        x = embeddings.to(self.query.dtype) + self.positions(n)  # (..., n, d)
        windows = x[..., window_tokens(n, budget, device=x.device), :]  # (..., m, 3, d)
        pooled = windows.amax(-2) if self.pool == "max" else windows.mean(-2)
        q = (pooled @ self.query) * self.scale  # (..., m, d_c)
        return q @ (x @ self.key).mT / math.sqrt(self.d_c)

    def forward(self, embeddings: Tensor, budget: int) -> Tensor:
        """P for a batch of images, (..., m, n), whose rows sum to 1.

        Args:
            embeddings: (..., n, d), the projector's output.
            budget: m.
        """
        return self.scores(embeddings, budget).softmax(-1)

    def weights(self, tokens: ImageTokens, budget: int) -> Tensor:
        """P, (m, n), part of the graph of the parameters."""
        return self(nan_to_zero(tokens.embeddings), budget)

    def projections(self, tokens: Sequence[ImageTokens], budgets: Sequence[int]) -> list[Projection]:
        """As the base class does, with one pass for all images of as many tokens."""
        settings = [(len(image), budget) for image, budget in zip(tokens, budgets, strict=True)]
        projections: dict[int, Projection] = {}
        for n, budget in dict.fromkeys(settings):
            places = [index for index, setting in enumerate(settings) if setting == (n, budget)]
            if len(places) == 1 or not 1 <= budget < n:
                projections |= {index: self.projection(tokens[index], budget) for index in places}
                continue
            weights = self(nan_to_zero(torch.stack([tokens[index].embeddings for index in places])), budget)
            for index, rows in zip(places, weights, strict=True):
                projections[index] = Projection(rows, self.layout(tokens[index]), self.stage, trusted=True)
        return [projections[index] for index in range(len(settings))]

    @property
    def config(self) -> dict[str, Any]:
        """The arguments of the constructor for a generator like this one, without its parameters."""
        return {
            "d": self.d,
            "d_c": self.d_c,
            "pool": self.pool,
            "positions": self.position_kind,
            "position_scale": self.position_scale,
            "sigma_w": self.sigma_w,
            "model_name": self.model_name,
        }

    def save(self, directory: str | Path, provenance: dict[str, Any]) -> None:
        """Write model.safetensors and config.json.

        Args:
            directory: made where it is missing.
            provenance: how the weights were trained.
        """
        config = {**self.config, "provenance": provenance}
        weights_file.write(Path(directory), self.state_dict(), config)

    @classmethod
    def load(cls, directory: str | Path, *, model_name: str | None = None, d: int | None = None) -> Self:
        """Read what `save` wrote.

        Args:
            directory: with model.safetensors and config.json.
            model_name: the model to be served; not checked where None.
            d: its width; not checked where None.
        Raises:
            ModelUnavailableError: files are missing or damaged.
            ModelMismatchError: the weights were made for another model or another width.
        """
        config, state = weights_file.read(Path(directory), model_name=model_name, d=d)
        generator = cls(**config)
        weights_file.fill(generator, state, Path(directory))
        generator.trained = True
        return generator
