"""Reading the checkpoint: every tensor is used, known as unused, or an error that names it."""

import json
import shutil

import pytest
import torch
from safetensors.torch import save_file

from compressor import load_model
from compressor.errors import ModelMismatchError, ModelUnavailableError
from compressor.models.families.xcomposer.checkpoint import CheckpointFiles, checkpoint_key, head_rows
from compressor.models.families.xcomposer.model import from_checkpoint
from tests.models.published import arrays

WQKV = "model.layers.1.attention.wqkv.weight"


def test_every_tensor_has_its_place(published, published_tensors):
    names = [checkpoint_key(name) for name, _ in published.hf.named_parameters()]
    assert set(names) == set(published_tensors)
    assert not any(parameter.is_meta for parameter in published.hf.parameters())
    assert not any(buffer.is_meta for buffer in published.hf.buffers())


def test_queries_keys_and_values_are_grouped_by_key_value_head():
    """Two groups of three queries, a key and a value, two rows each, numbered as they stand."""
    rows = torch.arange(20.0)[:, None]
    assert head_rows(rows, "q", 6, 2)[:, 0].tolist() == [0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15]
    assert head_rows(rows, "k", 6, 2)[:, 0].tolist() == [6, 7, 16, 17]
    assert head_rows(rows, "v", 6, 2)[:, 0].tolist() == [8, 9, 18, 19]


def test_branches_that_chat_never_uses_are_left_out(published, published_config, published_tensors):
    more = {**published_tensors, **arrays("weights_unused"), "video_mem_proj.0.weight": torch.zeros(3)}
    assert len(more) > len(published_tensors) + 90
    state = from_checkpoint(published_config, more).hf.state_dict()
    for name, expected in published.hf.state_dict().items():
        assert torch.equal(state.pop(name), expected)
    assert not state


@pytest.mark.parametrize(
    "key", [WQKV, "plora_glb_GN", "model.layers.0.feed_forward.w2.Plora_B.weight", "vision_proj.2.bias"]
)
def test_a_missing_tensor_is_named(published_config, published_tensors, key):
    fewer = {name: tensor for name, tensor in published_tensors.items() if name != key}
    with pytest.raises(ModelMismatchError, match=f"lacks {key}"):
        from_checkpoint(published_config, fewer)


@pytest.mark.parametrize(
    "key", ["model.layers.0.attention.wqkv.bias", "lora_sft_A", "model.layers.3.ffn_norm.weight", "extra"]
)
def test_an_unexpected_tensor_is_named(published_config, published_tensors, key):
    with pytest.raises(ModelMismatchError, match=f"unexpected {key}"):
        from_checkpoint(published_config, {**published_tensors, key: torch.zeros(2)})


@pytest.mark.parametrize("key", [WQKV, "model.norm.weight", "plora_sub_GN"])
def test_a_tensor_of_another_shape_is_named(published_config, published_tensors, key):
    with pytest.raises(ModelMismatchError, match=key):
        from_checkpoint(published_config, {**published_tensors, key: published_tensors[key][..., :-1]})
    with pytest.raises(ModelMismatchError, match=key):
        taller = torch.cat([published_tensors[key]] * 2)
        from_checkpoint(published_config, {**published_tensors, key: taller})


@pytest.mark.parametrize("name", ["rope_theta", "rms_norm_eps", "num_key_value_heads"])
def test_a_config_that_lacks_something(published_config, published_tensors, name):
    config = {key: value for key, value in published_config.items() if key != name}
    with pytest.raises(ModelMismatchError, match=name):
        from_checkpoint(config, published_tensors)


def test_positions_follow_the_config(published, published_config, published_tensors):
    dynamic = {**published_config, "rope_scaling": {"type": "dynamic", "factor": 2.0}, "rope_theta": 500.0}
    inverse = from_checkpoint(dynamic, published_tensors).hf.language.rotary_emb.inv_freq
    torch.testing.assert_close(inverse, 500.0 ** (-torch.arange(0, 16, 2) / 16))
    assert published.hf.language.norm.variance_epsilon == published_config["rms_norm_eps"]
    assert published.context_length == published_config["max_position_embeddings"]
    with pytest.raises(ModelMismatchError, match="linear"):
        from_checkpoint({**published_config, "rope_scaling": {"type": "linear"}}, published_tensors)


def test_another_precision(published_config, published_tensors):
    model = from_checkpoint(published_config, published_tensors, dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in model.hf.parameters()} == {torch.bfloat16}
    assert model.hf.language.rotary_emb.inv_freq.dtype == torch.float32


@pytest.fixture
def copied(xcomposer_checkpoint, tmp_path):
    """A copy of the checkpoint's directory, to be damaged."""
    return shutil.copytree(xcomposer_checkpoint, tmp_path / "copied")


def test_safetensors_are_read_like_bin_files(xcomposer, copied):
    tensors = CheckpointFiles(copied)
    save_file({key: tensors[key].clone() for key in tensors}, copied / "model.safetensors")
    for file in copied.glob("*.bin*"):
        file.unlink()
    state = load_model(copied, device="cpu").hf.state_dict()
    assert all(torch.equal(state[name], expected) for name, expected in xcomposer.hf.state_dict().items())


def test_a_half_downloaded_directory_names_what_it_lacks(copied):
    (copied / "pytorch_model-00002-of-00002.bin").unlink()
    with pytest.raises(ModelUnavailableError, match="pytorch_model-00002"):
        load_model(copied)
    for file in copied.glob("pytorch_model*"):
        file.unlink()
    with pytest.raises(ModelUnavailableError, match="no weights"):
        load_model(copied)
    (copied / "tokenizer.model").unlink()
    with pytest.raises(ModelUnavailableError, match=r"tokenizer\.model"):
        load_model(copied)


@pytest.mark.parametrize(
    "name", ["pytorch_model-00001-of-00002.bin", "model.safetensors", "pytorch_model.bin.index.json"]
)
@pytest.mark.parametrize("content", [b"", b"\x80garbage", None], ids=["empty", "garbage", "cut off"])
def test_a_damaged_file_is_named(copied, name, content):
    file = copied / name
    if content is None:
        if not file.is_file():
            save_file({"a": torch.zeros(1000)}, file)
        content = file.read_bytes()[:-200]
    file.write_bytes(content)
    with pytest.raises(ModelUnavailableError, match=name):
        load_model(copied)


class Malice:
    """Unpickled with the rights of whoever loads it."""

    def __reduce__(self):
        return (pytest.fail, ("code of the checkpoint was executed",))


def test_code_in_a_bin_file_is_not_executed(copied):
    torch.save({"a": Malice()}, copied / "pytorch_model-00001-of-00002.bin")
    with pytest.raises(ModelUnavailableError, match="pytorch_model-00001"):
        load_model(copied)


def test_a_config_of_another_model_of_the_family(copied):
    config = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 2}))
    with pytest.raises(ModelMismatchError, match=r"unexpected model\.layers\.2"):
        load_model(copied)
