"""What one request must say, from whole forwards of the stock model."""

import torch


def alone(model, embeds, steps):
    """Logits (steps + 1, vocabulary) of one request, each from a whole stock forward without a cache."""
    rows = []
    for _ in range(steps + 1):
        with torch.no_grad():
            h = model.hf.model.language_model(inputs_embeds=embeds[None], use_cache=False).last_hidden_state
            rows.append(model.hf.lm_head(h[0, -1]))
            embeds = torch.cat([embeds, model.decoder.embed(rows[-1].argmax())[None]])
    return torch.stack(rows)
