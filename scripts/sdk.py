"""Asks the broker with the official client libraries, unchanged: each file in `tests/sdk` is one library's.

Starts the local model and a broker without NATS, which has a key, the built-in provider that plays scripts, and silence
that is told soon. Run by `make test`.
"""

import hashlib
import os
import subprocess
import sys

import parts

KEY = "sdk-test-key"
WAIT_S = 120


PROVIDERS = 16  # that can be asked to fail, each once


def config(folder, http, model):
    failing = "".join(f'[providers.p{number}]\nkind = "scripted"\n' for number in range(PROVIDERS))
    (folder / "forebay.toml").write_text(
        f"""[server]
listen = "127.0.0.1:{http}"
heartbeat_ms = 200
[nats]
enabled = false
[log]
path = "{folder / "data"}"
[providers.local]
kind = "openai-compatible"
base_url = "http://127.0.0.1:{model}/v1"
[models.echo]
targets = ["scripted/echo"]
[[keys]]
name = "sdk"
sha256 = "{hashlib.sha256(KEY.encode()).hexdigest()}"
gateways = ["default", "team"]
{failing}"""
    )


def run(library, http):
    """One library's file in a process of its own, so that a hang is an end too."""
    env = dict(os.environ, PYTHONPATH=parts.tool("sdk"), FOREBAY_HTTP=f"http://127.0.0.1:{http}", FOREBAY_KEY=KEY)
    try:
        return subprocess.run([sys.executable, library], env=env, timeout=WAIT_S, check=False).returncode
    except subprocess.TimeoutExpired:
        print(f"  ✗ NOT SO: {library.name} ends within {WAIT_S} s")
        return 1


def run_all(folder):
    http, model = parts.free_port(), parts.free_port()
    parts.model_part(folder, model)
    config(folder, http, model)
    parts.broker_part(folder, http, parts.build())
    wrong = 0
    for library in sorted((parts.ROOT / "tests/sdk").glob("*.py")):
        print(f"With an official library, {library.stem}:", flush=True)
        wrong += run(library, http) != 0
    print(f"{wrong} libraries trip over something" if wrong else "The libraries work as they are.")
    return wrong


if __name__ == "__main__":
    sys.exit(parts.trial("sdk", ["sdk", "model"], run_all))
