"""`make run`: everything on this machine, a first job, and what to try next. Ctrl-C stops it all.

FOREBAY_PORT, NATS_PORT and MODEL_PORT choose other ports; FOREBAY_HOME another folder than .forebay.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import parts

PROMPT = "Explain in three sentences why a river needs a reservoir."


def say(text=""):
    print(text, flush=True)


class Stop(Exception):
    """Ctrl-C, or a polite end from outside."""


def stop(*_):
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # stopping is under way already
    raise Stop


def first_job(binary, env):
    """Runs one job over NATS and shows its text as it comes. Returns its terminal record."""
    command = [binary, "run", parts.MODEL, PROMPT, "--tag", "teamId=first-run", "--json"]
    say(f"$ forebay run {parts.MODEL} \"{PROMPT}\" --tag teamId=first-run\n")
    client = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, start_new_session=True)
    terminal = None
    try:
        for line in client.stdout:
            record = json.loads(line)
            kind = record.get("kind")
            if kind == "delta":
                print(record["text"], end="", flush=True)
            elif kind in ("completed", "failed", "cancelled", "interrupted"):
                terminal = record
    finally:
        client.kill() if terminal is None else client.wait()
    if terminal is None or terminal["kind"] != "completed":
        say()
        error = (terminal or {}).get("error", {}).get("message", "no terminal record came")
        raise parts.Trouble(f"the first job did not complete: {error}")
    return terminal


def show(terminal):
    usage, cost, timing = terminal["usage"], terminal["cost"], terminal["timing"]
    first = timing.get("first_output_ms")
    price = f"{cost['usd']} USD" if cost["priced"] else "no price known"
    say(f"\n\n  {usage.get('input_tokens')} tokens in, {usage.get('output_tokens')} out · {price}"
        f" · first token after {first} ms · {timing['total_ms']} ms in all\n")


def addresses(http, nats, model, home):
    say(f"  HTTP, WebSocket   http://127.0.0.1:{http}   (/metrics, /readyz)")
    say(f"  NATS              nats://127.0.0.1:{nats}")
    say(f"  local model       http://127.0.0.1:{model}/v1")
    say(f"  logs              {os.path.relpath(home / 'logs')}")
    on = [f"{name} ({key})" for name, key in parts.providers_with_keys()]
    say(f"  providers         {', '.join(['local', *on])}")


def next_steps(binary, http, nats):
    """Five commands; on other ports than the usual ones they say so."""
    where = ""
    if (http, nats) != (8087, 4222):
        where = f"FOREBAY__SERVER__LISTEN=127.0.0.1:{http} FOREBAY__NATS__URL=nats://127.0.0.1:{nats} "
    command = where + os.path.relpath(binary)
    say("\nTry next, in another terminal:\n")
    say(f'  {command} run {parts.MODEL} "Name three rivers." --tag teamId=me')
    say(f"  {command} jobs")
    say(f"  {command} costs --by teamId")
    say(f"  {command} models")
    say(f"  curl -N 127.0.0.1:{http}/v1/run -H 'accept: text/event-stream' \\\n"
        f"       -d '{{\"model\": \"{parts.MODEL}\", \"input\": \"Hi\"}}'")
    say("\nCtrl-C stops everything.")


def watch():
    """Returns the first part that ended by itself."""
    while True:
        for part in parts.STARTED:
            if not part.is_alive():
                return part
        time.sleep(0.2)


def serve():
    home = pathlib.Path(os.environ.get("FOREBAY_HOME", parts.HOME)).resolve()
    home.mkdir(parents=True, exist_ok=True)
    ports = [parts.port(*which) for which in (("FOREBAY_PORT", 8087), ("NATS_PORT", 4222), ("MODEL_PORT", 8080))]
    http, nats, model = ports
    if len(set(ports)) < len(ports):
        raise parts.Trouble("FOREBAY_PORT, NATS_PORT and MODEL_PORT must differ")
    parts.tool("nats"), parts.tool("model")
    binary = parts.build()
    parts.write_config(home, http, nats, model)
    for name, start in (
        ("nats-server", lambda: parts.nats_part(home, nats)),
        ("local model", lambda: parts.model_part(home, model)),
        ("broker", lambda: parts.broker_part(home, http)),
    ):
        began = time.monotonic()
        start()
        say(f"{name} is up ({time.monotonic() - began:.1f} s)")
    say()
    env = dict(os.environ, FOREBAY__SERVER__LISTEN=f"127.0.0.1:{http}", FOREBAY__NATS__URL=f"nats://127.0.0.1:{nats}")
    show(first_job(binary, env))
    addresses(http, nats, model, home)
    next_steps(binary, http, nats)
    ended = watch()
    raise parts.Trouble(f"{ended.name} ended with {ended.process.returncode}: {ended.last_words()} ({ended.log})")


def main():
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    status = 0
    try:
        serve()
    except Stop:
        say("\nstopping")
    except parts.Trouble as trouble:
        print(f"forebay: {trouble}", file=sys.stderr)
        status = 1
    finally:
        parts.stop_all()
    return status


if __name__ == "__main__":
    sys.exit(main())
