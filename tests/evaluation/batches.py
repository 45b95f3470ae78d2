"""Small batches of questions about pictures of noise."""

from compressor import get_method, list_methods
from compressor.evaluation.workload import Batch, Workload, random_images, random_prompt

METHODS = [info.name for info in list_methods()]


def batch_of(model, name, rate=0.7, new_tokens=4, batch=2, size=(90, 60)):
    """Prompts of 9 tokens to a model, under the method of this name."""
    workload = Workload(batch, 9, new_tokens, size)
    views, prompt = model.prepare(random_images(workload)), random_prompt(model, workload)
    return Batch(model, get_method(name, model=model), rate, views, prompt, new_tokens)
