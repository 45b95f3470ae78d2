"""The published sizes of the family, for models with random weights."""

from functools import partial

from transformers import CLIPImageProcessorPil, LlavaConfig

from compressor.models.families.clip_llava_random import CLIP_L_336, VICUNA_7B, VICUNA_13B, random_clip_llava
from compressor.models.families.llava.model import Llava

build = partial(random_clip_llava, Llava, LlavaConfig, CLIPImageProcessorPil)
BUILDERS = {
    "llava-1.5-7b": partial(build, VICUNA_7B, CLIP_L_336),
    "llava-1.5-13b": partial(build, VICUNA_13B, CLIP_L_336),
}
