"""What the files of one library have in common: where the broker is, and how claims are checked and told."""

import json
import os
import sys
import time
import traceback
import urllib.request

BASE = os.environ["FOREBAY_HTTP"]
KEY = os.environ["FOREBAY_KEY"]
NAME = os.environ["FOREBAY_LIBRARY"]  # this file's; what it names in the broker begins with it
ASKED = [{"role": "user", "content": "Say hello in five words."}]
WAIT_S = 10


def failing(providers=iter(range(1_000))):
    """A provider that nobody has asked before: one that fails is left alone for a while."""
    return f"{NAME}-{next(providers)}"


def get(path):
    """The JSON of the broker's own interface."""
    request = urllib.request.Request(f"{BASE}{path}", headers={"authorization": f"Bearer {KEY}"})
    with urllib.request.urlopen(request, timeout=WAIT_S) as answer:
        return json.load(answer)


def jobs_of(tag):
    return get(f"/v1/jobs?tag.t={tag}")["jobs"]


def state_of(job):
    return get(f"/v1/jobs/{job}")["state"]


def raises(kind, ask, **said):
    """The error that `ask` raises: of just this class, and with these attributes."""
    try:
        ask()
    except Exception as error:
        assert type(error) is kind, f"{type(error).__name__}: {error}"
        for name, value in said.items():
            assert getattr(error, name) == value, f"{name} is {getattr(error, name)!r}: {error}"
        return error
    raise AssertionError(f"no {kind.__name__}")


async def all_of(asking):
    """The events of an asynchronous stream that is being asked for."""
    return [event async for event in await asking]


def soon(what, look):
    """What `look` finds, within a time that is long enough on any machine."""
    deadline = time.monotonic() + WAIT_S
    while not (found := look()):
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.02)
    return found


def main(claims):
    wrong = 0
    for claim in claims:
        what = claim.__name__.replace("_", " ")
        began = time.monotonic()
        try:
            claim()
            print(f"  ✓ {what} ({time.monotonic() - began:.1f} s)", flush=True)
        except Exception:
            wrong += 1
            print(f"  ✗ NOT SO: {what}\n{traceback.format_exc()}", flush=True)
    sys.exit(int(wrong > 0))
