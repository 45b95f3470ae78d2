"""The methods by name: adding one is a module beside this one and a line here."""

from dataclasses import dataclass
from typing import Any

from compressor.errors import UnknownMethodError
from compressor.methods.base import Method
from compressor.methods.divprune import DivPrune
from compressor.methods.fastv import FastV
from compressor.methods.fixed import Fixed
from compressor.methods.metacompress import MetaCompress
from compressor.methods.prumerge import PruMerge, PruMergePlus
from compressor.methods.selection import Random, Sample, Uncompressed
from compressor.methods.separators import ReinsertSeparators
from compressor.methods.spatial import Spatial
from compressor.methods.tome import ToMe
from compressor.methods.visionzip import VisionZip
from compressor.options import choice
from compressor.projection import Stage

METHODS: dict[str, type[Method]] = {
    method.name: method
    for method in (
        Uncompressed,
        Random,
        Sample,
        Spatial,
        ToMe,
        PruMerge,
        PruMergePlus,
        VisionZip,
        DivPrune,
        FastV,
        MetaCompress,
        Fixed,
    )
}


@dataclass(frozen=True)
class MethodInfo:
    """What a page shows of a method before it is built."""

    name: str
    title: str
    description: str
    stage: Stage
    prompt_dependent: bool


def list_methods() -> list[MethodInfo]:
    """The methods that a model is enough to build, in the order in which to offer them."""
    return [
        MethodInfo(cls.name, cls.title, cls.description, cls.stage, cls.prompt_dependent)
        for cls in METHODS.values()
        if not cls.needs_input
    ]


def get_method(name: str, model: Any = None, *, separators: str = "compress", **options: Any) -> Method:
    """Build a method by name.

    Args:
        name: one of `list_methods()`, or "fixed", which needs its option `weights`.
        model: what `load_model` gives; learned methods need it.
        separators: what becomes of the tokens between rows and parts of an image: "compress" treats them like
            patches, as published; "reinsert" compresses the patches only (see `ReinsertSeparators`).
        **options: of the method, such as `seed` of "random".
    Raises:
        UnknownMethodError: no method has this name.
        InvalidOptionError: the method has no such option, a value is of a wrong type or out of range, or the
            model is missing.
    """
    if not isinstance(name, str) or name not in METHODS:
        raise UnknownMethodError(f"There is no method {name!r}; choose one of {', '.join(METHODS)}.")
    choice("separators", separators, ("compress", "reinsert"))
    method = METHODS[name].create(model, **options)
    return ReinsertSeparators(method) if separators == "reinsert" else method
