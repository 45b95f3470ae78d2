"""A checkpoint that brings code of its own: it is never run, and nobody is asked whether it may be."""

import ast
import json
import re
import shutil
from pathlib import Path

import pytest

import compressor
from compressor import load_model
from compressor.errors import JudgeError, ModelUnavailableError
from compressor.evaluation.judge import LocalJudge

CODE = """
from pathlib import Path
Path({mark!r}).touch()
from transformers import CLIPImageProcessorPil, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
class OwnTokenizer(PreTrainedTokenizerFast): pass
class OwnProcessor(CLIPImageProcessorPil): pass
class OwnConfig(LlamaConfig): pass
class OwnModel(LlamaForCausalLM): pass
"""
OWN = {
    "AutoTokenizer": [None, "own.OwnTokenizer"],
    "AutoImageProcessor": "own.OwnProcessor",
    "AutoConfig": "own.OwnConfig",
    "AutoModelForCausalLM": "own.OwnModel",
}


@pytest.fixture
def copied(checkpoint, tmp_path, monkeypatch):
    """A copy of the random LLaVA with code beside it; whoever is asked says yes."""
    directory = shutil.copytree(checkpoint, tmp_path / "copied")
    (directory / "own.py").write_text(CODE.format(mark=str(tmp_path / "was_run")))
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    yield directory
    assert not (tmp_path / "was_run").exists()


def name_code(directory, file, **entries):
    """Have a file of a checkpoint name code beside it."""
    content = json.loads((directory / file).read_text())
    (directory / file).write_text(json.dumps({**content, "auto_map": OWN, **entries}))


@pytest.mark.parametrize(
    ("file", "entries"),
    [
        ("config.json", {}),
        ("tokenizer_config.json", {}),
        ("tokenizer_config.json", {"tokenizer_class": "OwnTokenizer"}),
        ("preprocessor_config.json", {}),
    ],
)
def test_what_is_known_here_is_read_without_it(copied, file, entries):
    name_code(copied, file, **entries)
    assert load_model(copied, "cpu").name == "copied"


def test_a_processor_of_its_own_is_refused(copied):
    name_code(copied, "preprocessor_config.json", image_processor_type="OwnProcessor")
    with pytest.raises(ModelUnavailableError, match=r"'copied' needs code of its own, which is never run"):
        load_model(copied, "cpu")


@pytest.mark.parametrize(
    ("file", "entries"),
    [("config.json", {"model_type": "own"}), ("tokenizer_config.json", {"tokenizer_class": "OwnTokenizer"})],
)
def test_nor_does_the_judge(copied, file, entries):
    name_code(copied, file, **entries)
    with pytest.raises(JudgeError, match="no text model"):
        LocalJudge(copied, "cpu")


def test_every_call_that_could_ask_says_no():
    """Those of transformers' Auto classes, anywhere in the package."""
    files = Path(compressor.__file__).parent.rglob("*.py")
    calls = [
        {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        for file in files
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and re.fullmatch(r"Auto\w+\.\w+", ast.unparse(node.func))
    ]
    assert len(calls) >= 4 and all(call.get("trust_remote_code") == "False" for call in calls)
