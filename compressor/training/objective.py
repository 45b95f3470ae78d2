"""The three terms of MetaCompress's training objective (section 5, equation 10)."""

import torch
from torch import Tensor


def prediction_loss(teacher_logits: Tensor, student_logits: Tensor) -> Tensor:
    """L_pred = KL(p || p~) in nats, averaged over the T response tokens.

    Args:
        teacher_logits: of the uncompressed model, (T, V).
        student_logits: of the compressed model on the same response tokens, (T, V).
    """
    teacher, student = teacher_logits.log_softmax(-1), student_logits.log_softmax(-1)
    return (teacher.exp() * (teacher - student)).sum(-1).mean()


def entropy_loss(weights: Tensor) -> Tensor:
    """L_entropy = (1/m) sum_i H(P_i) in nats, for P (..., m, n); an entry of 0 adds 0 and has gradient 0."""
    logs = torch.where(weights > 0, weights, torch.ones_like(weights)).log()
    return -(weights * logs).sum(-1).mean()


def collapse_loss(weights: Tensor) -> Tensor:
    """L_collapse = max_j sum_i P_ij for P (..., m, n): the busiest token's load, the mean over a batch."""
    return weights.sum(-2).amax(-1).mean()
