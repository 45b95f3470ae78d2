"""A language model as judge of open answers, as ConvBench needs: 1 to 10 for each level and overall.

ConvBench's first turn asks what is seen (perception), its second for a conclusion (reasoning), its third for
something new (creation). The wording is ours.
"""

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit, urlunsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from compressor.dialogues import Dialogue
from compressor.errors import JudgeError
from compressor.evaluation.answering import Answers
from compressor.evaluation.run_folder import JsonLines

KEY_VARIABLE = "JUDGE_API_KEY"
REPLY_TOKENS = 128
TIMEOUT_S = 120.0
REMINDER = "\n\nWrite nothing but these lines, each with a whole number from 1 to 10."


class Judge(Protocol):
    """Something that replies to a prompt; `parallel` prompts may be asked at a time."""

    name: str
    parallel: int

    def reply(self, prompt: str) -> str:
        """The model's reply."""
        ...


class NoRedirect(HTTPRedirectHandler):
    """Goes to no other address, which would be given the key."""

    def redirect_request(self, *_: Any) -> None:
        """Nothing to ask instead."""


class EndpointJudge:
    """A chat model behind an OpenAI-compatible endpoint.

    It is asked without the Hub's client, which refuses every address where HF_HUB_OFFLINE is set.

    Args:
        url: of the endpoint, up to and without /chat/completions.
        model: its name there.
    The key is read from the environment variable JUDGE_API_KEY, where one is needed.
    """

    parallel = 8

    def __init__(self, url: str, model: str) -> None:
        self.name, self.model, self.url = f"{model} at {url}", model, url
        self._headers = {"Content-Type": "application/json"}
        if key := os.environ.get(KEY_VARIABLE):
            self._headers["Authorization"] = f"Bearer {key}"

    def reply(self, prompt: str) -> str:
        """See the protocol.

        Raises:
            JudgeError: the endpoint cannot be reached or refuses.
        """
        messages = [{"role": "user", "content": prompt}]
        body = {
            "model": self.model,
            "messages": messages,
            "max_tokens": REPLY_TOKENS,
            "temperature": 0.0,
            "stream": False,
        }
        try:
            request = Request(_completions(self.url), json.dumps(body).encode(), self._headers)
            with build_opener(NoRedirect).open(request, timeout=TIMEOUT_S) as response:
                content = json.load(response)["choices"][0]["message"]["content"]
            if not isinstance(content, str | None):
                raise TypeError("its reply is not a text")
            return content or ""
        except (OSError, HTTPException, ValueError, TypeError, LookupError) as error:
            raise JudgeError(f"The judge at {self.url} does not answer as it should: {error}") from error


def _completions(url: str) -> str:
    """Where chats are completed, of an endpoint's address that may leave out the common ending."""
    parts = urlsplit(url)
    path = parts.path.rstrip("/")
    if not path.endswith("/chat/completions"):
        path = f"{path.removesuffix('/v1')}/v1/chat/completions"
    return urlunsplit(parts._replace(path=path))


class LocalJudge:
    """A text model of transformers, on this machine.

    Args:
        source: a directory, or a Hub repository.
        device: where to run; CUDA where there is one if None.
    Raises:
        JudgeError: it cannot be loaded.
    """

    parallel = 1

    def __init__(self, source: str | Path, device: str | None = None) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.name = str(source)
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        dtype = torch.float32 if device == "cpu" else torch.bfloat16
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
            model = AutoModelForCausalLM.from_pretrained(source, dtype=dtype, trust_remote_code=False)
            self.model = model.to(device).eval()
        except (OSError, ValueError) as error:
            raise JudgeError(
                f"There is no text model {self.name!r} that needs no code of its own: "
                "name a directory or one of the Hub."
            ) from error

    def reply(self, prompt: str) -> str:
        """See the protocol; greedy, in the model's chat template where it has one."""
        if self.tokenizer.chat_template:
            messages = [{"role": "user", "content": prompt}]
            inputs = self.tokenizer.apply_chat_template(
                messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
            )
        else:
            inputs = self.tokenizer(prompt, return_tensors="pt", return_token_type_ids=False)
        inputs = inputs.to(self.model.device)
        output = self.model.generate(**inputs, max_new_tokens=REPLY_TOKENS, do_sample=False)
        return self.tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def open_judge(source: str, model: str | None = None) -> Judge:
    """The judge that a person names: an address with a model there, or a local model.

    Raises:
        JudgeError: an address without a model, or a model that cannot be loaded.
    """
    if not source.startswith(("http://", "https://")):
        return LocalJudge(source)
    if model is None:
        raise JudgeError(f"Say with --judge-model which model at {source} is to judge.")
    return EndpointJudge(source, model)


def labels(turns: int) -> list[str]:
    """What a reply has a line for: each level, and the whole."""
    return [*(f"Level {turn}" for turn in range(1, turns + 1)), "Overall"]


def prompt(dialogue: Dialogue, texts: Sequence[str]) -> str:
    """What the judge is asked about a dialogue and the answers to it."""
    parts = [
        "You judge an assistant that answered questions about an image. You do not see the image: trust the "
        "reference answers. Each level builds on the one before it. Give every answer a whole number from 1 "
        "(wrong, or beside the question) to 10 (as good as the reference or better) for being right, "
        "complete and to the point, and one to the conversation as a whole. Length alone earns nothing."
    ]
    for number, (turn, text) in enumerate(zip(dialogue.turns, texts, strict=True), 1):
        parts.append(
            f"[Level {number}]\nQuestion: {turn.question}\nReference answer: {turn.answer}\n"
            f"Assistant's answer: {text}"
        )
    lines = "\n".join(f"{label}: <1 to 10>" for label in labels(len(dialogue.turns)))
    return "\n\n".join([*parts, f"Reply in exactly these lines:\n{lines}"])


def parse(reply: str, turns: int) -> list[int] | None:
    """The scores of a reply, one per level and the overall one; None unless each is there exactly once."""
    scores = []
    for label in labels(turns):
        line = rf"^[ *#-]*{label}[ *]*:[ *]*(10|[1-9])(?: */ *10)?[ *.]*\r?$"
        matches = re.findall(line, reply, flags=re.IGNORECASE | re.MULTILINE)
        if len(matches) != 1:
            return None
        scores.append(int(matches[0]))
    return scores


def judge_scores(judge: Judge, dialogue: Dialogue, texts: Sequence[str]) -> list[int] | None:
    """A judge's scores of one dialogue; a reply that holds none is asked for once more, then it is None."""
    text, turns = prompt(dialogue, texts), len(dialogue.turns)
    return parse(judge.reply(text), turns) or parse(judge.reply(text + REMINDER), turns)


def grade(
    judge: Judge,
    dialogues: Sequence[Dialogue],
    answers: Iterable[Answers],
    stored: JsonLines | None = None,
) -> Mapping[tuple[str, str], list[int] | None]:
    """A judge's scores of many answers.

    Args:
        judge: the judge.
        dialogues: that were answered.
        answers: to them, under any settings.
        stored: file of scores, appended to; what this judge has graded there is not asked again.
    Returns:
        by setting and dialogue: one score per turn and one overall, or None where the judge gave none.
    """
    by_id = {dialogue.id: dialogue for dialogue in dialogues}
    rows = [row for row in (stored.read() if stored else []) if row["judge"] == judge.name]
    grades = {(row["setting"], row["dialogue"]): row["scores"] for row in rows}
    todo = [reply for reply in answers if reply.key not in grades]

    def ask(reply: Answers) -> list[int] | None:
        return judge_scores(judge, by_id[reply.dialogue], reply.texts)

    with ThreadPoolExecutor(judge.parallel) as pool:
        for reply, scores in zip(todo, pool.map(ask, todo), strict=True):
            grades[reply.key] = scores
            if stored:
                row = {"judge": judge.name, "setting": reply.setting, "dialogue": reply.dialogue}
                stored.append([{**row, "scores": scores}])
    return grades
