"""`make run`: everything on this machine, a first job, and what to try next. Ctrl-C stops it all.

FOREBAY_PORT, NATS_PORT and MODEL_PORT choose other ports; FOREBAY_HOME another folder than .forebay; FOREBAY_BIN a
binary that is built already.
"""

import json
import os
import pathlib
import shlex
import subprocess
import sys
import time

import build
import parts

PROMPT = "Explain in three sentences why a river needs a reservoir."


def say(text=""):
    print(text, flush=True)


class Shell:
    """How a person calls `forebay` from here: on other ports than the usual ones each command says so."""

    def __init__(self, binary, http, nats):
        self.binary = os.path.relpath(binary)
        self.http = f"http://127.0.0.1:{http}"
        self.nats = f"nats://127.0.0.1:{nats}"
        # What is set for some other broker must not lead there.
        theirs = ("FOREBAY_URL", "FOREBAY_NATS", "FOREBAY_PREFIX", "FOREBAY_TOKEN")
        self.env = {key: value for key, value in os.environ.items() if key not in theirs}

    def words(self, command, *words):
        """The arguments of a command, the broker's address among them where that is not the usual one."""
        over_http = command in ("jobs", "follow")
        url, usual = (self.http, "http://127.0.0.1:8087") if over_http else (self.nats, "nats://127.0.0.1:4222")
        where = [] if url == usual else ["--url" if over_http else "--nats", url]
        return [self.binary, command, *words, *where]

    def line(self, command, *words):
        return " ".join(word if word.isalnum() else quoted(word) for word in self.words(command, *words))

    def start(self, command, *words, **more):
        # A session of its own: Ctrl-C reaches it through us.
        return subprocess.Popen(self.words(command, *words), env=self.env, start_new_session=True, **more)


def quoted(word):
    return f'"{word}"' if " " in word else shlex.quote(word)


def first_job(shell):
    """Runs one job over NATS; the client shows its text as it comes, then usage, cost and times. Returns its id."""
    name = time.strftime("first-%Y%m%d-%H%M%S")
    words = ("run", parts.MODEL, PROMPT, "--tag", "teamId=first-run", "--id", name)
    say(f"\n$ {shell.line(*words)}\n")
    client = shell.start(*words)
    try:
        code = client.wait()
    except BaseException:
        client.kill()
        client.wait()
        raise
    if code != 0:
        raise parts.Trouble(f"the first job did not complete: `forebay run` ended with {code}; see above")
    return name


def providers(shell):
    listing = shell.start("models", "--json", stdout=subprocess.PIPE)
    answer, _ = listing.communicate(timeout=parts.START_S)
    return json.loads(answer)["providers"] if listing.returncode == 0 else []


def addresses(shell, model, home):
    say(f"\n  HTTP, WebSocket   {shell.http}   (/metrics, /readyz)")
    say(f"  NATS              {shell.nats}")
    say(f"  local model       http://127.0.0.1:{model}/v1")
    say(f"  providers         {', '.join(providers(shell))}")
    say(f"  configuration     {os.path.relpath(home / 'forebay.toml')}   (prices there are examples: the local model is free)")
    say(f"  logs              {os.path.relpath(home / 'logs')}/")


def next_steps(shell, first):
    say("\nTry next, in another terminal:\n")
    for words, what in (
        (("run", parts.MODEL, "Name three rivers.", "--tag", "teamId=me"), "another job, over NATS"),
        (("follow", first), "the first one again, over WebSocket: from the log, no provider is asked"),
        (("jobs",), "what ran"),
        (("costs", "--by", "teamId"), "what it cost"),
    ):
        say(f"  # {what}\n  {shell.line(*words)}\n")
    body = json.dumps({"model": parts.MODEL, "input": "Hi"})
    say(f"  # over HTTP, as server-sent events\n  curl -N {shell.http}/v1/run -H 'accept: text/event-stream' \\\n"
        f"    -H 'content-type: application/json' -d '{body}'")
    say("\nCtrl-C stops everything.")


def watch():
    """Returns the first part that ended by itself."""
    while True:
        for part in parts.STARTED:
            if not part.is_alive():
                return part
        time.sleep(0.2)


def start_all(home, ports, binary):
    http, nats, model = ports
    parts.write_config(home, http, nats, model)
    for name, start in (
        ("nats-server", lambda: parts.nats_part(home, nats)),
        ("local model", lambda: parts.model_part(home, model)),
        ("broker", lambda: parts.broker_part(home, http, binary)),
    ):
        began = time.monotonic()
        start()
        say(f"{name} is up ({time.monotonic() - began:.1f} s)")


def serve():
    home = pathlib.Path(os.environ.get("FOREBAY_HOME", parts.HOME)).resolve()
    ports = [parts.port(*which) for which in (("FOREBAY_PORT", 8087), ("NATS_PORT", 4222), ("MODEL_PORT", 8080))]
    if len(set(ports)) < len(ports):
        raise parts.Trouble("FOREBAY_PORT, NATS_PORT and MODEL_PORT must differ")
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise parts.Trouble(f"FOREBAY_HOME: {error}") from None
    binary = build.prepare("nats", "model")
    start_all(home, ports, binary)
    shell = Shell(binary, *ports[:2])
    first = first_job(shell)
    addresses(shell, ports[2], home)
    next_steps(shell, first)
    ended = watch()
    raise parts.Trouble(f"{ended.name} ended with {ended.process.returncode}: {ended.last_words()} ({ended.log})")


def main():
    parts.stop_by_signal()
    status = 0
    try:
        serve()
    except parts.Stop:
        say("\nstopping")
    except parts.Trouble as trouble:
        print(f"forebay: {trouble}", file=sys.stderr)
        status = 1
    finally:
        parts.stop_all()
    return status


if __name__ == "__main__":
    sys.exit(main())
