"""The processes of one launch, of which each answers its share.

`accelerate launch --multi_gpu --num_processes N -m compressor evaluate ...` starts them, without a GPU too;
without `--multi_gpu` accelerate starts a single one where it finds no GPUs.
"""

from datetime import timedelta
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from accelerate import PartialState

PATIENCE = timedelta(days=7)  # shares differ, and whoever is done first waits for the others


def launched() -> "PartialState":
    """This process among its peers; alone where nothing was launched.

    Without a GPU they talk by gloo, which accelerate chooses only when told that the CPU is meant.
    """
    from accelerate import PartialState

    return PartialState(cpu=not torch.cuda.is_available(), timeout=PATIENCE)
