"""Token reduction is a matrix: P (m, n), no negative entry, turns n tokens into m."""

import json
from dataclasses import InitVar, dataclass
from functools import cached_property
from numbers import Real
from pathlib import Path
from typing import BinaryIO, Literal, get_args
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from compressor.errors import InvalidProjectionError, InvalidRateError
from compressor.geometry import TokenGrid, TokenLayout
from compressor.options import describe

Stage = Literal["vision", "embedding", "decoder"]
Role = Literal["kept", "merged", "pruned"]


def token_budget(n: int, rate: float) -> int:
    """Number of tokens m that a compression rate leaves of n: max(1, round(n * (1 - rate))).

    Args:
        n: tokens of the image, at least 1.
        rate: share of the tokens to remove, in [0, 1).
    Raises:
        InvalidRateError: the rate is not a number in [0, 1), or there is no token.
    Source: MetaCompress, section 3.
    """
    is_number = isinstance(rate, Real) and not isinstance(rate, bool)
    if not (is_number and 0 <= rate < 1):  # NaN fails too
        text = rate if is_number else describe(rate)
        raise InvalidRateError(f"The compression rate must be at least 0 and below 1, not {text}.")
    if n < 1:
        raise InvalidRateError(f"An image has at least one token, not {n}.")
    return max(1, round(n * (1 - float(rate))))


@dataclass(frozen=True, eq=False)
class Projection:
    """The matrix that a method applied to an image's tokens.

    Args:
        weights: P, (m, n) float32, still part of its graph where a method was trained through.
        layout: where the n columns lie in the image.
        stage: where P acts: on the encoder's output, the projector's output, or inside the decoder.
        trusted: skip the checks of the values, which would synchronise with the device in the middle of the
            time to the first token; see `require_valid`.
    Raises:
        InvalidProjectionError: P is not a finite, non-negative (m, n) matrix with m >= 1 and n = len(layout).
    """

    weights: Tensor
    layout: TokenLayout
    stage: Stage = "embedding"
    trusted: InitVar[bool] = False

    def __post_init__(self, trusted: bool) -> None:
        object.__setattr__(self, "weights", self.weights.to(torch.float32))
        values = self.weights
        if values.ndim != 2 or values.shape[0] < 1:
            raise InvalidProjectionError(f"P must be a matrix of m >= 1 rows, not {tuple(values.shape)}.")
        if values.shape[1] != len(self.layout):
            raise InvalidProjectionError(
                f"P has {values.shape[1]} columns but the image has {len(self.layout)} tokens."
            )
        if self.stage not in get_args(Stage):
            raise InvalidProjectionError(f"P acts at one of {get_args(Stage)}, not at {self.stage!r}.")
        if not trusted:
            self.require_valid()

    def require_valid(self) -> None:
        """Check that all entries are finite and not negative. Synchronises with the device.

        Raises:
            InvalidProjectionError: one is negative or not finite.
        """
        low, high = torch.aminmax(self.weights.detach())  # both NaN where one entry is
        if not bool((low >= 0) & (high < torch.inf)):
            raise InvalidProjectionError("P must hold finite numbers that are not negative.")

    @classmethod
    def identity(
        cls, layout: TokenLayout, stage: Stage = "embedding", device: torch.device | None = None
    ) -> "Projection":
        """The P that changes nothing: every token is its own row.

        Args:
            layout: of the n tokens.
            stage: where P acts.
            device: of P; the CPU where None.
        """
        projection = cls(torch.eye(len(layout), device=device), layout, stage, trusted=True)
        projection.__dict__["is_identity"] = True  # known, so that nobody has to compare
        return projection

    def cpu(self) -> "Projection":
        """A copy on the CPU, apart from any graph."""
        return Projection(self.weights.detach().cpu(), self.layout, self.stage)

    @property
    def m(self) -> int:
        """Number of reduced tokens."""
        return self.weights.shape[0]

    @property
    def n(self) -> int:
        """Number of tokens before the reduction."""
        return self.weights.shape[1]

    @cached_property
    def is_identity(self) -> bool:
        """Whether P is exactly the unit matrix, so that applying it must not touch a bit."""
        if self.m != self.n:
            return False
        return torch.equal(self.weights.detach(), torch.eye(self.n, device=self.weights.device))

    def apply(self, x: Tensor) -> Tensor:
        """P X for tokens (n, d) -> (m, d), computed in float32 or better and returned in x's dtype.

        The identity returns x itself, and rows with a single 1 copy their token bit for bit.

        Args:
            x: the tokens, (n, d).
        Raises:
            InvalidProjectionError: there are not n of them.
        """
        if x.shape[0] != self.n:
            raise InvalidProjectionError(f"P has {self.n} columns but was given {x.shape[0]} tokens.")
        if self.is_identity:
            return x
        precision = torch.promote_types(x.dtype, torch.float32)
        return (self.weights.to(x.device, precision) @ x.to(precision)).to(x.dtype)

    def retention(self) -> Tensor:
        """How much of each token is read at all: the column sums of P, (n,), detached."""
        return self.weights.detach().sum(0)

    def entropy(self) -> Tensor:
        """Entropy of each row in nats, (m,), detached; rows are normalised for it, an empty row counts 0."""
        rows = self.weights.detach()
        rows = rows / rows.sum(1, keepdim=True).clamp_min(torch.finfo(rows.dtype).tiny)
        return torch.special.entr(rows).sum(1)

    def roles(self, share: float = 0.5, epsilon: float = 1e-3) -> list[Role]:
        """What became of each of the n tokens; computed once for each `share` and `epsilon`.

        Kept: the token is the largest source of some row and gives at least `share` of that row. Pruned: its
        column sum is below `epsilon` times the largest column sum. Merged: everything between.

        Args:
            share: of a row's sum, that a kept token gives at least.
            epsilon: of the largest column sum, below which a token is pruned.
        """
        if (share, epsilon) not in self._known_roles:
            self._known_roles[share, epsilon] = self._compute_roles(share, epsilon)
        return list(self._known_roles[share, epsilon])

    @cached_property
    def _known_roles(self) -> dict[tuple[float, float], list[Role]]:
        return {}

    def _compute_roles(self, share: float, epsilon: float) -> list[Role]:
        weights, retention = self.weights.detach(), self.retention()
        top, source = weights.max(1)
        kept = set(source[(top >= share * weights.sum(1)) & (top > 0)].tolist())
        pruned = ((retention == 0) | (retention < epsilon * retention.max())).tolist()
        return ["kept" if j in kept else "pruned" if pruned[j] else "merged" for j in range(self.n)]

    def save(self, path: str | Path | BinaryIO) -> None:
        """Write P, its stage and its layout as an .npz of plain arrays.

        Args:
            path: of the file, or a file that is open for binary writing.
        """
        layout = self.layout
        grids = [[grid.start, grid.rows, grid.columns, grid.stride] for grid in layout.grids]
        np.savez_compressed(
            path,
            weights=self.weights.detach().cpu().numpy(),
            boxes=layout.boxes,
            kinds=layout.kinds,
            meta=np.array(json.dumps({"stage": self.stage, "size": layout.size, "grids": grids})),
        )

    @classmethod
    def load(cls, path: str | Path | BinaryIO) -> "Projection":
        """Read what `save` wrote; nothing in the file is executed.

        Args:
            path: of the file, or a file that is open for binary reading.
        Raises:
            InvalidProjectionError: the file is not such an .npz, or P in it is not valid.
        """
        try:
            with np.load(path, allow_pickle=False) as archive:
                meta = json.loads(str(archive["meta"]))
                layout = TokenLayout(
                    boxes=archive["boxes"],
                    kinds=archive["kinds"],
                    size=(int(meta["size"][0]), int(meta["size"][1])),
                    grids=tuple(TokenGrid(*map(int, grid)) for grid in meta["grids"]),
                )
                weights, stage = torch.from_numpy(archive["weights"]), meta["stage"]
        except (
            OSError,
            EOFError,
            BadZipFile,
            ValueError,
            KeyError,
            TypeError,
            IndexError,
            AttributeError,
        ) as error:
            raise InvalidProjectionError("This file does not hold a saved projection (.npz).") from error
        return cls(weights, layout, stage)
