"""The trainer learns, leaves the model as it was, and makes the same steps however it is run."""

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compressor.errors import DivergedError, InvalidOptionError, TrainingError
from compressor.evaluation.baselines import TopK
from compressor.methods.metacompress import MetaCompress
from compressor.training import teacher_cache, trainer
from compressor.training.settings import TrainingSettings
from compressor.world import scenes

SETTINGS = TrainingSettings(
    steps=6,
    batch=4,
    micro_batch=4,
    rates=(0.9, 0.95),
    validate_every=3,
    save_every=2,
    lambda_entropy=0.03,
    lambda_collapse=0.1,
)


@pytest.fixture
def make(tiny, samples, accelerator, tmp_path):
    def made(settings=SETTINGS, folder="run", learned=samples, checks=None, **about):
        generator = MetaCompress.create(tiny, d_c=8, pool="average")
        checks = checks or [samples[i] for i in range(4)]
        place = tmp_path / folder
        return trainer.Trainer(tiny, generator, learned, checks, settings, place, accelerator, about)

    return made


class Killed(BaseException):
    """A process that is gone."""


class KilledAt:
    """A progress bar that ends the process after some steps."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def update(self, count: int) -> None:
        self.left -= count
        if not self.left:
            raise Killed

    def set_postfix(self, **figures: float) -> None:
        pass


def test_training_lowers_the_loss_and_keeps_the_model(tiny, samples, make) -> None:
    before = {name: value.clone() for name, value in tiny.hf.state_dict().items()}
    run = make(replace(SETTINGS, steps=40, batch=6, micro_batch=6, rates=(0.95,), validate_every=20))

    def loss() -> float:
        with torch.no_grad():
            return float(trainer.loss_terms(tiny, run.generator, list(samples), 0.95)["prediction"])

    start = loss()
    best = run.fit()
    assert loss() < 0.9 * start
    assert best.step in (20, 40)
    assert all(torch.equal(value, before[name]) for name, value in tiny.hf.state_dict().items())


def test_an_uncompressed_student_has_no_prediction_loss(tiny, samples) -> None:
    def identity(images, budget):
        return torch.eye(images.shape[1])[None]

    terms = trainer.loss_terms(tiny, identity, [samples[0], samples[1]], 0.0)
    assert terms["prediction"] < 1e-6
    assert terms["entropy"] == 0
    assert terms["collapse"] == 1


@pytest.mark.parametrize("stop", [1, 2, 3, 5])
def test_a_killed_run_goes_on_to_the_same_weights_and_log(make, tmp_path, stop: int) -> None:
    whole = make(folder="whole")
    whole.fit()
    with pytest.raises(Killed):
        make(folder="cut").fit(KilledAt(stop))
    with (tmp_path / "cut" / "log.jsonl").open("a") as file:
        file.write('{"step": 99, "predic')  # the line that was being written
    again = make(folder="cut")
    assert again.step == (stop - 1) // 2 * 2
    best = again.fit()
    for one, other in zip(again.generator.parameters(), whole.generator.parameters(), strict=True):
        assert torch.equal(one, other)
    assert best.step == whole.best.step
    logs = [(tmp_path / name / "log.jsonl").read_text() for name in ("whole", "cut")]
    assert logs[0] == logs[1]


def test_the_best_state_in_validation_is_given_back(make, tmp_path) -> None:
    run = make(replace(SETTINGS, lr=0.3, warmup=0, validate_every=1))  # so fast that it gets worse
    best = run.fit()
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    checks = {line["step"]: line["mean"] for line in lines[1:] if "validation" in line}
    assert best.step == min(checks, key=checks.get)
    assert best.step < SETTINGS.steps
    run._validate()
    assert run.best.step == best.step
    assert run.best.loss == pytest.approx(checks[best.step], rel=1e-6)


@pytest.mark.parametrize("change", [{"micro_batch": 1}, {"micro_batch": 3}, {"checkpointing": True}])
def test_how_a_batch_is_split_changes_no_step(make, change: dict) -> None:
    runs = [make(folder="one"), make(replace(SETTINGS, **change), folder="other")]
    for run in runs:
        run.fit()
    for one, other in zip(*(run.generator.parameters() for run in runs), strict=True):
        assert torch.allclose(one, other, atol=1e-6)


@pytest.fixture(scope="module")
def uneven(tiny, tmp_path_factory):
    """Four samples whose responses differ in length, beyond what a wrong weight could hide in."""
    asked = [scenes.dialogue(i, turns=turns) for i, turns in enumerate((1, 6, 1, 3))]
    samples = teacher_cache.build_teacher_cache(tiny, asked, tmp_path_factory.mktemp("frozen"))
    lengths = [len(sample.teacher) for sample in samples]
    assert max(lengths) >= 4 * min(lengths)
    return samples


@pytest.mark.parametrize("micro_batch", [1, 3])
def test_every_response_token_weighs_the_same_however_a_batch_is_split(make, uneven, micro_batch) -> None:
    runs = [
        make(replace(SETTINGS, micro_batch=size, clip_mode="none"), folder=str(size), learned=uneven)
        for size in (4, micro_batch)
    ]
    (whole, split) = ([run._update(), *(p.grad for p in run.parameters)] for run in runs)
    assert split[0] == pytest.approx(whole[0], rel=1e-5)
    for one, other in zip(split[1:], whole[1:], strict=True):
        assert (one - other).norm() < 1e-4 * other.norm()
    with torch.no_grad():
        parts = [
            float(
                trainer.loss_terms(runs[0].model, make(folder="new").generator, [s], whole[0]["rate"])[
                    "prediction"
                ]
            )
            for s in uneven
        ]
    counts = [len(sample.teacher) for sample in uneven]
    assert whole[0]["prediction"] == pytest.approx(np.average(parts, weights=counts), rel=1e-4)
    assert whole[0]["prediction"] != pytest.approx(np.mean(parts), rel=1e-2)


@pytest.mark.parametrize("micro_batch", [1, 3])
def test_every_response_token_of_validation_weighs_the_same(make, uneven, micro_batch) -> None:
    losses = []
    for size in (4, micro_batch):
        run = make(replace(SETTINGS, micro_batch=size), folder=str(size), learned=uneven, checks=uneven)
        run._validate()
        losses.append(run.best.losses)
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


def test_the_first_update_is_made_at_the_first_rate_of_the_warm_up(make) -> None:
    run = make(replace(SETTINGS, optimizer="sgd", clip_mode="none", warmup=4, lr=0.1))
    for step in range(1, 4):
        before = [p.detach().clone() for p in run.parameters]
        run.advance()
        for old, new in zip(before, run.parameters, strict=True):
            assert torch.allclose(new, old - 0.1 * step / 4 * new.grad, atol=1e-7)
            assert not torch.equal(new, old)


@pytest.mark.parametrize("clip_mode", ["norm", "value", "none"])
def test_the_gradient_is_clipped_as_asked(make, clip_mode: str) -> None:
    run = make(replace(SETTINGS, clip_mode=clip_mode, max_grad=1e-3))
    line = run._update()
    gradients = torch.cat([p.grad.flatten() for p in run.parameters])
    assert line["gradient_norm"] > 1e-2
    if clip_mode == "norm":
        assert gradients.norm() == pytest.approx(1e-3, rel=1e-3)
    elif clip_mode == "value":
        assert gradients.abs().max() <= 1e-3
        assert gradients.norm() > 1e-3
    else:
        assert gradients.norm() == pytest.approx(line["gradient_norm"], rel=1e-5)


def test_plain_sgd_is_the_gradient_times_the_rate(make) -> None:
    run = make(replace(SETTINGS, optimizer="sgd", clip_mode="none", warmup=0))
    before = [p.detach().clone() for p in run.parameters]
    run._update()
    for old, new in zip(before, run.parameters, strict=True):
        assert torch.allclose(new, old - SETTINGS.lr * new.grad, atol=1e-9)


@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 5))
def test_every_epoch_reads_every_dialogue_once(total: int, batch: int, seed: int) -> None:
    settings = TrainingSettings(batch=batch, rates=(0.5, 0.9), seed=seed)
    rows = []
    for step in range(-(-3 * total // batch)):
        some, rate = trainer.draw_step(step, total, settings)
        assert len(some) == batch
        assert rate in settings.rates
        rows += some
    for epoch in range(3):
        assert Counter(rows[epoch * total : (epoch + 1) * total]) == Counter(range(total))


def test_other_settings_or_fields_do_not_continue_a_run(make) -> None:
    make(pool="max", dtype="float32").fit()
    assert make(pool="max", dtype="float32").step == SETTINGS.steps
    with pytest.raises(TrainingError, match=r"holds a run with lr 0\.001, not 1\.0; give another folder"):
        make(replace(SETTINGS, lr=1.0), pool="max", dtype="float32")
    with pytest.raises(TrainingError, match="with pool max, not average, and dtype float32, not float16;"):
        make(pool="average", dtype="float16")


def test_a_checkpoint_of_an_older_version_is_refused(make, tmp_path) -> None:
    make(folder="run").fit()
    path = tmp_path / "run" / trainer.CHECKPOINT
    state = torch.load(path, weights_only=True)
    torch.save({**state, "about": {"model": "tiny", "settings": state["about"]["settings"]}}, path)
    with pytest.raises(TrainingError, match="older version, which did not write down pool; give another"):
        make(folder="run", pool="max")


def test_numbers_that_are_not_finite_end_the_run(make) -> None:
    run = make()
    with torch.no_grad():
        run.generator.query.fill_(float("nan"))
    with pytest.raises(DivergedError, match="step 1"):
        run.fit()


def test_a_batch_must_be_shared_evenly(tiny, samples, tmp_path) -> None:
    class Three:
        num_processes, process_index, is_main_process = 3, 0, True

    with pytest.raises(InvalidOptionError, match="3 processes"):
        trainer.Trainer(tiny, MetaCompress.create(tiny), samples, samples, SETTINGS, tmp_path, Three(), {})


def test_top_k_gets_gradients_through_its_choice(tiny, samples) -> None:
    generator = TopK(tiny.width, len(samples[0].image))
    trainer.loss_terms(tiny, generator, [samples[i] for i in range(4)], 0.9)["prediction"].backward()
    assert all(torch.isfinite(p.grad).all() for p in generator.parameters())
    assert float(generator.score[0].weight.grad.abs().max()) > 0
    weights = generator(samples[0].image[None], 26)
    assert weights.shape == (1, 26, 256)
    assert torch.allclose(weights.sum(-1), torch.ones(1, 26))
