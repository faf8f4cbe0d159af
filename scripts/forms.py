"""Asks one real model in every form that its server speaks, through the broker, and compares the answers.

The local llama.cpp server speaks OpenAI chat, OpenAI Responses and Anthropic Messages on one port. The broker reaches
it as `llamacpp` and as an endpoint of the user's own of each kind; whichever it is, the same question must get the
same answer, with the provider's own usage. Run by `make test`.
"""

import json
import sys
import urllib.error
import urllib.request

import build
import parts

WAIT_S = 120
FORMS = {
    "llamacpp": "",
    "own-chat": 'kind = "openai-compatible"\n',
    "own-responses": 'kind = "openai-compatible"\napi = "responses"\n',
    "own-messages": 'kind = "anthropic-compatible"\n',
}
QUESTIONS = {
    "a whole answer": {"messages": [{"role": "user", "content": "Say hello in five words."}], "max_tokens": 64},
    "an answer cut at max_tokens": {"messages": [{"role": "user", "content": "Tell a long story."}], "max_tokens": 24},
    "several turns": {
        "messages": [
            {"role": "system", "content": "You are brief."},
            {"role": "user", "content": "My name is Ada."},
            {"role": "assistant", "content": "Hello Ada."},
            {"role": "user", "content": "What is my name?"},
        ],
        "max_tokens": 32,
    },
}


def config(folder, http, nats, model):
    text = f'[server]\nlisten = "127.0.0.1:{http}"\n[nats]\nurl = "nats://127.0.0.1:{nats}"\n'
    text += f'[log]\npath = "{folder / "data"}"\n'
    for name, more in FORMS.items():
        text += f'[providers.{name}]\nbase_url = "http://127.0.0.1:{model}/v1"\n{more}'
    (folder / "forebay.toml").write_text(text)


def post(http, body, accept="application/json"):
    headers = {"content-type": "application/json", "accept": accept}
    request = urllib.request.Request(f"http://127.0.0.1:{http}/v1/run", json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=WAIT_S) as answer:
            return answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.read().decode()


def records(http, body):
    """The records of a job, read as server-sent events."""
    lines = post(http, body, "text/event-stream").splitlines()
    return [json.loads(line.removeprefix("data:")) for line in lines if line.startswith("data:")]


def gist(seen):
    """What a reader has in the end: the text, how it ended, what it used."""
    end = seen[-1]
    usage = end.get("usage", {})
    return {
        "text": "".join(record["text"] for record in seen if record["kind"] == "delta" and record["part"] == "text"),
        "kind": end["kind"],
        "finish_reason": end.get("finish_reason"),
        "input_tokens": usage.get("input_tokens"),
        "output_tokens": usage.get("output_tokens"),
        "source": usage.get("source"),
    }


def compare(http):
    wrong = 0
    for what, question in QUESTIONS.items():
        answers = {}
        for form in FORMS:
            job = {"model": f"{form}/smollm2", "input": dict(question, temperature=0)}
            answers[form] = gist(records(http, job))
        first = answers["llamacpp"]
        good = first["kind"] == "completed" and first["text"] and first["source"] == "provider"
        for form, answer in answers.items():
            if form == "own-responses" and answer["finish_reason"] == "stop":
                # The server calls every answer `completed` in this form, also one that it cut.
                answer["finish_reason"] = first["finish_reason"]
            same = good and answer == first
            wrong += not same
            why = "" if same else f": {answer}, llamacpp: {first}"
            print(f"  {'✓' if same else '✗ NOT SO:'} {what}, as {form}{why}")
    return wrong


def overflow(http):
    """A prompt that is too long is refused with the same code in every form."""
    wrong = 0
    for form in FORMS:
        job = {"model": f"{form}/smollm2", "input": {"prompt": "river " * 4000, "max_tokens": 8}}
        end = records(http, job)[-1]
        error = end.get("error", {})
        # The server says so before the first token, in its own code or in ours.
        is_right = end["kind"] == "failed" and error.get("code") == "provider_rejected" and not error.get("retryable")
        is_right = is_right and error.get("provider_code") == "context_length_exceeded"
        wrong += not is_right
        why = "" if is_right else f": {end}"
        print(f"  {'✓' if is_right else '✗ NOT SO:'} a prompt over the context is refused once, as {form}{why}")
    return wrong


def ask_in_every_form(folder):
    http, nats, model = parts.free_port(), parts.free_port(), parts.free_port()
    parts.nats_part(folder, nats)
    parts.model_part(folder, model)
    config(folder, http, nats, model)
    parts.broker_part(folder, http, build.prepare())
    print("One real model in every form that it speaks:", flush=True)
    wrong = compare(http) + overflow(http)
    print(f"{wrong} differ" if wrong else "All forms agree.")
    return wrong


if __name__ == "__main__":
    sys.exit(parts.trial("forms", ["nats", "model"], ask_in_every_form))
