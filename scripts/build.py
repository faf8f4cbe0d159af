"""Gets what a script needs before it can start: the broker's program and the tools that it runs with.

Owns the build and the fetches, which run side by side, and the lines that tell how far they are. Promises a line at
least every 15 seconds while something is built or fetched, and that nothing goes on when the script is stopped.
"""

import os
import pathlib
import re
import shutil
import signal
import subprocess
import threading
import time
import typing

import parts

LINE_S = 15  # between two lines of progress


class Plan(typing.NamedTuple):
    """What cargo builds. `own` is how many units the crate itself has; they are the last ones. `whole_s` is how long all
    took on two idle cores, and `own_share` the part of it in which only the crate itself was compiled."""

    arguments: list
    own: int
    whole_s: float
    own_share: float


# What is built for a first look, in minutes: the profile is in Cargo.toml.
PROFILE = "quickstart"
PROGRAM = Plan(["build", "--profile", PROFILE, "--bins"], own=2, whole_s=240, own_share=0.3)
STATUS = re.compile(r"\s*(Compiling|Downloaded|Downloading|Updating|Locking|Adding|Finished|Fresh|Building|Executable|Blocking)\b")
BAR = re.compile(r"Building \[.*\] (\d+)/(\d+)(?:: (.*))?")
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def say(text):
    print(text, flush=True)


def clock(seconds):
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def rough(seconds):
    """A guess is given as one: in tens of seconds, then in halves of minutes."""
    if seconds < 60:
        return f"{max(10, round(seconds / 10) * 10)} s"
    return f"{round(seconds / 30) / 2:g} min"


class Work:
    """A command in a session of its own. Each line of its stderr goes to `line`, in a thread."""

    def __init__(self, command, **env):
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            [str(word) for word in command], cwd=parts.ROOT, env=dict(os.environ, **env), start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace",
        )
        self.readers = [threading.Thread(target=self.read, daemon=True), threading.Thread(target=self.take, daemon=True)]
        self.out = ""
        for reader in self.readers:
            reader.start()

    def read(self):
        for line in self.process.stderr:  # a carriage return ends a line here too: text mode translates it
            self.line(ESCAPE.sub("", line).rstrip())

    def take(self):
        self.out = self.process.stdout.read()

    def code(self):
        """The exit code once it ended and all that it wrote was read, else None."""
        if self.process.poll() is None or any(reader.is_alive() for reader in self.readers):
            return None
        return self.process.returncode

    def seconds(self):
        return time.monotonic() - self.began

    def stop(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            self.process.wait()


class Build(Work):
    """A build by cargo. Its progress bar is read, not shown: it cannot be seen where the output is no terminal."""

    name = "build"

    def __init__(self, plan):
        self.plan = plan
        self.done, self.total, self.names, self.downloaded = 0, 0, "", 0
        self.first_done, self.own_began = None, None
        super().__init__(
            ["cargo", plan.arguments[0], "--locked", *plan.arguments[1:]],
            CARGO_TERM_PROGRESS_WHEN="always", CARGO_TERM_PROGRESS_WIDTH="160", CARGO_TERM_COLOR="never",
        )

    def line(self, line):
        if bar := BAR.search(line):
            self.done, self.total, self.names = int(bar[1]), int(bar[2]), bar[3] or ""
            if self.first_done is None:
                self.first_done = self.done
            if self.is_last() and self.own_began is None:
                self.own_began = time.monotonic()
        elif line.lstrip().startswith("Downloaded"):
            self.downloaded += 1
        elif line and not STATUS.match(line):
            say(line)

    def is_last(self):
        """The crate itself is compiled: the libraries are there, or as good as."""
        return self.total > 0 and (self.done >= self.total - self.plan.own or "forebay" in self.names)

    def left_s(self):
        share, whole_s = self.plan.own_share, self.plan.whole_s
        if self.is_last():
            before = self.own_began - self.began
            # Where most libraries were built already, their time says nothing about this machine.
            was_fresh = self.first_done < self.total / 2
            own_s = before * share / (1 - share) if was_fresh else whole_s * share
            return own_s - (time.monotonic() - self.own_began)
        passed = (1 - share) * (self.done - self.first_done) / (self.total - self.first_done)
        return self.seconds() * (1 - passed) / passed if passed > 0.05 else whole_s - self.seconds()

    def progress(self):
        spent = clock(self.seconds())
        if self.total == 0:
            fetched = f"{self.downloaded} crates fetched" if self.downloaded else "cargo looks what there is to do"
            return f"build: {fetched} after {spent}"
        left = f"about {rough(self.left_s())} left"
        if self.is_last():
            return f"build: compiling the broker itself, the largest part, after {spent}; {left}"
        names = ", ".join(re.sub(r"\(.*?\)", "", self.names).replace("...", "").strip(", ").split(", ")[:3])
        return f"build: {self.done} of {self.total} crates after {spent}, now {names}; {left}"


class Fetch(Work):
    """`scripts/tools.sh NAME`: what it tells goes to the terminal."""

    def __init__(self, name):
        self.name = name
        super().__init__([parts.ROOT / "scripts/tools.sh", name])

    def line(self, line):
        if line:
            say(line if line.startswith("forebay: ") else f"{self.name}: {line}")

    def progress(self):
        return f"fetching {self.name} for {clock(self.seconds())}, {fetched_mb(self.name)} MB on the disk so far"


def fetched_mb(name):
    """What fetches have written so far: the folders that are not whole yet."""
    size = 0
    for file in (parts.HOME / "tools").glob(f"part.{name}.*/**/*"):
        try:
            size += file.stat().st_size
        except OSError:
            pass  # renamed or removed meanwhile
    return size // 1_000_000


def given():
    """FOREBAY_BIN, where that is set."""
    path = os.environ.get("FOREBAY_BIN")
    if path and (not os.access(path, os.X_OK) or os.path.isdir(path)):
        raise parts.Trouble(f"FOREBAY_BIN={path} is not a program")
    return path and pathlib.Path(path).resolve()


def prepare(*tools):
    """Fetches the tools and builds the broker at the same time. Returns the program: FOREBAY_BIN where that is set."""
    program = given()
    fetch_and_build(tools, None if program else PROGRAM)
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", parts.ROOT / "target")).resolve()
    return program or target / PROFILE / "forebay"


def fetch_and_build(tools, plan):
    """Returns what `scripts/tools.sh` prints for each tool, once all are fetched and the plan, if any, is built."""
    if plan and shutil.which("cargo") is None:
        raise parts.Trouble("cargo is missing: install Rust from https://rustup.rs")
    works = []
    try:
        works += [Fetch(tool) for tool in tools]
        works += [Build(plan)] if plan else []
        wait(list(works))
    finally:
        for work in works:
            work.stop()
    return {work.name: work.out.strip() for work in works if isinstance(work, Fetch)}


def wait(works):
    """Returns when all have ended well; says all the while how far they are."""
    spoken, announced = time.monotonic(), False
    while works:
        time.sleep(0.1)
        for work in list(works):
            code = work.code()
            if code is None:
                continue
            works.remove(work)
            if code != 0:
                failed(work, code)
            elif work.seconds() > LINE_S:
                say(f"{work.name}: done after {clock(work.seconds())}")
        build = next((work for work in works if isinstance(work, Build)), None)
        if build and not announced and build.total - build.done > 50:
            announced = True
            say(f"build: {build.total} crates, {build.total - build.done} of them to compile; once, and about "
                f"{rough(build.plan.whole_s)} on two cores")
        if time.monotonic() - spoken > LINE_S:
            spoken = time.monotonic()
            for work in works:
                say(work.progress())


def failed(work, code):
    if not isinstance(work, Build):
        raise SystemExit(code)  # it has said why, in one line
    fetch = parts.child(["cargo", "fetch", "--locked", "--quiet"], stderr=subprocess.DEVNULL)
    raise parts.Trouble("the build failed; see above" if fetch.returncode == 0 else
                        "no network: cargo could not fetch the crates")
