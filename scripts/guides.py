"""Runs every code block of README.md and of the guides in src/guide as it is printed; the convention is in guide_blocks.py.

Each guide has a folder of its own, in which its blocks run from top to bottom, each in a process of its own, and parts of
its own: a nats-server and a broker with NATS, without keys, with the provider `local` (the local model) and the built-in
`scripted`. The model server is shared. In what is printed, the ports 8087 (the broker), 4222 (NATS), 8080 (the model) and
9000 (a server of the reader) are replaced by free ones, and nothing else. `forebay`, `python3` and `node` are on the PATH.

Guides run three at a time. Run by `make test`; `guides.py NAME...` runs some guides only (README is one of them).
"""

import contextlib
import json
import os
import pathlib
import re
import shlex
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request

import build
import guide_blocks
import parts

AT_ONCE = 3
WAIT_S = 120  # a block that takes longer hangs
OUTPUT_CHARS = 4_000  # of a block that went wrong, the last ones
PRINTED = {"http": "8087", "nats": "4222", "model": "8080", "reader": "9000"}
SYNTAX = {
    "sh": ["bash", "-n"],
    "python": [sys.executable, "-c", "import ast, sys; ast.parse(open(sys.argv[1]).read())"],
    "js": ["node", "--check"],
}
RUN = {"sh": ["bash", "-euo", "pipefail"], "python": ["python3"], "js": ["node"]}
SUFFIX = {"sh": "sh", "python": "py", "js": "mjs"}


class Wrong(Exception):
    """A block does not do what its guide says; the message is its place and its output."""


def merge(config, piece):
    """`config` with a piece of TOML added: keys of a table that is there already go into that table and replace theirs."""
    header = re.compile(r"^\[(?!\[).*\] *(#.*)?$")
    sections = [["", []]]
    for source in (config, piece):
        section = sections[0]
        for line in source.splitlines():
            if header.match(line) or line.startswith("[["):
                name = line.partition("#")[0].strip()
                section = next((known for known in sections if known[0] == name and not name.startswith("[[")), None)
                if section is None:
                    sections.append(section := [name, []])
                continue
            key = re.match(r"^([\w.\"-]+) *=", line)
            if key and source is piece:
                section[1][:] = [old for old in section[1] if not re.match(re.escape(key[1]) + r" *=", old)]
            section[1].append(line)
    return "".join("\n".join([name, *lines]).strip() + "\n" for name, lines in sections)


class Guide:
    """One guide: its folder, its ports, its parts, and what became of its blocks."""

    def __init__(self, name, folder, model):
        self.folder = folder
        self.blocks = guide_blocks.read_all()[0][name]
        self.ports = {"http": parts.free_port(), "nats": parts.free_port(), "model": model, "reader": parts.free_port()}
        self.here = folder / "here"
        self.servers, self.broker = [], None
        for each in (self.here, folder / "bin", folder / "blocks"):
            each.mkdir()
        self.binary = build.prepare()
        (folder / "bin/forebay").symlink_to(self.binary)
        (folder / "bin/python3").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
        (folder / "bin/python3").chmod(0o755)
        # Node looks for packages beside a file, and in the folders above it.
        (folder / "node_modules").symlink_to(os.path.join(parts.tool("npm"), "node_modules"))
        path = [str(folder / "bin"), parts.tool("node"), os.environ["PATH"]]
        ours = {key: value for key, value in os.environ.items() if not key.startswith(("FOREBAY", "OPENAI", "ANTHROPIC"))}
        self.env = ours | {
            "PATH": os.pathsep.join(path),
            "PYTHONPATH": parts.tool("sdk"),
            "PYTHONUNBUFFERED": "1",
            "LANGSMITH_TRACING": "false",
            "FOREBAY_URL": f"http://127.0.0.1:{self.ports['http']}",
            "FOREBAY_NATS": f"nats://127.0.0.1:{self.ports['nats']}",
        }

    def start(self):
        parts.nats_part(self.folder, self.ports["nats"])
        parts.write_config(self.folder, self.ports["http"], self.ports["nats"], self.ports["model"])
        self.start_broker()

    def start_broker(self):
        command = [self.binary, "serve", "--config", self.folder / "forebay.toml"]
        self.broker = parts.Part("broker", command, self.folder)
        self.broker.start().wait_until(self.is_ready)

    def is_ready(self):
        """Whether the broker answers, with or without TLS."""
        trusting = ssl._create_unverified_context()
        for scheme in ("http", "https"):
            with contextlib.suppress(urllib.error.URLError, OSError):
                url = f"{scheme}://127.0.0.1:{self.ports['http']}/readyz"
                with urllib.request.urlopen(url, timeout=1, context=trusting) as answer:
                    return answer.status == 200
        return False

    def text(self, block):
        """A block's text with this guide's ports."""
        pattern = r"(?<!\d)(" + "|".join(PRINTED.values()) + r")(?!\d)"
        ports = {printed: str(self.ports[what]) for what, printed in PRINTED.items()}
        return re.sub(pattern, lambda found: ports[found[1]], block.text)

    def run(self, block):
        """Does with a block what its info string says. What it says was done: `run`, `checked` or `not run`."""
        if block.language in guide_blocks.SHOWN:
            return "not run"
        if block.language == "toml":
            return self.configure(block)
        if block.language == "json":
            json.loads(block.text)  # complained about before; here it is counted
            return "checked"
        suffix = SUFFIX.get(block.language, block.language)
        file = self.folder / "blocks" / f"line-{block.line}.{suffix}"
        file.write_text(self.text(block))
        if block.language == "yaml":
            self.execute(block, ["python3", "-c", "import sys, yaml; list(yaml.safe_load_all(open(sys.argv[1])))", file])
            return "checked"
        if block.mode in guide_blocks.NOT_RUN:
            self.execute(block, [*SYNTAX[block.language], file])
            return "not run"
        if targets := block.makes():
            self.execute(block, ["make", "-n", *targets], parts.ROOT)
            return "checked"
        command = [*RUN[block.language], file]
        if block.mode == "server":
            self.serve(block, command)
        else:
            self.execute(block, command)
        return "run"

    def execute(self, block, command, folder=None, env=None):
        """Runs a command to its end; all that it left running is ended as well. Returns what it printed."""
        log = self.folder / "blocks" / f"line-{block.line}.log"
        with open(log, "wb") as output:
            process = subprocess.Popen(
                [str(word) for word in command], cwd=folder or self.here, env=env or self.env, stdin=subprocess.DEVNULL,
                stdout=output, stderr=output, start_new_session=True,
            )
            try:
                code = process.wait(WAIT_S)
            except subprocess.TimeoutExpired:
                code = None
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
        printed = log.read_text(errors="replace")
        if code is None:
            raise Wrong(f"{block.place}: does not end within {WAIT_S} s\n{printed[-OUTPUT_CHARS:]}")
        if (code != 0) != (block.mode == "fails"):
            raise Wrong(f"{block.place}: ends with {code}\n{printed[-OUTPUT_CHARS:]}")
        return printed

    def configure(self, block):
        """Checks a piece of forebay.toml; variables that it names are set, since readers set theirs."""
        piece = self.text(block)
        file = self.folder / "blocks" / f"line-{block.line}.toml"
        file.write_text(piece)
        named = {name: "unused" for name in re.findall(r"env:(\w+)", piece)}
        command = ["forebay", "check", "--config", file]
        if block.mode == "deploy":
            # Of files that are on another machine nothing can be said; of everything else it can.
            absent = "No such file|there is no file"
            script = f'"$@" 2>&1 | grep -vE {shlex.quote(absent)} | grep -vE "the configuration has|: ok$" && exit 1; exit 0'
            self.execute(block, ["bash", "-c", script, "check", *command], env=self.env | named)
            return "checked"
        self.execute(block, command, env=self.env | named)
        if block.mode == "broker":
            config = self.folder / "forebay.toml"
            self.broker.stop()
            config.write_text(merge(config.read_text(), piece))
            self.env |= named
            os.environ.update(named)  # the broker's
            self.start_broker()
        return "checked"

    def serve(self, block, command):
        """Starts a program that does not end, and waits until it has written something or a port of this guide answers."""
        env, is_broker = dict(self.env), "forebay serve" in block.text
        if is_broker:
            self.broker.stop()  # the guide's reader has one broker, this one
            env |= self.defaults()
        server = parts.Part(f"line-{block.line}", command, self.here, env)
        server.log = self.folder / "blocks" / f"line-{block.line}.log"
        self.servers.append(server)
        ports = self.silent_ports()

        def is_up():
            return server.log.stat().st_size > 0 or any(parts.listens(port)() for port in ports)

        try:
            server.start().wait_until(self.is_ready if is_broker else is_up)
        except parts.Trouble as trouble:
            raise Wrong(f"{block.place}: {trouble}\n{server.log.read_text()[-OUTPUT_CHARS:]}") from None

    def silent_ports(self):
        """What may be a port in this guide's programs, and is none that answers now."""
        programs = "".join(self.text(block) for block in self.blocks if block.is_program())
        numbers = {int(number) for number in re.findall(r"(?<!\d)\d{4,5}(?!\d)", programs)}
        return [number for number in numbers if number < 65_536 and not parts.listens(number)()]

    def broken_servers(self):
        """What to say of servers that ended with an error by themselves; those that the guide stopped are fine."""
        ended = [server for server in self.servers if (server.process.poll() or 0) > 0]
        return "\n".join(f"{server.name} ended with {server.process.returncode}: {server.last_words()}" for server in ended)

    def defaults(self):
        """What a broker of the reader takes for granted, on this guide's ports, where its configuration does not say."""
        config = self.here / "forebay.toml"
        text = config.read_text() if config.is_file() else ""
        mine = {
            "listen": ("FOREBAY__SERVER__LISTEN", f"127.0.0.1:{self.ports['http']}"),
            "[nats]": ("FOREBAY__NATS__URL", self.env["FOREBAY_NATS"]),
            "[providers.local]": ("FOREBAY__PROVIDERS__LOCAL__BASE_URL", f"http://127.0.0.1:{self.ports['model']}/v1"),
        }
        return dict(variable for key, variable in mine.items() if key not in text)


def run_guide(name, model):
    """One guide, in this process. Says what was done; the number of things that went wrong."""

    def body(folder):
        began = time.monotonic()
        guide = Guide(name, folder, model)
        guide.start()
        done = {"run": 0, "checked": 0, "not run": 0}
        skipped = []
        for block in guide.blocks:
            try:
                became = guide.run(block)
            except Wrong as wrong:
                print(f"  \u2717 NOT SO: {wrong}")
                return 1
            done[became] += 1
            if became == "not run" and block.mode:
                skipped.append(f"{block.line} ({block.mode})")
        if broken := guide.broken_servers():
            print(f"  \u2717 NOT SO: {broken}")
            return 1
        counts = ", ".join(f"{count} {what}" for what, count in done.items() if count)
        skips = f"; not run: lines {', '.join(skipped)}" if skipped else ""
        print(f"  \u2713 {name}: {len(guide.blocks)} blocks in {time.monotonic() - began:.1f} s ({counts}{skips})")
        return 0

    return parts.trial(f"guides/{name}", [], body)


def test_merge():
    """What `toml broker` does to a configuration, against a sample."""
    merged = merge('[a]\nx = 1\ny = 2\n[b]\nz = 3\n', '[a]\ny = 4\n[[k]]\nn = 1\n[[k]]\nn = 2\n[c."d"] # new\nw = 5\n')
    wanted = '[a]\nx = 1\ny = 4\n[b]\nz = 3\n[[k]]\nn = 1\n[[k]]\nn = 2\n[c."d"]\nw = 5\n'
    if merged.strip() != wanted.strip():
        raise SystemExit(f"forebay: pieces of configuration are put together wrongly:\n{merged}")


def run_all(folder):
    """All guides, or those that the command line names, each in a process of its own."""
    guide_blocks.test_itself()
    test_merge()
    guides, complaints = guide_blocks.read_all()
    chosen = sys.argv[1:] or list(guides)
    complaints += [f"there is no guide {name}" for name in chosen if name not in guides]
    for complaint in complaints:
        print(f"  \u2717 NOT SO: {complaint}")
    chosen = [name for name in chosen if name in guides]
    # The longest begins first.
    chosen.sort(key=lambda name: -len(guides[name]))
    os.environ["FOREBAY_BIN"] = str(build.prepare())
    for each in ("node", "npm", "sdk"):
        parts.tool(each)
    model = parts.free_port()
    parts.model_part(folder, model)
    print("The guides, as they are printed:", flush=True)
    wrong, running = len(complaints), []
    while chosen or running:
        while chosen and len(running) < AT_ONCE:
            name = chosen.pop(0)
            command = [sys.executable, __file__, "--one", name, str(model)]
            running.append(parts.Part(name, command, folder).start())
        for ended in [part for part in running if not part.is_alive()]:
            running.remove(ended)
            print(ended.log.read_text(errors="replace"), end="", flush=True)
            wrong += ended.process.returncode != 0
        time.sleep(0.05)
    print(f"{wrong} guides say what is not so" if wrong else "The guides do what they say.")
    return wrong


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        sys.exit(run_guide(sys.argv[2], sys.argv[3]))
    sys.exit(parts.trial("guides", ["nats", "model"], run_all))
