"""A judge behind a stub of an endpoint and as a tiny Llama, and what its replies must look like."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from compressor.cli import main
from compressor.dialogues import Dialogue, Turn
from compressor.errors import JudgeError
from compressor.evaluation.accuracy import judged
from compressor.evaluation.answering import Answers, Setting
from compressor.evaluation.judge import LocalJudge, grade, judge_scores, open_judge, parse, prompt
from compressor.evaluation.run_folder import JsonLines

pytestmark = pytest.mark.hub
GOOD = "Level 1: 7\nLevel 2: 5\nLevel 3: 10\nOverall: 6"
TURNS = tuple(Turn(f"question {i}?", f"truth {i}") for i in range(3))
TEXTS = ["a cat", "it sleeps", "a poem"]


def dialogue(name: str) -> Dialogue:
    return Dialogue(lambda: Image.new("RGB", (8, 8)), TURNS, id=name)


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (GOOD, [7, 5, 10, 6]),
        (
            "Well.\n- **Level 1**: 7/10\n- **level 2:** 5 / 10.\nLEVEL 3: 1\n\noverall: 4",
            [7, 5, 1, 4],
        ),
        (GOOD.replace("Overall: 6", ""), None),
        (GOOD + "\nLevel 1: 3", None),  # twice
        (GOOD.replace("10", "11"), None),
        (GOOD.replace("7", "0"), None),
        (GOOD.replace("7", "7.5"), None),
        (GOOD.replace("7", "7 or 8"), None),
        (GOOD.replace("7", "seven"), None),
        (GOOD.replace("7", "7/100"), None),
        ("I would say 7.", None),
        ("", None),
    ],
)
def test_a_reply_has_each_score_once_or_none_at_all(reply, expected) -> None:
    assert parse(reply, 3) == expected


def test_the_judge_reads_questions_references_and_answers() -> None:
    text = prompt(dialogue("x"), TEXTS)
    for turn, answer in zip(TURNS, TEXTS, strict=True):
        assert (
            f"Question: {turn.question}\nReference answer: {turn.answer}\nAssistant's answer: {answer}"
            in text
        )
    assert text.endswith("Level 1: <1 to 10>\nLevel 2: <1 to 10>\nLevel 3: <1 to 10>\nOverall: <1 to 10>")


@pytest.fixture
def endpoint():
    """An OpenAI-compatible stub: `asked` holds what came, `say` gives the reply to a prompt."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            server.asked.append((self.path, self.headers.get("Authorization"), body))
            said = server.say(body["messages"][0]["content"])
            reply = json.dumps({"choices": [{"index": 0, "message": {"role": "assistant", "content": said}}]})
            self.send_response(server.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Location", server.location)
            self.end_headers()
            self.wfile.write(reply.encode())

        def do_GET(self) -> None:
            server.asked.append((self.path, self.headers.get("Authorization"), {}))
            self.send_error(404)

        def log_message(self, *args) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked, server.say, server.status, server.location = [], lambda text: GOOD, 200, ""
    server.url = f"http://127.0.0.1:{server.server_port}/v1"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_an_endpoint_is_asked_once_and_never_given_the_hubs_token(endpoint, monkeypatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    judge = open_judge(endpoint.url, "some-model")
    assert judge_scores(judge, dialogue("x"), TEXTS) == [7, 5, 10, 6]
    ((path, authorization, body),) = endpoint.asked
    assert path == "/v1/chat/completions"
    assert authorization is None
    assert body["model"] == "some-model"
    assert body["temperature"] == 0
    monkeypatch.setenv("JUDGE_API_KEY", "mine")
    open_judge(endpoint.url, "some-model").reply("x")
    assert endpoint.asked[-1][1] == "Bearer mine"


@pytest.mark.parametrize("offline", [False, True])
def test_an_endpoint_is_asked_whether_the_hub_is_or_not(endpoint, monkeypatch, offline) -> None:
    """HF_HUB_OFFLINE is about the Hub, and a judge is somewhere else."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    assert open_judge(endpoint.url, "some-model").reply("x") == GOOD


@pytest.mark.parametrize("ending", ["", "/", "/v1", "/v1/", "/v1/chat/completions"])
def test_an_address_may_leave_out_its_common_ending(endpoint, ending) -> None:
    judge = open_judge(endpoint.url.removesuffix("/v1") + ending + "?version=2", "some-model")
    judge.reply("x")
    assert endpoint.asked[-1][0] == "/v1/chat/completions?version=2"
    open_judge(endpoint.url.replace("v1", "api/chat/completions"), "some-model").reply("x")
    assert endpoint.asked[-1][0] == "/api/chat/completions"


def test_a_key_goes_nowhere_else(endpoint, monkeypatch) -> None:
    monkeypatch.setenv("JUDGE_API_KEY", "mine")
    endpoint.status, endpoint.location = 302, endpoint.url + "/elsewhere"
    with pytest.raises(JudgeError, match="does not answer"):
        open_judge(endpoint.url, "some-model").reply("x")
    assert len(endpoint.asked) == 1


def test_a_reply_without_scores_is_asked_for_again_then_left_out(endpoint) -> None:
    judge = open_judge(endpoint.url, "some-model")
    endpoint.say = lambda text: GOOD if "nothing but these lines" in text else "Fine, I think."
    assert judge_scores(judge, dialogue("x"), TEXTS) == [7, 5, 10, 6]
    assert len(endpoint.asked) == 2
    endpoint.say = lambda text: "Fine, I think."
    assert judge_scores(judge, dialogue("x"), TEXTS) is None
    assert len(endpoint.asked) == 4


def test_marks_are_kept_and_unscored_dialogues_are_counted_and_left_out(endpoint, tmp_path) -> None:
    judge = open_judge(endpoint.url, "some-model")
    endpoint.say = lambda text: (
        "no idea" if "mumble" in text else GOOD.replace("7", "4" if "dog" in text else "7")
    )
    asked = [dialogue(name) for name in "abc"]
    setting = Setting("none", 0.0, lambda tokens, budget, dialogue: None)
    said = {"a": TEXTS, "b": ["mumble"] * 3, "c": ["a dog", "it runs", "a song"]}
    answers = [Answers(setting.key, name, texts, 26) for name, texts in said.items()]
    kept = JsonLines(tmp_path / "marks.jsonl")
    grades = grade(judge, asked, answers, kept)
    assert grades == {
        (setting.key, "a"): [7, 5, 10, 6],
        (setting.key, "b"): None,
        (setting.key, "c"): [4, 5, 10, 6],
    }
    count = len(endpoint.asked)
    assert grade(judge, asked, answers, kept) == grades  # all read, nothing asked
    assert len(endpoint.asked) == count
    grade(open_judge(endpoint.url, "another-model"), asked, answers, kept)  # another judge is asked anew
    assert len(endpoint.asked) > count

    result = judged(asked, setting, {each.key: each for each in answers}, grades)
    assert result.unscored == 1
    row = result.as_data()
    assert row["acc"] == [5.5, 5.0, 10.0]
    assert row["avg"] == pytest.approx((22 / 3 + 19 / 3) / 2, abs=0.005)
    assert (row["overall"], row["unscored"], row["dialogues"]) == (6.0, 1, 2)
    assert row["standard_error"] == pytest.approx(0.5, abs=0.005)  # means 22/3 and 19/3
    with pytest.raises(JudgeError, match="stronger"):
        judged(asked, setting, {each.key: each for each in answers}, dict.fromkeys(grades))


def test_an_endpoint_that_fails_is_said_in_a_sentence(endpoint) -> None:
    judge = open_judge(endpoint.url, "some-model")
    endpoint.status = 401
    with pytest.raises(JudgeError, match="does not answer"):
        judge.reply("x")
    endpoint.status, endpoint.say = 200, lambda text: None
    assert judge.reply("x") == ""
    endpoint.say = lambda text: [{"type": "text", "text": GOOD}]
    with pytest.raises(JudgeError, match="does not answer"):
        judge.reply("x")
    nobody = open_judge("http://127.0.0.1:9/v1", "some-model")
    with pytest.raises(JudgeError, match="does not answer"):
        nobody.reply("x")
    with pytest.raises(JudgeError, match="does not answer"):
        open_judge("http://[nowhere", "some-model").reply("x")
    with pytest.raises(JudgeError, match="--judge-model"):
        open_judge(endpoint.url)
    with pytest.raises(JudgeError, match="no text model"):
        open_judge("/nowhere/at/all")


def test_the_command_reads_convbench_and_reports_what_the_judge_said(endpoint, tmp_path, capsys) -> None:
    ordinals = ("first", "second", "third")
    rows = [
        {
            "ID": n,
            "image_id": f"{n}.png",
            **{f"The_{ordinal}_turn_instruction": "what color is the cat?" for ordinal in ordinals},
            **{f"{ordinal}_turn_answer": f"truth {n}" for ordinal in ordinals},
        }
        for n in range(5)
    ]
    (tmp_path / "ConvBench.json").write_text(json.dumps(rows))
    for n in range(4):  # that of the fifth row is missing
        Image.new("RGB", (32, 32), (60 * n, 0, 0)).save(tmp_path / f"{n}.png")
    endpoint.say = lambda text: "mumble" if "truth 2" in text else GOOD
    arguments = ["evaluate", "--data", "convbench", "--folder", str(tmp_path), "--methods", "none,sample"]
    arguments += ["--json", str(tmp_path / "results.json"), "--out", str(tmp_path / "run")]
    assert main(arguments) == 2
    assert "--judge" in capsys.readouterr().err
    arguments += ["--judge", endpoint.url, "--judge-model", "some-model"]
    assert main(arguments) == 2
    assert "There is no file 4.png" in capsys.readouterr().err
    arguments.append("--skip-missing")
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "none 0%: the judge gave no scores for 1 of 4 dialogues" in printed
    assert "Rows left out because their picture is missing: 1 (4)." in printed
    assert "| left out |" in printed
    count = len(endpoint.asked)
    assert count == 2 * (3 + 2)
    data = json.loads((tmp_path / "results.json").read_text())
    for row in data["results"]:
        assert (row["acc"], row["avg"], row["overall"]) == ([7.0, 5.0, 10.0], 7.33, 6.0)
        assert (row["dialogues"], row["unscored"], row["left_out"]) == (3, 1, 1)
        assert list(row["kinds"]) == ["creation", "perception", "reasoning"]
    assert main(arguments) == 0
    assert len(endpoint.asked) == count  # answers and scores were all kept


def save_llama(directory, says: str | None) -> None:
    """A tiny Llama with random weights; with `says`, one that answers a judge's prompt with it and ends.

    Its layers then add nothing, its embeddings are unit vectors, and its head follows each token by the next:
    the last token of a prompt, what it says, the end.
    """
    words = ["<unk>", "</s>", "10>", *([says] if says else []), "question", "answer", "cat"]
    words += [f"w{i}" for i in range(32 - len(words))]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", eos_token="</s>").save_pretrained(
        directory
    )
    config = LlamaConfig(
        vocab_size=32,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        eos_token_id=1,
        bos_token_id=0,
        pad_token_id=1,
    )
    llama = LlamaForCausalLM(config)
    if says:
        with torch.no_grad():
            for layer in llama.model.layers:
                layer.self_attn.o_proj.weight.zero_()
                layer.mlp.down_proj.weight.zero_()
            unit = torch.eye(32)
            llama.model.embed_tokens.weight.copy_(unit)
            llama.lm_head.weight.zero_()
            llama.lm_head.weight[3] = unit[2]  # after the prompt's last word, "10>", comes the reply
            llama.lm_head.weight[1] = unit[3]  # and after the reply the end
    llama.save_pretrained(directory)


def test_a_local_model_judges(tmp_path) -> None:
    save_llama(tmp_path, GOOD)
    judge = open_judge(str(tmp_path))
    assert isinstance(judge, LocalJudge)
    assert judge.reply(prompt(dialogue("x"), TEXTS)) == GOOD
    assert judge_scores(judge, dialogue("x"), TEXTS) == [7, 5, 10, 6]


def test_a_random_local_model_gives_no_scores(tmp_path) -> None:
    save_llama(tmp_path, None)
    judge = open_judge(str(tmp_path))
    setting = Setting("none", 0.0, lambda tokens, budget, dialogue: None)
    grades = grade(judge, [dialogue("x")], [Answers(setting.key, "x", TEXTS, 26)])
    assert grades == {(setting.key, "x"): None}
    assert np.isnan(np.array([grades[setting.key, "x"] or [np.nan]])).all()
