"""Holds the broker to the Durable Streams protocol's own tests (`tests/conformance`), unchanged.

Starts a broker without NATS, models and keys, whose long polls are short. Every test must pass but those of what the
broker does not have, named below. Run by `make test` and `make conformance`.
"""

import json
import os
import shutil
import subprocess
import sys

import build
import parts

LONG_POLL_MS = 800
WAIT_S = 300
# Groups of tests that are left out, and why.
LEFT_OUT = {
    "Fork - ": "forks: an optional part of the protocol; `Stream-Forked-From` is answered with `unsupported`",
}
# Subscriptions, the other optional part, are off in the suite unless they are asked for.
TESTS_MIN = 250  # fewer than these means that the suite has changed, or that its filter leaves out too much


def config(folder, http):
    (folder / "forebay.toml").write_text(
        f"""[server]
listen = "127.0.0.1:{http}"
long_poll_ms = {LONG_POLL_MS}
cors_origins = ["*"]
[nats]
enabled = false
[log]
path = "{folder / "data"}"
"""
    )


def run(folder, http):
    """The suite in a process of its own; what it found, by state."""
    report = folder / "report.json"
    env = dict(os.environ, FOREBAY_HTTP=f"http://127.0.0.1:{http}", FOREBAY_LONG_POLL_MS=str(LONG_POLL_MS), CI="1")
    node = os.path.join(parts.tool("node"), "node")
    vitest = folder / "node_modules/vitest/vitest.mjs"
    pattern = "^(?!" + "|".join(LEFT_OUT) + ")"
    command = [node, vitest, "run", "--root", folder, "--testNamePattern", pattern]
    command += ["--reporter=json", f"--outputFile={report}"]
    with open(folder / "suite.log", "w", encoding="utf-8") as log:
        subprocess.run(
            command, env=env, cwd=folder, timeout=WAIT_S, check=False, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    if not report.exists():
        raise parts.Trouble(f"the suite did not run: see {folder / 'suite.log'}")
    tests = [test for file in json.loads(report.read_text())["testResults"] for test in file["assertionResults"]]
    return {state: [test for test in tests if test["status"] == state] for state in {test["status"] for test in tests}}


def run_all(folder):
    http = parts.free_port()
    config(folder, http)
    shutil.copy(parts.ROOT / "tests/conformance/streams.test.mjs", folder)
    # Node looks for packages beside a file.
    (folder / "node_modules").symlink_to(os.path.join(parts.tool("conformance"), "node_modules"))
    parts.broker_part(folder, http, build.prepare())
    found = run(folder, http)
    passed, failed = found.pop("passed", []), found.pop("failed", [])
    for test in failed:
        print(f"  ✗ NOT SO: {test['fullName']}\n      {next(iter(test['failureMessages']), '').splitlines()[:1]}")
    for reason in LEFT_OUT.values():
        print(f"  left out: {reason}")
    print("  left out: subscriptions: an optional part of the protocol; paths below `__ds` are `unsupported`")
    print(f"Durable Streams: {len(passed)} of the protocol's tests pass, {len(failed)} fail.")
    few = len(passed) + len(failed) < TESTS_MIN
    if few:
        print(f"  ✗ NOT SO: there are {TESTS_MIN} tests at least")
    return len(failed) + few


if __name__ == "__main__":
    sys.exit(parts.trial("conformance", ["node", "conformance"], run_all))
