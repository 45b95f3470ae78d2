"""Visual token compression for vision-language models: the public names.

Names are imported when first used, so that importing the package costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

if TYPE_CHECKING:
    from compressor.chat.session import ChatSession
    from compressor.chat.turns import ChatTurn, TurnStats
    from compressor.geometry import TokenLayout
    from compressor.methods.registry import MethodInfo, get_method, list_methods
    from compressor.models.base import VisionLanguageModel
    from compressor.models.catalog import ModelCard, Option, list_models, model_options
    from compressor.models.loading.checkpoint import card_of
    from compressor.models.loading.load import load_model
    from compressor.models.loading.memory import MemoryCheck, best_load_options, check_memory
    from compressor.projection import Projection, token_budget
    from compressor.tokens import ImageTokens

_HOMES = {
    "load_model": "compressor.models.loading.load",
    "list_models": "compressor.models.catalog",
    "get_method": "compressor.methods.registry",
    "list_methods": "compressor.methods.registry",
    "ChatSession": "compressor.chat.session",
    "Projection": "compressor.projection",
    "ImageTokens": "compressor.tokens",
    "TokenLayout": "compressor.geometry",
    "ChatTurn": "compressor.chat.turns",
    "TurnStats": "compressor.chat.turns",
    "MethodInfo": "compressor.methods.registry",
    "ModelCard": "compressor.models.catalog",
    "Option": "compressor.models.catalog",
    "model_options": "compressor.models.catalog",
    "MemoryCheck": "compressor.models.loading.memory",
    "best_load_options": "compressor.models.loading.memory",
    "card_of": "compressor.models.loading.checkpoint",
    "check_memory": "compressor.models.loading.memory",
    "VisionLanguageModel": "compressor.models.base",
    "token_budget": "compressor.projection",
}
__all__ = [
    "ChatSession",
    "ChatTurn",
    "ImageTokens",
    "MemoryCheck",
    "MethodInfo",
    "ModelCard",
    "Option",
    "Projection",
    "TokenLayout",
    "TurnStats",
    "VisionLanguageModel",
    "best_load_options",
    "card_of",
    "check_memory",
    "get_method",
    "list_methods",
    "list_models",
    "load_model",
    "model_options",
    "token_budget",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
