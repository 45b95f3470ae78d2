"""How many steps a second training makes, and where their time goes."""

import time
from dataclasses import dataclass

import torch
from torch.profiler import ProfilerActivity, profile

from compressor.training.trainer import PARTS, Trainer


@dataclass(frozen=True)
class StepTimes:
    """What was measured.

    Args:
        steps_per_second: without a profiler.
        shares: of a step's time, by part; the rest is what no part covers, such as building the loss.
    """

    steps_per_second: float
    shares: dict[str, float]


def step_times(run: Trainer, steps: int = 20) -> StepTimes:
    """Times further steps of a run, which trains on meanwhile.

    Args:
        run: of this process.
        steps: to be timed, and as many again under the profiler.
    """
    device = run.model.device

    def go_on() -> float:
        since = time.perf_counter()
        for _ in range(steps):
            run.advance()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - since

    run.advance()  # the first one allocates
    seconds = go_on()
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
    with profile(activities=activities) as record:
        profiled = go_on()
    kind = "device_time_total" if device.type == "cuda" else "cpu_time_total"
    spent = {event.key: getattr(event, kind) * 1e-6 for event in record.key_averages() if event.key in PARTS}
    return StepTimes(steps / seconds, {part: spent.get(part, 0.0) / profiled for part in PARTS})
