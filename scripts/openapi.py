"""Asks the broker whatever its own description allows, and what it does not: no answer may be a 5xx, or one that
`/openapi.json` does not describe.

Starts a broker without NATS whose models are scripts, and schemathesis against it: once with a key that may do
everything, once with none. SEED=N asks otherwise. Run by `make test`.
"""

import hashlib
import json
import os
import subprocess
import sys
import urllib.request

import build
import parts

KEY = "openapi-test-key"
WAIT_S = 120
CHECKS = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
]


def config(folder, http):
    # What the description's examples name.
    (folder / "forebay.toml").write_text(
        f"""[server]
listen = "127.0.0.1:{http}"
long_poll_ms = 100
[nats]
enabled = false
[log]
path = "{folder / "data"}"
[models."openai/gpt-5-mini"]
targets = ["scripted/echo"]
[providers.scripted]
kind = "scripted"
[[keys]]
name = "all"
sha256 = "{hashlib.sha256(KEY.encode()).hexdigest()}"
scopes = ["admin"]
"""
    )


def submit(http, job):
    """A job that the description's examples can find."""
    headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
    request = urllib.request.Request(f"http://127.0.0.1:{http}/v1/run", json.dumps(job).encode(), headers)
    with urllib.request.urlopen(request, timeout=WAIT_S) as answer:
        answer.read()


def ask(folder, http, what, arguments):
    """Whether every answer was one that is described."""
    # No answer takes longer, but that of a reader who follows a job without an end; there is none here.
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"http://127.0.0.1:{http}/openapi.json"]
    command += ["--checks", ",".join(CHECKS), "--request-timeout", "10", "--generation-database", "none"]
    # One worker: Python 3.11 parses its own source wrongly in two threads at once.
    command += ["--workers", "1", "--seed", os.environ.get("SEED", "1"), "--warnings", "off", "--no-color", *arguments]
    env = dict(os.environ, PYTHONPATH=parts.tool("openapi"))
    try:
        done = subprocess.run(
            command, cwd=folder, env=env, timeout=WAIT_S, check=False, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
        right, output = done.returncode == 0, done.stdout
    except subprocess.TimeoutExpired as late:
        right, output = False, (late.stdout or b"").decode()
    if not right:
        print(output)
    counts = [line.strip() for line in output.splitlines() if "generated," in line]
    print(f"  {'✓' if right else '✗ NOT SO:'} {what}: {' '.join(counts) or 'it came to no end'}", flush=True)
    return right


def run_all(folder):
    http = parts.free_port()
    config(folder, http)
    parts.broker_part(folder, http, build.prepare())
    submit(http, {"id": "turn-17", "model": "openai/gpt-5-mini", "input": "Hi"})
    print("What /openapi.json describes is asked, and what it forbids:", flush=True)
    key = ["--header", f"Authorization: Bearer {KEY}", "--max-examples", "10"]
    right = [
        ask(folder, http, "with a key, every answer is described, and none is a 5xx", key),
        ask(folder, http, "without a key as well", ["--phases", "fuzzing", "--max-examples", "3"]),
    ]
    return right.count(False)


if __name__ == "__main__":
    sys.exit(parts.trial("openapi", ["openapi"], run_all))
