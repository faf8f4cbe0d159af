"""Asks the broker with the official client libraries, unchanged: each file in `tests/sdk` is one library's.

Starts the local model and a broker without NATS, which has a key, the built-in provider that plays scripts, and silence
that is told soon. Run by `make test`; `sdk.py NAME…` asks with some libraries only.
"""

import concurrent.futures
import hashlib
import os
import shutil
import subprocess
import sys
import time

import build
import parts

KEY = "sdk-test-key"
WAIT_S = 120
AT_ONCE = 3  # a library mostly waits
PROVIDERS = 40  # of each library, that can be asked to fail, each once


def config(folder, http, model, libraries):
    names = [f"{library.stem}-{number}" for library in libraries for number in range(PROVIDERS)]
    failing = "".join(f'[providers.{name}]\nkind = "scripted"\n' for name in names)
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


def asks(library):
    """The program of a library's file."""
    return sys.executable if library.suffix == ".py" else os.path.join(parts.tool("node"), "node")


def run(library, http, folder):
    """One library's file in a process of its own, so that a hang is an end too. Whether all was so."""
    env = dict(os.environ, PYTHONPATH=parts.tool("sdk"), FOREBAY_HTTP=f"http://127.0.0.1:{http}", FOREBAY_KEY=KEY)
    env |= {"FOREBAY_LIBRARY": library.stem, "LANGSMITH_TRACING": "false"}
    began = time.monotonic()
    try:
        done = subprocess.run(
            [asks(library), folder / library.name], env=env, timeout=WAIT_S, check=False, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
        right, output = done.returncode == 0, done.stdout
    except subprocess.TimeoutExpired as late:
        right, output = False, f"{(late.stdout or b'').decode()}  ✗ NOT SO: {library.name} ends within {WAIT_S} s\n"
    print(f"With an official library, {library.name} ({time.monotonic() - began:.1f} s):\n{output}", end="", flush=True)
    return right


def run_all(folder):
    tests = parts.ROOT / "tests/sdk"
    libraries = [path for path in tests.iterdir() if path.suffix in (".py", ".mjs")]
    libraries.sort(key=lambda path: (path.suffix != ".py", path.name))  # Python's take the longest to begin
    if some := sys.argv[1:]:
        libraries = [library for library in libraries if library.stem in some]
    # Node looks for packages beside a file, and in the folders above it.
    shutil.copytree(tests, folder / "tests")
    (folder / "node_modules").symlink_to(os.path.join(parts.tool("npm"), "node_modules"))
    http, model = parts.free_port(), parts.free_port()
    parts.model_part(folder, model)
    config(folder, http, model, libraries)
    parts.broker_part(folder, http, build.prepare())
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        right = list(pool.map(lambda library: run(library, http, folder / "tests"), libraries))
    wrong = right.count(False)
    print(f"{wrong} libraries trip over something" if wrong else "The libraries work as they are.")
    return wrong


if __name__ == "__main__":
    sys.exit(parts.trial("sdk", ["sdk", "npm", "model"], run_all))
