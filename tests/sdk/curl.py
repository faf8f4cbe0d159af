"""What `curl` shows of the broker, which is what any client without a library meets. Run by `scripts/sdk.py`."""

import json
import subprocess

from support.claims import ASKED, BASE, KEY, NAME, failing, main

HELLO = {"model": "echo", "messages": ASKED}
ONCE = f"forebay-options: {json.dumps({'retry': {'max_attempts': 1}})}"
HTTP_ERROR, CUT = 22, 18  # curl's own exit codes: `--fail` with 400 or more; a body that ends before its end


def curl(path, *options, body=None, headers=(), key=KEY, kind="application/json"):
    """Exit code, status and body."""
    command = ["curl", "--silent", "--show-error", "--max-time", "20", "--write-out", "\n%{http_code}", *options]
    if body is not None:
        headers = [f"content-type: {kind}", *headers]
        command += ["--data-binary", "@-"]
    for header in (f"authorization: Bearer {key}", *headers):
        command += ["--header", header]
    said = json.dumps(body).encode()
    done = subprocess.run([*command, f"{BASE}{path}"], input=said, capture_output=True, check=False)
    text, _, status = done.stdout.decode().rpartition("\n")
    return done.returncode, int(status), text


def chunks(text):
    """The data of a stream's events."""
    return [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]


def an_answer_is_whole_or_streamed():
    code, status, text = curl("/v1/chat/completions", body=HELLO)
    assert (code, status) == (0, 200), text
    assert json.loads(text)["choices"][0]["message"]["content"] == ASKED[0]["content"]
    code, status, text = curl("/v1/chat/completions", "--no-buffer", body={**HELLO, "stream": True})
    *pieces, done = chunks(text)
    assert (code, status, done) == (0, 200, "[DONE]"), text
    deltas = (json.loads(piece)["choices"][0]["delta"].get("content") or "" for piece in pieces)
    assert "".join(deltas) == ASKED[0]["content"]


def an_error_is_a_status_and_an_envelope_and_fails_curl_that_shall_fail():
    failed = {"model": f"{failing()}/echo", "messages": ASKED, "script": [{"status": {"status": 503}}]}
    for what, status, error, more in (
        ("no key", 401, "unauthenticated", {"body": HELLO, "key": "wrong"}),
        ("another's gateway", 403, "forbidden", {"body": HELLO, "headers": ["forebay-gateway: other"]}),
        ("no model", 404, "unknown_model", {"body": {**HELLO, "model": "nobody"}}),
        ("no messages", 400, "invalid", {"body": {"model": "echo"}}),
        ("no JSON", 400, "invalid", {"body": HELLO, "kind": "application/msgpack"}),
        ("too much", 413, "too_large", {"body": {**HELLO, "user": "x" * (9 << 20)}}),
        ("a provider that fails", 502, "provider_unavailable", {"body": failed, "headers": [ONCE]}),
        ("the same, streamed", 502, "provider_unavailable", {"body": {**failed, "stream": True}, "headers": [ONCE]}),
    ):
        code, got, text = curl("/v1/chat/completions", **more)
        assert (code, got) == (0, status), f"{what}: {code} {got} {text}"
        assert json.loads(text)["error"]["code"] == error, f"{what}: {text}"
        code, got, text = curl("/v1/chat/completions", "--fail", **more)
        assert (code, got, text) == (HTTP_ERROR, status, ""), f"{what}: {code} {got} {text}"


def a_stream_that_breaks_says_why_and_is_cut():
    body = {**HELLO, "stream": True, "script": [{"text": ["a", "b"]}, {"delay_ms": 50}, "cut"]}
    once = json.dumps({"retry": {"max_attempts": 1}, "on_stream_failure": "fail"})
    code, status, text = curl("/v1/chat/completions", "-N", body=body, headers=[f"forebay-options: {once}"])
    assert (code, status) == (CUT, 200), f"{code} {text}"
    assert json.loads(chunks(text)[-1])["error"]["code"] == "provider_truncated", text
    assert "[DONE]" not in text


def a_job_is_followed_again_from_any_event():
    body = {"model": "echo", "input": "one two three", "id": f"{NAME}-1"}
    code, status, text = curl("/v1/run", "-N", body=body, headers=["accept: text/event-stream"])
    whole = chunks(text)
    assert (code, status, json.loads(whole[-1])["kind"]) == (0, 200, "completed"), text
    cursors = [line.removeprefix("id: ") for line in text.splitlines() if line.startswith("id: ")]
    for read, cursor in enumerate(cursors, 1):
        path = f"/v1/jobs/{NAME}-1/events"
        for again in (curl(f"{path}?from={read}", "-N"), curl(path, "-N", headers=[f"last-event-id: {cursor}"])):
            assert chunks(again[2]) == whole[read:], read


if __name__ == "__main__":
    main([
        an_answer_is_whole_or_streamed,
        an_error_is_a_status_and_an_envelope_and_fails_curl_that_shall_fail,
        a_stream_that_breaks_says_why_and_is_cut,
        a_job_is_followed_again_from_any_event,
    ])
