"""The model families and their models, as data: adding a family is a folder in families/ and an entry here.

`loading.memory` says which of them fit, `loading.load` loads them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from compressor.assets import ASSETS
from compressor.errors import InvalidOptionError
from compressor.models.loading.files import PICKLED, SAFETENSORS
from compressor.models.loading.repository_files import RepositoryFiles


@dataclass(frozen=True)
class Option:
    """A choice that a family leaves to whoever loads a model, or asks one for a variant of itself.

    Args:
        title: to show.
        description: what the value does, to show.
        default: where nothing is chosen; its type is that of every value.
        minimum: smallest value, of numbers.
        maximum: largest value, of numbers.
        of_squares: whether it changes what is seen of a square picture, too.
    """

    title: str
    description: str
    default: bool | int
    minimum: int = 0
    maximum: int = 0
    of_squares: bool = True

    def allows(self, value: object) -> bool:
        """Whether a value can be chosen."""
        if type(value) is not type(self.default):
            return False
        return isinstance(value, bool) or self.minimum <= value <= self.maximum


@dataclass(frozen=True)
class ModelCard:
    """What is known of a model before it is loaded.

    Args:
        name: in this catalog.
        title: to show.
        description: one or two sentences: what it is and what it is good at.
        family: its `model_type` in config.json.
        repository: on the Hub; empty where the files are here.
        licence: of the weights; empty where it is not known.
        image_tokens: n for one image; the largest number there is where it depends on the image, 0 where that
            is not known.
        memory_gb: of the weights with 16 bits each, by their shapes, as the next one is.
        four_bit_gb: of the weights in 4-bit; None where they are too small for it to be of use.
        precision: on a GPU that computes in it; float16 on others, and float32 on the CPU.
        revision: the commit of the repository; None is unpinned, its newest.
        notice: what a person should know before judging the answers; may be empty.
        generated_world: whether it knows the world of `compressor.world` alone, and its questions.
        recipe: of `compressor.training.bundled`, by which a bundled model was trained; empty for others.
            Compressors for a model that has one are trained by the settings for bundled models.
    """

    name: str
    title: str
    description: str
    family: str
    repository: str
    licence: str
    image_tokens: int
    memory_gb: float
    four_bit_gb: float | None = None
    precision: str = "bfloat16"
    revision: str | None = None
    notice: str = ""
    generated_world: bool = False
    recipe: str = ""


@dataclass(frozen=True)
class Family:
    """Models of one kind.

    Args:
        title: to show.
        folder: of its code, in families/.
        files: of a repository.
        packages: needed beyond those of every model, by the name they are installed under.
        parts: the `model_type` that parts of config.json must name where they name one.
        options: by name, those that its models have.
        cards: of its models.
    """

    title: str
    folder: str
    files: RepositoryFiles
    packages: tuple[str, ...] = ()
    parts: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Option] = field(default_factory=dict)
    cards: tuple[ModelCard, ...] = ()

    def require_options(self, given: Mapping[str, object]) -> None:
        """Refuse options that its models do not have, or values that they cannot take.

        Raises:
            InvalidOptionError: there is one.
        """
        for name, value in given.items():
            if name not in self.options:
                known = f"it has {', '.join(self.options)}" if self.options else "it has none"
                raise InvalidOptionError(f"{self.title} has no option {name!r}; {known}.")
            option = self.options[name]
            if not option.allows(value):
                span = f"a whole number from {option.minimum} to {option.maximum}"
                kind = "True or False" if isinstance(option.default, bool) else span
                raise InvalidOptionError(f"{name} of {self.title} must be {kind}, not {value!r}.")


def _available(card: ModelCard) -> bool:
    """Whether a model can be had: from the Hub, or because its files are here; one in training has none."""
    return bool(card.repository) or (ASSETS / "models" / card.name / "config.json").is_file()


_LLAMA_2 = "Llama 2 Community License"
_LLAVA_PARTS = {"text_config": "llama", "vision_config": "clip_vision_model"}
_LLAVA_FILES = RepositoryFiles(
    ("*.json", "model*.safetensors", "tokenizer.model", "*.jinja"),
    needed=(
        ("config.json",),
        ("preprocessor_config.json", "processor_config.json"),
        ("tokenizer_config.json",),
        ("tokenizer.json",),
    ),
    weights=(SAFETENSORS,),
    entries={"processor_config.json": "image_processor"},
)
FAMILIES: dict[str, Family] = {
    "llava": Family(
        "LLaVA-1.5",
        "llava",
        _LLAVA_FILES,
        parts=_LLAVA_PARTS,
        options={
            "crop": Option(
                "Middle square only",
                "the rest of the image is cut off, as the Hub's processor does, instead of padding the image",
                False,
                of_squares=False,
            )
        },
        cards=(
            ModelCard(
                "tiny",
                "Tiny LLaVA (bundled)",
                "A LLaVA of a few million parameters that knows a generated world of emoji. "
                "Good for seeing every method work, at once and anywhere.",
                "llava",
                "",
                "Apache-2.0",
                256,
                0.01,
                notice="This model knows only its own world, generated scenes of emoji on discs: "
                "its answers about photographs are meaningless.",
                generated_world=True,
                recipe="tiny",
            ),
            ModelCard(
                "small",
                "Small LLaVA (bundled)",
                "A LLaVA of five million parameters that chats in sentences about generated scenes of many "
                "small objects. Good for seeing what compression loses.",
                "llava",
                "",
                "Apache-2.0",
                576,
                0.01,
                notice="This model knows only its own world, generated scenes of emoji and signs: "
                "its answers about photographs are meaningless.",
                recipe="small",
            ),
            ModelCard(
                "llava-1.5-7b",
                "LLaVA-1.5 7B",
                "One square view of the image; the model of most of the paper's tables. "
                "Good for short answers about photographs.",
                "llava",
                "llava-hf/llava-1.5-7b-hf",
                _LLAMA_2,
                576,
                14.1,
                4.5,
            ),
            ModelCard(
                "llava-1.5-13b",
                "LLaVA-1.5 13B",
                "The larger LLaVA-1.5, with the same view of the image. "
                "Good where the 7B's answers fall short.",
                "llava",
                "llava-hf/llava-1.5-13b-hf",
                _LLAMA_2,
                576,
                26.7,
                7.9,
            ),
        ),
    ),
    "llava_next": Family(
        "LLaVA-NeXT",
        "llava_next",
        _LLAVA_FILES,
        parts=_LLAVA_PARTS,
        cards=(
            ModelCard(
                "llava-next-7b",
                "LLaVA-NeXT 7B",
                "Sees the whole image and up to four tiles of it. "
                "Good for small detail and text in pictures.",
                "llava_next",
                "llava-hf/llava-v1.6-vicuna-7b-hf",
                _LLAMA_2,
                2928,
                14.1,
                4.5,
            ),
            ModelCard(
                "llava-next-13b",
                "LLaVA-NeXT 13B",
                "The larger LLaVA-NeXT, with the same tiles. Good for small detail where the 7B falls short.",
                "llava_next",
                "llava-hf/llava-v1.6-vicuna-13b-hf",
                _LLAMA_2,
                2928,
                26.7,
                7.9,
            ),
        ),
    ),
    "internlm2": Family(
        "InternLM-XComposer-2.5",
        "xcomposer",
        RepositoryFiles(
            ("config.json", "tokenizer.model", "*.index.json", "model*.safetensors", "pytorch_model*.bin"),
            needed=(("config.json",), ("tokenizer.model",)),
            weights=(SAFETENSORS, PICKLED),
        ),
        packages=("sentencepiece",),
        options={
            "hd_num": Option(
                "Tiles at most",
                "more of them show finer detail and cost more tokens",
                24,
                minimum=1,
                maximum=24,
            )
        },
        cards=(
            ModelCard(
                "xcomposer-2.5-7b",
                "InternLM-XComposer-2.5 7B",
                "Sees an image in up to 24 tiles of 560 px. Good for documents, large pictures and videos.",
                "internlm2",
                "internlm/internlm-xcomposer2d5-7b",
                "other (see the model page)",
                10501,
                17.5,
                7.1,
            ),
        ),
    ),
}
CARDS: dict[str, ModelCard] = {
    card.name: card for family in FAMILIES.values() for card in family.cards if _available(card)
}


def list_models() -> list[ModelCard]:
    """The cards of all models in the catalog, the bundled ones first."""
    return list(CARDS.values())


def model_options() -> dict[str, Option]:
    """The options of all families by name; each model has those of its own family."""
    return {name: option for family in FAMILIES.values() for name, option in family.options.items()}
