"""Cuts one real model's answers off in the middle, and reads what the broker makes of them.

A proxy before the local llama.cpp server breaks the connection after some events of an answer. Where the server goes on
from the beginning of its own answer, in each format that it speaks, what a reader has in the end must be what an answer
that was never cut says: no word lost, none twice. Where it is asked by a turn, the answer must go on and end. Run by
`make test`.
"""

import json
import sys
import urllib.request

import forms
import build
import parts
from counting_proxy import CountingProxy

FORMS = {
    "llamacpp": "",
    "own-chat": 'kind = "openai-compatible"\nprefill = "exact"\n',
    "own-responses": 'kind = "openai-compatible"\napi = "responses"\nprefill = "exact"\n',
    "own-messages": 'kind = "anthropic-compatible"\nprefill = "exact"\n',
}
TURN = "own-turn"
QUESTIONS = ["Tell me about rivers in three sentences.", "What is bread made of?", "Why is the sky blue?"]
CUTS = [4, 7, 12, 19]  # events that reach the broker; of Messages and Responses the first few hold no text


def config(folder, http, nats, model):
    text = f'[server]\nlisten = "127.0.0.1:{http}"\n[nats]\nurl = "nats://127.0.0.1:{nats}"\n'
    text += f'[log]\npath = "{folder / "data"}"\n'
    for name, more in {**FORMS, TURN: 'kind = "openai-compatible"\n'}.items():
        text += f'[providers.{name}]\nbase_url = "http://127.0.0.1:{model}/v1"\n{more}'
    (folder / "forebay.toml").write_text(text)


def job_of(form, question, max_tokens=160):
    body = {"messages": [{"role": "user", "content": question}], "max_tokens": max_tokens, "temperature": 0}
    return {"model": f"{form}/smollm2", "input": body, "options": {"retry": {"delay_ms": 1}}}


def text_of(seen):
    return "".join(record["text"] for record in seen if record["kind"] == "delta" and record["part"] == "text")


def before_loss(seen):
    kinds = [record["kind"] for record in seen]
    return text_of(seen[: kinds.index("lost")]) if "lost" in kinds else None


def modes(seen):
    return [record["mode"] for record in seen if record["kind"] == "attempt"]


def by_the_server(model, question, begun):
    """What the server itself makes of the beginning of an answer, asked without us."""
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": begun}]
    body = {"messages": messages, "max_tokens": 160, "temperature": 0, "stream": True}
    request = urllib.request.Request(
        f"http://127.0.0.1:{model}/v1/chat/completions", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=forms.WAIT_S) as answer:
        lines = [line[5:].strip() for line in answer.read().decode().splitlines() if line.startswith("data:")]
    chunks = [json.loads(line) for line in lines if line != "[DONE]"]
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])


class Trial:
    """One answer, cut once."""

    def __init__(self, http, proxy, form, question, cut):
        count = proxy.count()
        proxy.cut_after = cut
        self.seen = forms.records(http, job_of(form, question))
        self.calls = proxy.count() - count
        self.last_asked = proxy.bodies[-1]
        self.begun = before_loss(self.seen)
        self.text = text_of(self.seen)

    def problem(self):
        """What is wrong with it whichever way it went on."""
        end = self.seen[-1]
        if end["kind"] != "completed" or end["finish_reason"] not in ("stop", "length"):
            return f"it ended as {end}"
        if self.begun is None:
            return "nothing was lost"
        expected = ["start", "continue"] if self.begun else ["start", "start"]
        if modes(self.seen) != expected or self.calls != 2:
            return f"attempts {modes(self.seen)}, calls {self.calls}"
        if not self.text.startswith(self.begun):
            return f"{self.begun!r} became {self.text!r}"
        return None


def goes_on(http, proxy, model):
    """Prefilled answers read as if nothing had happened."""
    wrong = mid = same = 0
    for form in FORMS:
        before = wrong
        for question in QUESTIONS:
            whole = text_of(forms.records(http, job_of(form, question)))
            for cut in CUTS:
                trial = Trial(http, proxy, form, question, cut)
                if trial.begun is None and trial.text == whole:
                    continue  # it was over before
                problem = trial.problem()
                mid += bool(trial.begun)
                same += trial.text == whole
                if not problem and trial.text != whole:
                    # Numbers that are rounded otherwise can choose another word; none may be lost or doubled.
                    begun = trial.begun.rstrip()
                    if trial.text != begun + by_the_server(model, question, begun):
                        problem = f"{trial.begun!r} became {trial.text!r}, uncut {whole!r}"
                wrong += problem is not None
                if problem:
                    print(f"  ✗ NOT SO: {question} as {form}, cut after {cut}: {problem}")
        print(f"  {'✗ NOT SO:' if wrong > before else '✓'} answers cut in the middle read on, as {form}", flush=True)
    print(f"  {mid} answers were cut in their text; {same} are the uncut answer to the letter")
    return wrong + (mid < 2 * len(FORMS) * len(QUESTIONS))


def keeps_its_limit(http, proxy):
    """The text before the cut counts against `max_tokens`."""
    whole = text_of(forms.records(http, job_of("llamacpp", "Tell a long story.", 24)))
    proxy.cut_after = 8
    seen = forms.records(http, job_of("llamacpp", "Tell a long story.", 24))
    text, end = text_of(seen), seen[-1]
    left = proxy.bodies[-1]["max_tokens"]
    # Our count of the tokens is near the server's, not always the same.
    near = whole.startswith(text) or text.startswith(whole)
    good = near and modes(seen) == ["start", "continue"] and end.get("finish_reason") == "length" and 10 < left < 24
    why = "" if good else f": {left} left, {text!r} instead of {whole!r}, {end}"
    print(f"  {'✓' if good else '✗ NOT SO:'} an answer cut in the middle keeps to its limit of tokens{why}")
    return int(not good)


def is_asked_to(http, proxy):
    """A server that is not known to go on is asked to, in a turn."""
    wrong = 0
    for question in QUESTIONS:
        trial = Trial(http, proxy, TURN, question, 12)
        problem = trial.problem()
        messages = trial.last_asked["messages"]
        if not problem and [message["role"] for message in messages] != ["user", "assistant", "user"]:
            problem = f"asked {messages}"
        wrong += problem is not None
        print(f"  {'✗ NOT SO' if problem else '✓'}: asked to go on, it goes on and ends: {problem or question}")
    return wrong


def cut_and_read(folder):
    http, nats, model = parts.free_port(), parts.free_port(), parts.free_port()
    parts.nats_part(folder, nats)
    parts.model_part(folder, model)
    proxy = CountingProxy(model)
    config(folder, http, nats, proxy.port)
    parts.broker_part(folder, http, build.prepare())
    print("One real model, cut off in the middle of its answers:", flush=True)
    wrong = goes_on(http, proxy, model) + keeps_its_limit(http, proxy) + is_asked_to(http, proxy)
    print(f"{wrong} went wrong" if wrong else "Every answer reads on.")
    return wrong


if __name__ == "__main__":
    sys.exit(parts.trial("continue", ["nats", "model"], cut_and_read))
