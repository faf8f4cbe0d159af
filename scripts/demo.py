"""`make demo`: a tour that proves the point on a real model. Every claim is checked; one that fails fails the demo.

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

import build
import parts
from counting_proxy import CountingProxy
from nats import Nats
from ws import Closed, Reader, Refused

LONG, CRASH, OFFLINE, JOIN = (
    "Tell a long story about a river and the people who live beside it.",
    "Tell a long story about a lighthouse keeper and a storm.",
    "Name three lakes.",
    "Name three mountains.",
)
LONG_TOKENS, SHORT_TOKENS = 300, 40
CUT_AFTER_CHARACTERS = 250
WAIT_S = 120  # one thing that takes longer never ends
LIMIT_S = 300  # the whole tour


def say(text=""):
    print(text, flush=True)


def step(text):
    say(f"\n── {text}")


class Claims:
    """What the demo says, and whether it is so."""

    def __init__(self):
        self.made, self.failed = 0, 0

    def check(self, claim, holds, why=""):
        self.made += 1
        self.failed += not holds
        say(f"  {'✓' if holds else '✗ NOT SO:'} {claim}{'' if holds or not why else f' ({why})'}")

    def check_requests(self, claim, setup, prompt, times):
        """A claim about the provider's own count of what it was asked."""
        counted = setup.provider.count(prompt)
        self.check(claim, counted == times, f"{counted} times")


class Setup:
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

    def wait_for(self, job, what, holds):
        """Asks for the job's status until `holds(status)`."""
        deadline = time.monotonic() + WAIT_S
        while not holds(status := self.get(f"/v1/jobs/{job}")):
            if time.monotonic() > deadline:
                raise parts.Trouble(f"job {job} is not {what} after {WAIT_S} s: {status}")
            time.sleep(0.05)

    def wait_until_completed(self, job):
        self.wait_for(job, "completed", lambda status: status["state"] == "completed")


def job(name, prompt, team, tokens=SHORT_TOKENS, **more):
    """A job of the demo. Temperature 0: the model's answer is its own, not the dice's; it may not repeat itself."""
    words = {"messages": [{"role": "user", "content": prompt}], "max_tokens": tokens, "temperature": 0}
    words["frequency_penalty"] = 0.6
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


def read_all(setup, name):
    reader = Reader(setup.http, name)
    for _ in reader.follow():
        pass
    return reader.records_seen


class Screen:
    """Prints an answer as it comes, and remembers what the person in front of it has read."""

    def __init__(self):
        self.text = ""
        print("  ", end="", flush=True)

    def show(self, frame):
        for record in frame:
            if record["kind"] == "restarted":
                self.text = ""
                print("\n  [the broker says: discard this, a new answer comes]\n  ", end="", flush=True)
            elif record["kind"] == "delta":
                self.text += record["text"]
                print(record["text"].replace("\n", "\n  "), end="", flush=True)

    def remark(self, text):
        print(text, end=" ", flush=True)


class InBackground:
    """Runs `work` in a thread; `result()` waits for it and raises what it raised."""

    def __init__(self, work):
        self.value, self.error = None, None
        self.thread = threading.Thread(target=self._run, args=(work,), daemon=True)
        self.thread.start()

    def _run(self, work):
        try:
            self.value = work()
        except Exception as error:  # handed to the caller that reads the result
            self.error = error

    def result(self):
        self.thread.join(WAIT_S)
        if self.thread.is_alive():
            raise parts.Trouble(f"a reader has waited {WAIT_S} s for the end of its stream")
        if self.error is not None:
            raise self.error
        return self.value


def a_reader_is_cut(setup, claims):
    step("A job over NATS. Two WebSocket readers follow it; the connection of one is cut in mid-answer.")
    accepted, answers = Nats(setup.nats).run(job("story", LONG, "readers", LONG_TOKENS))
    over_nats = InBackground(lambda: list(until_terminal(answers)))
    uncut = InBackground(lambda: read_all(setup, "story"))
    reader, screen = Reader(setup.http, "story"), Screen()
    for frame in reader.follow():
        screen.show(frame)
        if len(screen.text) > CUT_AFTER_CHARACTERS:
            break
    reader.cut()
    cut_at, cursor = len(reader.records_seen), reader.cursor
    screen.remark(" ✂ [cut; the job goes on]")
    setup.wait_for("story", "beyond the cut", lambda status: status["cursor"] != cursor or reader.end)
    screen.remark("[resumes from its cursor] ")
    for frame in reader.follow():
        screen.show(frame)
    say("\n")
    whole = uncut.result()
    claims.check("the submitter had its id at once", accepted["id"] == "story" and not accepted["reused"], accepted)
    claims.check("it was cut in mid-answer", not terminals(whole[:cut_at]) and text_of(whole[:cut_at]) != text_of(whole))
    claims.check("the text on this screen is the uncut reader's text, once and whole", screen.text == text_of(whole))
    claims.check("no record is missing and none came twice", reader.records_seen == whole and is_dense(whole))
    claims.check("NATS delivered the same records", over_nats.result() == whole)
    claims.check_requests("the provider was asked once", setup, LONG, 1)


def until_terminal(answers):
    for record in answers:
        yield record
        if "cost" in record:
            return


def the_broker_is_killed(setup, claims):
    step("Another job. The broker is killed with SIGKILL in mid-answer.")
    finished = read_all(setup, "story")
    Nats(setup.nats).run(job("storm", CRASH, "crash", LONG_TOKENS))
    reader, screen, killed_at = Reader(setup.http, "storm"), Screen(), None
    while reader.end is None:
        try:
            for frame in reader.follow():
                screen.show(frame)
                if killed_at is None and len(screen.text) > CUT_AFTER_CHARACTERS:
                    killed_at = len(reader.records_seen)
                    kill_and_restart(setup, claims)
        except (Closed, OSError):
            time.sleep(0.05)  # the broker is not back yet: the same cursor, again
    say("\n")
    after_the_crash(setup, claims, reader, screen, killed_at)
    what_was_done_stays_done(setup, claims, finished)


def kill_and_restart(setup, claims):
    setup.broker.kill()
    say(" ☠ [kill -9]\n")
    acknowledged = Nats(setup.nats).publish_job(job("lakes", OFFLINE, "offline"))
    claims.check("a job published now is kept by JetStream", acknowledged.get("stream") == "FOREBAY_JOBS", acknowledged)
    began = time.monotonic()
    setup.restart_broker()
    say(f"  [the broker is back after {time.monotonic() - began:.2f} s]")


def after_the_crash(setup, claims, reader, screen, killed_at):
    seen, replay = reader.records_seen, read_all(setup, "storm")
    claims.check("it was killed in mid-answer", killed_at is not None and not terminals(seen[:killed_at]))
    claims.check("the killed broker's reader had seen nothing that is gone", seen[:killed_at] == replay[:killed_at])
    claims.check("the reader resumed by itself, without gap or double", seen == replay and is_dense(seen))
    kinds = [record["kind"] for record in seen]
    modes = [record["mode"] for record in seen if record["kind"] == "attempt"]
    claims.check("nothing was discarded: the answer went on from the words on this screen",
                 "restarted" not in kinds and modes == ["start", "continue"], modes)
    torn = text_of(seen[:kinds.index("lost")])
    claims.check("the text that stands is those words and the rest, once and whole",
                 screen.text == text_of(replay) and screen.text.startswith(torn) and len(screen.text) > len(torn))
    claims.check("the job ended exactly once, completed", terminals(seen) == ["completed"], terminals(seen))
    claims.check_requests("the provider was asked once for the answer", setup, CRASH, 1)
    claims.check_requests("…and once for the rest of it", setup, torn.rstrip(), 1)


def what_was_done_stays_done(setup, claims, finished):
    setup.wait_until_completed("lakes")
    claims.check_requests("the job published while the broker was down is done", setup, OFFLINE, 1)
    claims.check("the finished job replays to the byte", read_all(setup, "story") == finished)
    again, _ = Nats(setup.nats).run(job("story", LONG, "readers", LONG_TOKENS))
    claims.check("submitted again, it is recognised", again["reused"], again)
    claims.check_requests("…and the provider was not asked for either", setup, LONG, 1)


def equal_jobs_join(setup, claims):
    step("The same job, ten times at once: five over NATS, five over HTTP.")
    same = {key: value for key, value in job("", JOIN, "joins", idempotency_key="turn-1").items() if key != "id"}
    over_http = [InBackground(lambda: setup.post("/v1/run", same)["id"]) for _ in range(5)]
    over_nats = [InBackground(lambda: Nats(setup.nats).run(same)[0]["id"]) for _ in range(5)]
    ids = {each.result() for each in over_http + over_nats}
    claims.check("all ten are one job", len(ids) == 1, f"{len(ids)} jobs")
    setup.wait_until_completed(ids.pop())
    claims.check_requests("the provider was asked once", setup, JOIN, 1)
    claims.check_requests("in all it was asked five times: four jobs, and one that a crash tore", setup, None, 5)


def costs_add_up(setup, claims):
    step("What it cost, by team.")
    by_team = {}
    for listed in setup.get("/v1/jobs?limit=100")["jobs"]:
        records = read_all(setup, listed["id"])
        team = records[0]["metadata"]["teamId"]
        by_team[team] = by_team.get(team, Decimal(0)) + Decimal(records[-1]["cost"]["usd"])
    costs = setup.get("/v1/costs?by=metadata.teamId")
    rows = {row["key"]["teamId"]: row for row in costs["rows"]}
    for team, row in sorted(rows.items()):
        say(f"    {team:<10} {row['usd']:>14} USD   {row['jobs']} job(s), {row['attempts']} attempt(s),"
            f" {row['output_tokens']} tokens out")
    ledger = {team: Decimal(row["usd"]) for team, row in rows.items()}
    claims.check("every team that worked is there", set(ledger) == {"readers", "crash", "offline", "joins"}, set(ledger))
    claims.check("each team's sum is the sum of its jobs' costs", ledger == by_team, f"{ledger} and {by_team}")
    claims.check("the total is the sum of the teams", Decimal(costs["total"]["usd"]) == sum(by_team.values()))
    claims.check("nothing was free", all(amount > 0 for amount in ledger.values()), ledger)
    attempts = sum(row["attempts"] for row in rows.values())
    claims.check("an attempt is booked for each time the provider was asked", attempts == setup.provider.count(), attempts)


def tour(claims):
    setup = Setup(build.prepare("nats", "model"))
    began = time.monotonic()
    signal.alarm(LIMIT_S)
    for chapter in (a_reader_is_cut, the_broker_is_killed, equal_jobs_join, costs_add_up):
        chapter(setup, claims)
    verdict = "Every claim held" if claims.failed == 0 else f"{claims.failed} claim(s) did not hold"
    say(f"\n{verdict}, {claims.made} made in {time.monotonic() - began:.0f} s.")
    say(f"{claims.made - claims.failed} passed, {claims.failed} failed")


def too_late(*_):
    raise parts.Trouble(f"the demo is not done after {LIMIT_S} s; its logs are in .forebay/demo/logs")


def main():
    parts.stop_by_signal()
    signal.signal(signal.SIGALRM, too_late)
    claims = Claims()
    try:
        tour(claims)
    except (parts.Trouble, Refused, OSError) as trouble:
        say()
        print(f"forebay: the demo broke off: {trouble}", file=sys.stderr)
        return 1
    except parts.Stop:
        say("\nstopped")
        return 130
    finally:
        signal.alarm(0)
        parts.stop_all()
    return int(claims.failed > 0)


if __name__ == "__main__":
    sys.exit(main())
