"""A toy model: each square patch is one token, each byte of a text is another."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from compressor.errors import InvalidOptionError
from compressor.geometry.grids import patch_grid
from compressor.models.base import PreparedImages, VisionLanguageModel
from compressor.models.families.llama_decoder import llama_decoder
from compressor.models.loading.checkpoint import read_config
from compressor.tokens import ImageTokens

IMAGE, EOS, VOCABULARY = 256, 257, 258  # ids 0 to 255 are bytes


class ToyModel(VisionLanguageModel):
    """Patches of 8 x 8 px of the image, squashed to 32 x 32 px: 16 tokens."""

    family = "toy"  # the key of the catalog entry
    image_size, patch_size = 32, 8
    image_token_id, eos_id = IMAGE, EOS

    def __init__(self, config, *, name, device, dtype):
        self.name = name
        text = LlamaConfig(**config["text_config"], vocab_size=VOCABULARY, attn_implementation="sdpa")
        self.hf = LlamaForCausalLM(text)
        self.hf.projector = nn.Linear(3 * self.patch_size**2, text.hidden_size)  # features -> embeddings
        self.hf.to(device, dtype).eval().requires_grad_(False)
        self.projector = self.hf.projector
        self.text_config, self.vision_config = text, SimpleNamespace(**config)
        self.width, self.context_length = text.hidden_size, text.max_position_embeddings
        self.decoder = llama_decoder(self.hf.model, self.hf.lm_head)  # what the decoding loop reads

    def prepare(self, images):
        # on the host: pixels of every view, and the size of every image
        side = (self.image_size, self.image_size)
        arrays = [np.asarray(image.convert("RGB").resize(side)) / 255 for image in images]
        pixels = torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2)  # (views, 3, S, S)
        return PreparedImages(self.host_pixels(pixels), [image.size for image in images])

    def encode_prepared(self, prepared, want=frozenset()):
        # on the device: features (n, d_v), embeddings (n, d), and where each token lies in the image
        patches = nn.functional.unfold(prepared.pixels, self.patch_size, stride=self.patch_size)
        features = patches.transpose(1, 2).to(self.device)  # (views, n, d_v)
        shares = np.linspace(0, 1, self.image_size // self.patch_size + 1)
        layouts = [patch_grid(shares * size[0], shares * size[1], size) for size in prepared.sizes]
        embeddings = self.projector(features)
        return [ImageTokens(*parts) for parts in zip(features, embeddings, layouts, strict=True)]

    def prompt_ids(self, question, first):
        # the chat template; the image's id stands for all of its tokens
        return [*([IMAGE] if first else []), *f"Q: {question}\nA:".encode()]

    def unknown_words(self, text):
        return []  # bytes spell every word

    def decode(self, ids):
        return bytes(id_ for id_ in ids if id_ < IMAGE).decode(errors="replace").strip()


def load(directory: Path, *, name, device, dtype, four_bit=False, device_map=None) -> ToyModel:
    """What `load_model` calls."""
    if four_bit or device_map is not None:  # the other families pass them on to `load_pretrained`
        raise InvalidOptionError("A toy model needs neither 4 bits nor a device map; leave them out.")
    model = ToyModel(read_config(directory), name=name, device=device, dtype=dtype)
    model.hf.load_state_dict(load_file(directory / "model.safetensors"))
    return model
