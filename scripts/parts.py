"""The parts that `make run` and `make demo` consist of: nats-server, the local model, the broker.

Owns ports, generated configuration, logs and processes. Promises that whatever it started is stopped, in the order
that loses nothing: the broker first. Does not know what the parts are used for.
"""

import ctypes
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
HOME = ROOT / ".forebay"
MODEL = "local/smollm2"
START_S = 60  # a part that does not answer after this long never will
STOP_S = 15  # the broker may use its drain time; then it is killed
LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # each asks us to stop
STARTED = []  # every part, in the order of its start


class Trouble(Exception):
    """Something a person has to change; the message is one line."""


class Stop(Exception):
    """Ctrl-C, or a polite end from outside."""


def stop_by_signal():
    """The first signal raises `Stop` in the main thread; further ones find the stopping under way."""

    def stop(*_):
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        raise Stop

    for number in SIGNALS:
        signal.signal(number, stop)


def port(variable, default):
    """The port that an environment variable names, checked to be free."""
    text = os.environ.get(variable, str(default))
    if not text.isdigit() or not 0 < int(text) < 65536:
        raise Trouble(f"{variable}={text} is not a port")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", int(text)))
        except OSError:
            raise Trouble(
                f"port {text} is in use: stop what listens there, or choose another with {variable}=PORT"
            ) from None
    return int(text)


def free_port():
    """A free port, below those that systems give to outgoing connections: it stays free until it is used."""
    while True:
        number = random.randrange(15_000, 30_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", number))
                return number
            except OSError:
                continue


def tool(name):
    """What `scripts/tools.sh NAME` prints; its progress and its one line of trouble go to the terminal."""
    done = child([ROOT / "scripts/tools.sh", name], stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise SystemExit(done.returncode)
    return done.stdout.strip()


def child(command, **more):
    """Runs a command to its end in the project's folder. If we are stopped meanwhile, so is all that it started."""
    process = subprocess.Popen(command, cwd=ROOT, start_new_session=True, stdin=subprocess.DEVNULL, **more)
    try:
        out, _ = process.communicate()
    except BaseException:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()
        raise
    return subprocess.CompletedProcess(command, process.returncode, out)


class Part:
    """A process in a session of its own, so that Ctrl-C reaches it only through us. Output goes to a log."""

    def __init__(self, name, command, folder, env=None):
        self.name = name
        (folder / "logs").mkdir(parents=True, exist_ok=True)
        self.log = folder / "logs" / f"{name}.log"
        self.command = [str(word) for word in command]
        self.env = dict(os.environ, **(env or {}))
        self.folder = folder
        self.process = None

    def start(self):
        parent = os.getpid()
        if self not in STARTED:
            STARTED.append(self)
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self.command, cwd=self.folder, env=self.env, start_new_session=True, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, preexec_fn=lambda: die_with(parent),
            )
        return self

    def is_alive(self):
        return self.process is not None and self.process.poll() is None

    def last_words(self):
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        return lines[-1].strip()[:300] if lines else "it wrote nothing"

    def wait_until(self, answers, limit_s=START_S):
        """Polls `answers()`; a part that died meanwhile, or is silent too long, is `Trouble`."""
        deadline = time.monotonic() + limit_s
        while not answers():
            if not self.is_alive():
                raise Trouble(f"{self.name} ended with {self.process.returncode}: {self.last_words()} ({self.log})")
            if time.monotonic() > deadline:
                raise Trouble(f"{self.name} does not answer after {limit_s} s ({self.log})")
            time.sleep(0.02)
        return self

    def stop(self):
        if not self.is_alive():
            return
        # The whole session: a part may be a shell that has started the program.
        os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self):
        """SIGKILL: nothing that the part wanted to do is done."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def stop_all():
    """Stops every part, the last started first. Nothing interrupts this."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    for part in reversed(STARTED):
        part.stop()


def trial(name, tools, body):
    """A script's work: `body(folder)` in a folder of its own, says how much went wrong. All that it started is stopped.

    The script's exit code."""
    stop_by_signal()
    try:
        for each in tools:
            tool(each)
        folder = HOME / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return int(body(folder) > 0)
    except (Trouble, OSError) as trouble:
        print(f"forebay: the trial broke off: {trouble}", file=sys.stderr)
        return 1
    except Stop:
        return 130
    finally:
        stop_all()


def die_with(parent):
    """In the child: SIGKILL of the script must not leave parts behind (Linux; elsewhere they stay)."""
    if sys.platform == "linux":
        LIBC.prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:
            os._exit(1)


def answers(url):
    def ask():
        try:
            with urllib.request.urlopen(url, timeout=1) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False

    return ask


def listens(number):
    def ask():
        try:
            socket.create_connection(("127.0.0.1", number), 1).close()
            return True
        except OSError:
            return False

    return ask


def nats_part(folder, number):
    """nats-server with JetStream. Accepted jobs are durable in Forebay's own log, published ones
    reach the disk within a second."""
    config = folder / "nats.conf"
    config.write_text(
        f"# Written by scripts/parts.py at every start.\n"
        f'listen: "127.0.0.1:{number}"\n'
        f'jetstream {{ store_dir: "{folder / "nats"}", max_memory_store: 64MB, max_file_store: 4GB, '
        f'sync_interval: "1s" }}\n'
    )
    part = Part("nats", [tool("nats"), "-c", config], folder)
    return part.start().wait_until(listens(number))


def model_part(folder, number):
    env = {"PYTHONPATH": tool("model")}
    part = Part("model", [sys.executable, ROOT / "scripts/model_server.py", number], folder, env)
    return part.start().wait_until(answers(f"http://127.0.0.1:{number}/health"))


def write_config(folder, http, nats, model):
    """The broker's configuration. The local model is free; it has a price here so that money can be seen to add up."""
    (folder / "forebay.toml").write_text(
        f"""# Written by scripts/parts.py at every start: change that, or copy this.
[server]
listen = "127.0.0.1:{http}"
drain_s = 3

[nats]
url = "nats://127.0.0.1:{nats}"

[log]
path = "{folder / "data"}"

[providers.local]
kind = "openai-compatible"
base_url = "http://127.0.0.1:{model}/v1"
prefill = "exact"  # this server goes on from the beginning of an answer

[prices."{MODEL}"]
input_per_mtok_usd = 0.05
output_per_mtok_usd = 0.20
"""
    )


def broker_part(folder, http, binary):
    part = Part("broker", [binary, "serve", "--config", folder / "forebay.toml"], folder)
    return part.start().wait_until(answers(f"http://127.0.0.1:{http}/readyz"))
