"""`make demo`: two minutes that prove the point on a real model. Every claim is checked; one that fails fails the demo.

Everything runs on free ports in .forebay/demo, beside whatever else runs here.
"""

import json
import shutil
import signal
import sys
import threading
import time
import urllib.request
from decimal import Decimal

import parts
from counting_proxy import CountingProxy
from nats import Nats
from ws import Closed, Reader

LONG, CRASH, OFFLINE, JOIN = (
    "Tell a long story about a river and the people who live beside it.",
    "Tell a long story about a lighthouse keeper and a storm.",
    "Name three lakes.",
    "Name three mountains.",
)
WAIT_S = 120


def say(text=""):
    print(text, flush=True)


def step(text):
    say(f"\n── {text}")


class Claims:
    """What the demo says, and whether it is so."""

    def __init__(self):
        self.failed = 0

    def check(self, claim, holds, why=""):
        self.failed += not holds
        say(f"  {'✓' if holds else '✗ NOT SO:'} {claim}{'' if holds or not why else f' ({why})'}")


class House:
    """The running parts, and how to kill one."""

    def __init__(self, binary):
        self.folder = parts.HOME / "demo"
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.http, self.nats, model = parts.free_port(), parts.free_port(), parts.free_port()
        parts.nats_part(self.folder, self.nats)
        parts.model_part(self.folder, model)
        self.provider = CountingProxy(model)
        parts.write_config(self.folder, self.http, self.nats, self.provider.port)
        self.broker = parts.broker_part(self.folder, self.http, binary)

    def restart_broker(self):
        self.broker.start().wait_until(parts.answers(f"http://127.0.0.1:{self.http}/readyz"))

    def get(self, path):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}{path}", timeout=WAIT_S) as answer:
            return json.load(answer)

    def post(self, path, body):
        url, headers = f"http://127.0.0.1:{self.http}{path}", {"content-type": "application/json"}
        request = urllib.request.Request(url, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=WAIT_S) as answer:
            return json.load(answer)

    def wait_for(self, job, state):
        deadline = time.monotonic() + WAIT_S
        while (now := self.get(f"/v1/jobs/{job}")["state"]) != state:
            if time.monotonic() > deadline:
                raise parts.Trouble(f"job {job} is {now}, not {state}, after {WAIT_S} s")
            time.sleep(0.05)


def job(name, prompt, team, **more):
    """A job of the demo. Temperature 0: the model's answer is its own, not the dice's."""
    words = {"messages": [{"role": "user", "content": prompt}], "max_tokens": 400, "temperature": 0}
    return {"id": name, "model": parts.MODEL, "input": words, "metadata": {"teamId": team}} | more


def text_of(records):
    """The answer as a reader shows it: `restarted` says to discard what was shown."""
    text = ""
    for record in records:
        if record["kind"] == "restarted":
            text = ""
        elif record["kind"] == "delta":
            text += record["text"]
    return text


def is_dense(records):
    return [record["seq"] for record in records] == list(range(len(records)))


def terminals(records):
    return [record["kind"] for record in records if "cost" in record]


def read_all(house, name):
    reader = Reader(house.http, name)
    for _ in reader.follow():
        pass
    return reader.records_seen


def show(frame):
    for record in frame:
        if record["kind"] == "restarted":
            print("\n  [the broker says: discard this, a new answer comes]\n  ", end="", flush=True)
        elif record["kind"] == "delta":
            print(record["text"].replace("\n", "\n  "), end="", flush=True)


class InBackground:
    """Runs `work` in a thread; `result()` waits for it and raises what it raised."""

    def __init__(self, work):
        self.value, self.error = None, None
        self.thread = threading.Thread(target=self._run, args=(work,), daemon=True)
        self.thread.start()

    def _run(self, work):
        try:
            self.value = work()
        except Exception as error:  # handed to whoever asks for the result
            self.error = error

    def result(self):
        self.thread.join(WAIT_S)
        if self.thread.is_alive():
            raise parts.Trouble(f"a reader has waited {WAIT_S} s for the end of its stream")
        if self.error is not None:
            raise self.error
        return self.value


def a_reader_is_cut(house, claims):
    step("A job over NATS. Two WebSocket readers follow it; the connection of one is cut in mid-answer.")
    accepted, answers = Nats(house.nats).run(job("story", LONG, "readers"))
    over_nats = InBackground(lambda: list(answers_until_terminal(answers)))
    uncut = InBackground(lambda: read_all(house, "story"))
    reader = Reader(house.http, "story")
    print("  ", end="")
    for frame in reader.follow():
        show(frame)
        if len(text_of(reader.records_seen)) > 300:
            break
    reader.cut()
    state = house.get("/v1/jobs/story")["state"]
    say(" ✂")
    claims.check("the job went on without this reader", state == "streaming", f"it was {state}")
    time.sleep(0.5)
    print("  [resumes from its cursor] ", end="")
    for frame in reader.follow():
        show(frame)
    say()
    whole = uncut.result()
    claims.check("the cut reader's text is the uncut reader's text", text_of(reader.records_seen) == text_of(whole))
    claims.check("no record is missing and none came twice", reader.records_seen == whole and is_dense(whole))
    claims.check("NATS delivered the same records", over_nats.result() == whole)
    claims.check("the provider was asked once", house.provider.count(LONG) == 1, f"{house.provider.count(LONG)} times")
    claims.check("the submitter had its id at once", accepted["id"] == "story" and not accepted["reused"])


def answers_until_terminal(answers):
    for record in answers:
        yield record
        if "cost" in record:
            return


def the_broker_is_killed(house, claims):
    step("Another job (on_crash: restart). The broker is killed with SIGKILL in mid-answer.")
    finished = read_all(house, "story")
    Nats(house.nats).run(job("storm", CRASH, "crash", options={"on_crash": "restart"}))
    reader = Reader(house.http, "storm")
    killed_at = None
    print("  ", end="")
    while reader.end is None:
        try:
            for frame in reader.follow():
                show(frame)
                if killed_at is None and len(text_of(reader.records_seen)) > 300:
                    killed_at = len(reader.records_seen)
                    kill_and_restart(house, claims)
        except (Closed, OSError):
            time.sleep(0.05)  # the broker is not back yet: the same cursor, again
    say()
    after_the_crash(house, claims, reader, killed_at, finished)


def kill_and_restart(house, claims):
    house.broker.kill()
    say("\n  ☠ kill -9")
    acknowledged = Nats(house.nats).publish_job(job("lakes", OFFLINE, "offline"))
    claims.check("a job published now is kept by JetStream", acknowledged.get("stream") == "FOREBAY_JOBS", acknowledged)
    began = time.monotonic()
    house.restart_broker()
    say(f"  the broker is back after {time.monotonic() - began:.2f} s")
    print("  ", end="")


def after_the_crash(house, claims, reader, killed_at, finished):
    seen, replay = reader.records_seen, read_all(house, "storm")
    claims.check("the killed broker's reader had seen nothing that is gone", seen[:killed_at] == replay[:killed_at])
    claims.check("the reader resumed by itself, without gap or double", seen == replay and is_dense(seen))
    claims.check("it was told to discard the torn answer", [r["kind"] for r in seen].count("restarted") == 1)
    claims.check("the job ended exactly once, completed", terminals(seen) == ["completed"], terminals(seen))
    claims.check("its answer is whole", len(text_of(seen)) > 300)
    asked = house.provider.count(CRASH)
    claims.check("the provider was asked twice: the restart needs it", asked == 2, f"{asked} times")
    claims.check("the finished job replays to the byte", read_all(house, "story") == finished)
    claims.check("…without asking the provider", house.provider.count(LONG) == 1)
    house.wait_for("lakes", "completed")
    claims.check("the job published while the broker was down is done", house.provider.count(OFFLINE) == 1)


def equal_jobs_join(house, claims):
    step("The same job, ten times at once: five over NATS, five over HTTP.")
    same = {key: value for key, value in job("", JOIN, "joins", idempotency_key="turn-1").items() if key != "id"}
    over_http = [InBackground(lambda: house.post("/v1/run", same)["id"]) for _ in range(5)]
    over_nats = [InBackground(lambda: Nats(house.nats).run(same)[0]["id"]) for _ in range(5)]
    ids = {each.result() for each in over_http + over_nats}
    claims.check("all ten are one job", len(ids) == 1, f"{len(ids)} jobs")
    house.wait_for(ids.pop(), "completed")
    asked = house.provider.count(JOIN)
    claims.check("the provider was asked once", asked == 1, f"{asked} times")
    claims.check("in all it was asked 5 times for 13 submissions and 6 replays", house.provider.count() == 5,
                 f"{house.provider.count()} times")


def costs_add_up(house, claims):
    step("What it cost, by team.")
    by_team = {}
    for listed in house.get("/v1/jobs?limit=100")["jobs"]:
        terminal = read_all(house, listed["id"])
        team = terminal[0]["metadata"]["teamId"]
        by_team[team] = by_team.get(team, Decimal(0)) + Decimal(terminal[-1]["cost"]["usd"])
    costs = house.get("/v1/costs?by=metadata.teamId")
    rows = {row["key"]["teamId"]: row for row in costs["rows"]}
    for team, row in sorted(rows.items()):
        say(f"    {team:<10} {row['usd']:>14} USD   {row['jobs']} job(s), {row['attempts']} attempt(s),"
            f" {row['output_tokens']} tokens out")
    ledger = {team: Decimal(row["usd"]) for team, row in rows.items()}
    claims.check("each team's sum is the sum of its jobs' costs", ledger == by_team, f"{ledger} and {by_team}")
    claims.check("the total is the sum of the teams", Decimal(costs["total"]["usd"]) == sum(by_team.values()))
    claims.check("nothing was free", all(amount > 0 for amount in ledger.values()))


def tour(claims):
    parts.tool("nats"), parts.tool("model")
    house = House(parts.build())
    for chapter in (a_reader_is_cut, the_broker_is_killed, equal_jobs_join, costs_add_up):
        chapter(house, claims)


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    claims = Claims()
    try:
        tour(claims)
    except parts.Trouble as trouble:
        say()
        print(f"forebay: {trouble}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        say("\nstopped")
        return 130
    finally:
        parts.stop_all()
    say(f"\n{'Every claim held.' if claims.failed == 0 else f'{claims.failed} claim(s) did not hold.'}")
    return int(claims.failed > 0)


if __name__ == "__main__":
    sys.exit(main())
