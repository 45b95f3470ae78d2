"""The memory formula against what runs allocate."""

from dataclasses import replace

import pytest
import torch
from PIL import Image
from torch.profiler import ProfilerActivity, profile
from transformers import LlamaConfig

from compressor.dialogues import Dialogue, Turn
from compressor.methods.metacompress import MetaCompress
from compressor.training import teacher_cache, trainer
from compressor.training.memory import estimate
from compressor.training.settings import PAPER, TrainingSettings


def peak_bytes(work) -> int:
    """What the CPU allocator held at most, beyond what it held at the start."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        work()
    held = peak = 0
    for event in record.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return peak


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize(("batch", "rate"), [(4, 0.5), (8, 0.9), (16, 0.9)])
def test_a_step_allocates_about_what_is_estimated(
    tiny, samples, checkpointing: bool, batch: int, rate: float
) -> None:
    chosen = [samples[i] for i in range(batch)]
    generator = MetaCompress.create(tiny, pool="average")

    def step() -> None:
        terms = trainer.loss_terms(tiny, generator, chosen, rate, checkpointing)
        torch.stack(list(terms.values())).sum().backward()

    step()
    settings = TrainingSettings(batch=batch, micro_batch=batch, rates=(rate,), checkpointing=checkpointing)
    found = estimate(
        tiny.text_config,
        0,
        settings,
        n=len(samples[0].image),
        text=max(len(sample.text) for sample in chosen),
        responses=max(len(sample.teacher) for sample in chosen),
        itemsize=4,
    )
    assert 0.8 < found.step / peak_bytes(step) < 1.3


@pytest.mark.parametrize("checkpointing", [False, True])
def test_low_ranks_of_image_tokens_take_no_more(xcomposer, tmp_path, checkpointing: bool) -> None:
    """They are frozen, so that the backward pass needs nothing of what they computed."""
    image, turn = Image.effect_noise((400, 300), 90), Turn("How many cats are there?", "two red cats")
    asked = [Dialogue(lambda: image, (turn,), id=str(index)) for index in range(4)]
    samples = teacher_cache.build_teacher_cache(xcomposer, asked, tmp_path)
    chosen, generator = [samples[index] for index in range(4)], MetaCompress.create(xcomposer)

    def step() -> None:
        terms = trainer.loss_terms(xcomposer, generator, chosen, 0.9, checkpointing)
        torch.stack(list(terms.values())).sum().backward()

    step()
    found = estimate(
        xcomposer.text_config,
        0,
        TrainingSettings(batch=4, micro_batch=4, rates=(0.9,), checkpointing=checkpointing),
        n=len(chosen[0].image),
        text=len(chosen[0].text),
        responses=len(chosen[0].teacher),
        itemsize=4,
    )
    assert 0.8 < found.step / peak_bytes(step) < 1.3


def test_a_7b_model_is_estimated_to_train_on_24_gb() -> None:
    llama_7b = LlamaConfig(vocab_size=32064)  # the defaults are the 7B model's
    sizes = {"n": 576, "text": 128, "responses": 24}
    found = estimate(llama_7b, int(14.1e9), PAPER, **sizes)
    assert 15e9 < found.total < 24e9
    without = estimate(llama_7b, int(14.1e9), replace(PAPER, checkpointing=False), **sizes)
    assert without.step > 5 * found.step


def test_what_trains_is_small() -> None:
    llama_7b = LlamaConfig(vocab_size=32064)
    found = estimate(llama_7b, 0, PAPER, n=576, text=1, responses=1)
    generator = MetaCompress(4096, d_c=64)
    optimizer = torch.optim.AdamW(generator.parameters())
    sum(p.sum() for p in generator.parameters()).backward()
    optimizer.step()
    moments = [v for state in optimizer.state.values() for v in state.values() if v.ndim]
    held = [*generator.parameters(), *(p.grad for p in generator.parameters()), *moments]
    assert found.compressor == sum(value.numel() * value.element_size() for value in held)
