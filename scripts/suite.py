"""`make test`: every test, part by part. `make quick`: what most changes need.

Owns the list of the parts. Tools are fetched while cargo builds; then cargo's tests run, then the scripts that try the
built program from outside, two at a time. Promises one line for each part (its name, its time, how many checks it has),
the whole output of a part that fails, and an exit code other than 0 where one failed.
"""

import os
import re
import subprocess
import sys
import tempfile
import time

import build
import parts

TESTS = build.Plan(["test", "--no-run"], own=16, whole_s=400, own_share=0.4)
QUICK = ["--lib", *(f"--test={name}" for name in ("log", "http", "nats", "sim", "tidy"))]
TOOLS = ("nats", "model", "sdk", "openapi", "javascript")
SCRIPTS = ("demo", "guides", "sdk", "continue", "openapi", "conformance", "forms")  # the longest ones begin first
AT_ONCE = 2
TARGET = re.compile(r"^ +(?:Running|Doc-tests) (?:unittests )?(\S+)")
RESULT = re.compile(r"^test result: (\w+)\. (\d+) passed; (\d+) failed; (\d+) ignored")
CHECKS = re.compile(r"^ +✓|^(?:[✓]|ok\b)", re.MULTILINE)
COUNTED = re.compile(r"(\d+) of the protocol's tests pass|(\d+) blocks in")


def say(text):
    print(text, flush=True)


def verdict(name, is_good, seconds, what):
    say(f"{'✓' if is_good else '✗'} {name:<12} {build.clock(seconds):>6}  {what}")


class CargoTests:
    """The lines of `cargo test`, one part for each of its programs."""

    def __init__(self):
        self.wrong = []
        self.start("cargo")

    def start(self, name):
        self.name, self.began, self.lines, self.is_done = name, time.monotonic(), [], False

    def line(self, line):
        if target := TARGET.match(line):
            self.broken_off()
            path = target[1].removesuffix(".rs").removeprefix("tests/")
            self.start({"src/lib": "units", "src/main": "main"}.get(path, path))
        self.lines.append(line)
        if result := RESULT.match(line):
            self.is_done = True
            is_good, passed, failed, ignored = result[1] == "ok", *map(int, result.groups()[1:])
            if passed + failed + ignored == 0:
                return
            beside = f", {ignored} not run (`make soak` runs them)" if ignored else ""
            verdict(self.name, is_good, time.monotonic() - self.began, f"{passed + failed} checks{beside}")
            if not is_good:
                self.wrong.append(self.name)
                say("".join(self.lines))

    def broken_off(self):
        """A test program that came to no result was killed."""
        if not self.is_done and self.name != "cargo":
            self.wrong.append(self.name)
            verdict(self.name, False, time.monotonic() - self.began, "came to no end")
            say("".join(self.lines))

    def end(self, code):
        """Reports what no result line tells: the last program was killed, or cargo failed before any ran."""
        self.broken_off()
        if code != 0 and not self.wrong:
            self.wrong.append(self.name)
            say("".join(self.lines))


def cargo_tests(arguments, env):
    tests = CargoTests()
    process = subprocess.Popen(
        ["cargo", "test", "--locked", "--no-fail-fast", *arguments], cwd=parts.ROOT, env=env, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
    )
    try:
        for line in process.stdout:
            tests.line(line)
        tests.end(process.wait())
    except BaseException:
        os.killpg(process.pid, 15)
        process.wait()
        raise
    return tests.wrong


class Script:
    """One of the scripts that try the built program from outside. Its output goes to a file."""

    def __init__(self, name, env):
        self.name, self.began = name, time.monotonic()
        self.output = tempfile.TemporaryFile("w+", errors="replace")
        self.process = subprocess.Popen(
            [sys.executable, parts.ROOT / f"scripts/{name}.py"], cwd=parts.ROOT, env=env, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=self.output, stderr=subprocess.STDOUT,
        )

    def report(self):
        self.output.seek(0)
        text = self.output.read()
        counted = [int(a or b) for a, b in COUNTED.findall(text)]
        checks = sum(counted) or len(CHECKS.findall(text))
        is_good = self.process.returncode == 0
        verdict(self.name, is_good, time.monotonic() - self.began, f"{checks} checks")
        if not is_good:
            say(text)
        return is_good


def scripts(names, env):
    waiting, running, wrong = list(names), [], []
    try:
        while waiting or running:
            while waiting and len(running) < AT_ONCE:
                running.append(Script(waiting.pop(0), env))
            for script in [script for script in running if script.process.poll() is not None]:
                running.remove(script)
                if not script.report():
                    wrong.append(script.name)
            time.sleep(0.1)
    finally:
        for script in running:
            # A script stops what it started when it is asked to stop.
            script.process.terminate()
            script.process.wait()
    return wrong


def run(is_quick):
    began = time.monotonic()
    arguments = QUICK if is_quick else []
    plan = TESTS._replace(arguments=[*TESTS.arguments, *arguments])
    tools = build.fetch_and_build(("nats",) if is_quick else TOOLS, plan)
    verdict("build", True, time.monotonic() - began, "the tests are built, the tools are here")
    env = dict(os.environ, NATS_SERVER=tools["nats"])
    wrong = cargo_tests(arguments, env)
    if not is_quick:
        target = os.environ.get("CARGO_TARGET_DIR", parts.ROOT / "target")
        wrong += scripts(SCRIPTS, dict(env, FOREBAY_BIN=os.path.join(target, "debug", "forebay")))
    name = "make quick" if is_quick else "make test"
    spent = build.clock(time.monotonic() - began)
    say(f"{name}: {'failed: ' + ', '.join(wrong) if wrong else 'everything passed'} ({spent})")
    return int(bool(wrong))


def main():
    parts.stop_by_signal()
    try:
        return run(sys.argv[1:] == ["quick"])
    except parts.Trouble as trouble:
        print(f"forebay: {trouble}", file=sys.stderr)
        return 1
    except parts.Stop:
        return 130
    finally:
        parts.stop_all()


if __name__ == "__main__":
    sys.exit(main())
