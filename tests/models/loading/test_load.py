"""Checkpoints that are damaged, cut off or of something else: one typed sentence that says what to do."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from compressor import load_model
from compressor.errors import InvalidOptionError, ModelMismatchError, ModelUnavailableError, UnknownModelError
from compressor.models import catalog
from compressor.models.loading import load, memory
from compressor.models.loading.repository_files import CONFIG

HEAD = "language_model.lm_head.weight"


def reconfigure(directory, change):
    """Change the config of a checkpoint."""
    config = json.loads((directory / "config.json").read_text())
    change(config)
    (directory / "config.json").write_text(json.dumps(config))


@pytest.fixture
def copied(checkpoint, tmp_path):
    """A copy of the random LLaVA's directory, to be damaged."""
    return shutil.copytree(checkpoint, tmp_path / "copied")


def rewrite(directory, change):
    """Change the weights of a checkpoint."""
    weights = load_file(directory / "model.safetensors")
    change(weights)
    save_file(weights, directory / "model.safetensors", {"format": "pt"})


def test_a_local_directory_is_loaded(model, checkpoint):
    assert model.name == checkpoint.name and model.width == 48 and model.context_length == 256
    assert model.revision is None and model.dtype == torch.float32


def test_the_files_and_entries_of_the_hubs_repositories(copied, model, image):
    """Older than this transformers: a processor's config beside the image processor's, a template in JSON."""

    def as_published(config):
        config["image_token_index"] = config.pop("image_token_id", 4)
        config["text_config"].pop("rope_parameters", None)
        for part in (config, config["text_config"], config["vision_config"]):
            part["torch_dtype"] = part.pop("dtype", "float32")
        config |= {"ignore_index": -100, "pad_token_id": 3}

    reconfigure(copied, as_published)
    processor = {"image_token": "<image>", "patch_size": 14, "processor_class": "LlavaProcessor"}
    (copied / "processor_config.json").write_text(json.dumps(processor))
    template = {"chat_template": "{{ message['role'].upper() + ': ' }}{{ 'ASSISTANT:' }}"}
    (copied / "chat_template.json").write_text(json.dumps(template))
    published = load_model(copied, "cpu")
    assert torch.equal(published.encode(image).embeddings, model.encode(image).embeddings)
    assert published.prompt_ids("how many", first=True) == model.prompt_ids("how many", first=True)


def test_progress_is_told(checkpoint):
    told = []
    load_model(checkpoint, "cpu", progress=lambda *each: told.append(each))
    assert [text for _, text in told] == ["Reading the weights of random-llava", "random-llava is ready"]
    assert told[-1][0] == 1.0


@pytest.mark.parametrize("name", ["nope", "", "/nowhere/at/all", "owner/model"])
def test_unknown_names(name):
    with pytest.raises(UnknownModelError, match="tiny"):
        load_model(name)


@pytest.mark.parametrize("allow_hub", [False, True])
def test_a_directory_that_is_no_model(tmp_path, allow_hub):
    with pytest.raises(ModelUnavailableError, match=r"no config\.json.*no checkpoint"):
        load_model(tmp_path, allow_hub=allow_hub)


@pytest.mark.parametrize(
    ("part", "kind"), [("text_config", "mistral"), ("vision_config", "siglip_vision_model")]
)
def test_a_family_on_other_parts_is_refused_by_its_config(copied, part, kind, monkeypatch):
    reconfigure(copied, lambda config: config[part].update(model_type=kind))
    with pytest.raises(ModelMismatchError, match=rf"{part} of copied is of the kind '{kind}'.*LLaVA-1\.5"):
        load_model(copied)
    fetched = []
    monkeypatch.setattr(load.hub, "fetch", lambda *asked: fetched.append(asked[2]) or copied)
    with pytest.raises(ModelMismatchError, match=kind):
        load_model("owner/model", allow_hub=True)
    assert fetched == [CONFIG]  # and nothing large


@pytest.mark.parametrize("mark", ["[INST]", "<|im_start|>", "<|start_header_id|>"])
def test_another_chat_format_is_refused(copied, mark):
    template = "{% for message in messages %}" + mark + "{% endfor %}"
    (copied / "chat_template.jinja").write_text(template)
    with pytest.raises(ModelMismatchError, match="Vicuna"):
        load_model(copied, "cpu")
    (copied / "chat_template.jinja").write_text(template + "ASSISTANT:")
    assert load_model(copied, "cpu").name == "copied"


@pytest.mark.parametrize("family", ["bert", ["bert"]])
def test_a_directory_of_another_family(tmp_path, family):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": family}))
    with pytest.raises(ModelUnavailableError, match=r"bert.* family.*LLaVA-NeXT"):
        load_model(tmp_path)


@pytest.mark.parametrize("family", catalog.FAMILIES)
def test_a_checkpoint_of_nothing_but_its_config(tmp_path, family):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": family}))
    with pytest.raises(ModelUnavailableError, match=r"finish .*download"):
        load_model(tmp_path)


@pytest.mark.parametrize("content", ["", "[]", "{}", "not json"])
def test_a_broken_config(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ModelUnavailableError, match=r"config\.json of .* cannot be read"):
        load_model(tmp_path)


@pytest.mark.parametrize("change", [{"text_config": {"hidden_size": "wide"}}, {"text_config": 7}])
def test_a_config_of_nonsense(copied, change):
    config = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(ModelUnavailableError, match=r"complete LLaVA-1\.5 checkpoint"):
        load_model(copied, "cpu")


@pytest.mark.parametrize("size", [0, 5, 1000, -1])
def test_a_weights_file_that_is_cut_off(copied, size):
    file = copied / "model.safetensors"
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(ModelUnavailableError, match=r"model\.safetensors of 'copied' is damaged"):
        load_model(copied, "cpu")


def test_a_missing_shard(copied):
    weights = load_file(copied / "model.safetensors")
    (copied / "model.safetensors").unlink()
    shards = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    save_file(weights, copied / shards[0], {"format": "pt"})
    index = {"weight_map": {key: shards[number % 2] for number, key in enumerate(weights)}}
    (copied / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelUnavailableError, match=f"lacks {shards[1]}; finish"):
        load_model(copied, "cpu")


@pytest.mark.parametrize("name", ["tokenizer.json", "preprocessor_config.json", "tokenizer_config.json"])
def test_a_small_file_that_is_cut_off_or_missing(copied, name):
    name = name if (copied / name).is_file() else "processor_config.json"
    text = (copied / name).read_text()
    (copied / name).write_text(text[: len(text) // 2])
    with pytest.raises(ModelUnavailableError, match=f"{name} of 'copied' is damaged"):
        load_model(copied, "cpu")


@pytest.mark.parametrize("name", ["tokenizer.json", "preprocessor_config.json"])
def test_a_small_file_that_is_missing(copied, name):
    (copied / name).unlink()
    with pytest.raises(ModelUnavailableError, match=r"complete LLaVA-1\.5 checkpoint"):
        load_model(copied, "cpu")


def test_a_missing_weight(copied):
    rewrite(copied, lambda weights: weights.pop(HEAD))
    with pytest.raises(ModelUnavailableError, match=r"lacks 1 weights, such as lm_head\.weight"):
        load_model(copied, "cpu")


def test_the_newline_of_llava_next_is_a_weight_too(next_checkpoint, tmp_path):
    copied = shutil.copytree(next_checkpoint, tmp_path / "copied")
    rewrite(
        copied, lambda weights: weights.pop(next(key for key in weights if key.endswith("image_newline")))
    )
    with pytest.raises(ModelUnavailableError, match=r"lacks 1 weights, such as .*image_newline"):
        load_model(copied, "cpu")


def test_an_extra_weight(copied):
    rewrite(copied, lambda weights: weights.update({"language_model.adapter.weight": torch.zeros(2)}))
    with pytest.raises(ModelMismatchError, match=r"no place for, such as .*adapter\.weight"):
        load_model(copied, "cpu")


def test_buffers_of_older_checkpoints_are_no_weights(copied):
    name = "vision_tower.embeddings.position_ids"
    rewrite(copied, lambda weights: weights.update({name: torch.arange(17)[None]}))
    assert load_model(copied, "cpu").name == "copied"


def test_a_weight_of_another_shape(copied):
    rewrite(copied, lambda weights: weights.update({HEAD: weights[HEAD][:-1].clone()}))
    with pytest.raises(ModelMismatchError, match=r"lm_head\.weight .* shape"):
        load_model(copied, "cpu")


def test_weights_that_could_hold_code_are_not_read(copied):
    torch.save(load_file(copied / "model.safetensors"), copied / "pytorch_model.bin")
    (copied / "model.safetensors").unlink()
    with pytest.raises(ModelUnavailableError, match="safetensors"):
        load_model(copied, "cpu")


def test_the_bundled_model_when_its_files_are_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(load, "MODELS", tmp_path)
    with pytest.raises(ModelUnavailableError, match=r"tiny.*complete copy of the project"):
        load_model("tiny")


def test_too_little_memory_is_refused_before_weights_are_read(checkpoint, monkeypatch):
    size = (checkpoint / "model.safetensors").stat().st_size
    monkeypatch.setattr(memory, "memory", lambda *_: (size // 2, 10**12))
    with pytest.raises(ModelUnavailableError, match="close what uses the rest"):
        load_model(checkpoint, "cpu")
    assert load_model(checkpoint, "cpu", torch.float16).dtype == torch.float16
    monkeypatch.setattr(memory, "memory", lambda *_: (10**10, 10**11))
    with pytest.raises(
        ModelUnavailableError, match=r"LLaVA-1\.5 7B needs about 28\.2 GB .* 10\.0 GB are free"
    ):
        load_model("llava-1.5-7b", "cpu")
    monkeypatch.setattr(memory, "memory", lambda *_: (1000, 1000))
    with pytest.raises(ModelUnavailableError, match=r"needs about 28\.2 GB of memory in float32"):
        load_model("llava-1.5-7b", "cpu")


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory")])
def test_memory_that_runs_out_while_loading(checkpoint, monkeypatch, error):
    def load(*args, **options):
        raise error

    monkeypatch.setattr("transformers.LlavaForConditionalGeneration.from_pretrained", load)
    with pytest.raises(ModelUnavailableError, match="not enough memory"):
        load_model(checkpoint, "cpu")


@pytest.mark.parametrize("device", ["gpu!", "cuda:99"])
def test_devices_that_are_not_there(device):
    with pytest.raises((InvalidOptionError, ModelUnavailableError), match=r"device|cuda:99"):
        load_model("tiny", device)


def test_four_bit_needs_its_package(checkpoint, monkeypatch):
    monkeypatch.setattr(memory, "find_spec", lambda name: None if name == "bitsandbytes" else name)
    with pytest.raises(ModelUnavailableError, match=r"pip install 'bitsandbytes>=0\.46\.1,<0\.51'"):
        load_model(checkpoint, "cpu", four_bit=True)


def test_xcomposer_needs_its_tokenizers_package(xcomposer_checkpoint, monkeypatch):
    monkeypatch.setattr(memory, "find_spec", lambda name: None if name == "sentencepiece" else name)
    with pytest.raises(ModelUnavailableError, match="pip install sentencepiece"):
        load_model(xcomposer_checkpoint, "cpu")


@pytest.mark.parametrize(
    ("file", "content", "cause"),
    [("config.json", "{", "JSONDecodeError"), ("model.safetensors", "cut off", "SafetensorError")],
)
def test_the_log_says_what_the_sentence_does_not(copied, caplog, file, content, cause):
    (copied / file).write_text(content)
    with pytest.raises(ModelUnavailableError):
        load_model(copied, "cpu")
    assert f"Loading {copied}: {cause}" in caplog.text


def test_the_log_holds_what_no_sentence_foresees(copied, caplog, monkeypatch):
    def load(*args, **options):
        raise KeyError("a bug")

    monkeypatch.setattr("transformers.LlavaForConditionalGeneration.from_pretrained", load)
    with pytest.raises(ModelUnavailableError, match="complete"):
        load_model(copied, "cpu")
    assert "KeyError: 'a bug' (test_load.py:" in caplog.text
