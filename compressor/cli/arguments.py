"""What the commands share: how arguments are read, and how results are written beside their command."""

import argparse
import ast
import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compressor.errors import ImageError, InvalidOptionError

if TYPE_CHECKING:
    import torch
    from PIL import Image

    from compressor.methods.base import Method
    from compressor.models.base import VisionLanguageModel
    from compressor.models.catalog import Family


def names(text: str) -> list[str]:
    """Words separated by commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def rates(text: str) -> list[float]:
    """Numbers separated by commas."""
    return [float(rate) for rate in names(text)]


def build_method(text: str, model: "VisionLanguageModel") -> "Method":
    """A method for a model, by its name, or by name and options as in "visionzip:per_view=64".

    Args:
        text: name of the method, with its options if any.
        model: that the method is for.
    Raises:
        UnknownMethodError: there is no such method.
        InvalidOptionError: the method has no such option.
    """
    from compressor import get_method

    name, *options = text.split(":")
    return get_method(name, model=model, **dict(map(_option, options)))


def _option(text: str) -> tuple[str, Any]:
    """Name and value of "name=value"; a value that is no Python literal is text."""
    name, equals, value = text.partition("=")
    if not equals:
        raise InvalidOptionError(f"An option of a method is written name=value, not {text!r}.")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


def add_picture(parser: argparse.ArgumentParser) -> None:
    """Adds the picture and the questions about it."""
    parser.add_argument("image", help="image file, or scene:NUMBER for a generated scene")
    parser.add_argument(
        "--question",
        action="append",
        required=True,
        help="question about the image; repeat the option for further turns of the same chat",
    )


def open_picture(text: str) -> "Image.Image":
    """The picture that `add_picture` names.

    Raises:
        ImageError: the file cannot be read as a picture.
        InvalidOptionError: the number of the scene is not one.
    """
    from compressor.images.decoder import decode_image
    from compressor.world import scenes

    if text.startswith("scene:"):
        number = text.removeprefix("scene:")
        if not number.isdecimal():
            raise InvalidOptionError(f"A generated scene is written scene:NUMBER, not {text!r}.")
        return scenes.scene(int(number)).image
    try:
        data = Path(text).read_bytes()
    except OSError as error:
        raise ImageError(f"{text!r} cannot be read as a picture; check the path and the file.") from error
    return decode_image(data, upright=True)


def add_model(parser: argparse.ArgumentParser) -> None:
    """Adds the options that say which model is loaded, and how."""
    parser.add_argument(
        "--model", default="tiny", help="name in the catalog, directory of a checkpoint, or Hub repository"
    )
    add_dtype(parser, "dtype of the weights; the one that suits the device if not given")
    parser.add_argument("--four-bit", action="store_true", help="4-bit weights; needs bitsandbytes")
    parser.add_argument("--device-map", help="placement over several GPUs, such as auto or balanced")
    add_options(parser)


def add_dtype(parser: argparse.ArgumentParser, text: str) -> None:
    """Adds the option that says what a model computes in, with its help."""
    parser.add_argument("--dtype", choices=("float32", "float16", "bfloat16"), help=text)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that only models of some families have; what is not given is not passed on."""
    from compressor.models.catalog import FAMILIES

    for name in dict.fromkeys(name for family in FAMILIES.values() for name in family.options):
        having = [family for family in FAMILIES.values() if name in family.options]
        switch = isinstance(having[0].options[name].default, bool)
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            default=argparse.SUPPRESS,
            help="; ".join(_explained(family, name) for family in having),
            **({"action": "store_true"} if switch else {"type": int}),
        )


def _explained(family: "Family", name: str) -> str:
    option = family.options[name]
    return f"{option.title.lower()} ({family.title}): {option.description}"


def options_of(args: argparse.Namespace) -> dict[str, Any]:
    """The options of `add_options` that were given."""
    from compressor.models.catalog import FAMILIES

    known = {name for family in FAMILIES.values() for name in family.options}
    return {name: value for name, value in vars(args).items() if name in known}


def open_model(args: argparse.Namespace, device: "str | torch.device | None" = None) -> "VisionLanguageModel":
    """The model that the options of `add_model` say."""
    import torch

    from compressor import load_model

    return load_model(
        args.model,
        device,
        getattr(torch, args.dtype) if args.dtype else None,
        four_bit=args.four_bit,
        device_map=args.device_map,
        allow_hub=True,
        **options_of(args),
    )


def command_line(args: argparse.Namespace) -> str:
    """The command line of this run, recorded beside its results."""
    return shlex.join(["python", "-m", "compressor", *args.arguments])


def write_json(path: Path, data: Any) -> None:
    """Write results, indented, so that a change of them can be read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
