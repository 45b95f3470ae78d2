"""The parts of a step are all seen, and are most of it."""

from compressor.methods.metacompress import MetaCompress
from compressor.training.settings import TrainingSettings
from compressor.training.speed import step_times
from compressor.training.trainer import PARTS, Trainer


def test_every_part_of_a_step_is_timed(tiny, samples, accelerator, tmp_path) -> None:
    settings = TrainingSettings(batch=4, micro_batch=4, rates=(0.9,))
    generator = MetaCompress.create(tiny, d_c=8)
    run = Trainer(tiny, generator, samples, [samples[0]], settings, tmp_path, accelerator, {})
    found = step_times(run, steps=3)
    assert run.step == 7
    assert found.steps_per_second > 0
    assert tuple(found.shares) == PARTS
    assert all(0 < share < 1 for share in found.shares.values())
    assert 0.5 < sum(found.shares.values()) < 1.02
