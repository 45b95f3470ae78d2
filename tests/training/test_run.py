"""A run resumes from its checkpoint file, which holds the whole state or is not there."""

import pytest
import torch
from torch import nn

from compressor.training.run import ResumableRun


@pytest.fixture
def make(tmp_path):
    def make() -> ResumableRun:
        module = nn.Linear(2, 2)
        return ResumableRun(
            tmp_path / "new" / "stage.pt", {"model": module}, torch.optim.AdamW(module.parameters())
        )

    return make


def advance(run: ResumableRun) -> None:
    run.set_learning_rate(0.1)
    run.optimizer.zero_grad()
    run.modules["model"](torch.ones(1, 2)).sum().backward()
    run.optimizer.step()
    run.step += 1


def test_a_resumed_run_makes_the_same_updates(make) -> None:
    one, other = make(), make()
    assert one.resume() == {}
    advance(one)
    one.save(seconds=2.5)
    assert [path.name for path in one.path.parent.iterdir()] == ["stage.pt"]
    assert other.resume() == {"seconds": 2.5}
    assert other.step == 1
    for run in (one, other):
        advance(run)
    assert torch.equal(one.modules["model"].weight, other.modules["model"].weight)


def test_a_refused_checkpoint_changes_nothing(make) -> None:
    one, other = make(), make()
    advance(one)
    one.save(about="one")
    before = other.modules["model"].weight.clone()

    def refuse(state) -> None:
        raise ValueError(state["about"])

    with pytest.raises(ValueError, match="one"):
        other.resume(check=refuse)
    assert other.step == 0
    assert torch.equal(other.modules["model"].weight, before)


def test_a_checkpoint_of_the_first_format_of_a_bundled_stage_resumes(make, tmp_path) -> None:
    """Modules by name beside "optimizer", "step" and "seconds"; the optimizer may be missing."""
    run, weights = make(), {"weight": torch.full((2, 2), 3.0), "bias": torch.zeros(2)}
    torch.save({"model": weights, "step": 7, "seconds": 9.0}, run.path)
    assert run.resume() == {"seconds": 9.0}
    assert run.step == 7
    assert torch.equal(run.modules["model"].weight, weights["weight"])
