"""The code blocks of README.md and of the guides in src/guide: what each is, and whether it keeps the convention.

The info string of a fence says what happens to its block. Its first word is the language:

    sh, python, js   a program, run by scripts/guides.py
    toml             a piece of forebay.toml, checked with `forebay check`
    json, yaml       data that must parse
    text, console    output and diagrams, not run
    rust             not run here

Its second word, which may be absent, changes that:

    key              the program needs a provider's key: only its syntax is checked; the prose above says "needs"
    nats-cli         the program needs the `nats` command line tool: the same
    deploy           it needs root, systemd, docker or a public host: only its syntax is checked (for toml: files that it
                     names need not exist)
    server           the program does not end: it runs in the background until the guide ends. The next block waits until
                     it has printed something, or listens on a port that the guide names (`forebay serve`: is ready)
    fails            the program must end with an error
    broker           (toml) the guide's broker is restarted with this piece added to its configuration

A `sh` block of nothing but `make TARGET` lines is tried with `make -n`.

Run alone, this file tests its parser and holds all guides to the convention, without running anything (`make check`).
"""

import dataclasses
import json
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROGRAMS = ("sh", "python", "js")
MODES = {
    "sh": ("", "key", "nats-cli", "deploy", "server", "fails"),
    "python": ("", "key", "deploy", "server", "fails"),
    "js": ("", "key", "deploy", "server", "fails"),
    "toml": ("", "deploy", "broker"),
    **{language: ("",) for language in ("json", "yaml", "text", "console", "rust")},
}
NOT_RUN = ("key", "nats-cli", "deploy")  # only the syntax of these is checked
SHOWN = ("text", "console", "rust")  # these are not looked at
FENCE = re.compile(r"^( *)(`{3,}) *([^`]*)$")
JOB_ID = re.compile(r"--id[ =]([\w-]+)|Idempotency-Key: *([\w-]+)|Nats-Msg-Id: *([\w-]+)")


@dataclasses.dataclass(frozen=True)
class Block:
    """A fenced block of a guide."""

    file: str  # relative to the project, for example src/guide/webhooks.md
    line: int  # the line of its opening fence, counted from 1
    language: str
    mode: str
    text: str
    prose: str  # the paragraph above the block

    @property
    def place(self):
        return f"{self.file}:{self.line}"

    def is_program(self):
        return self.language in PROGRAMS

    def makes(self):
        """The targets of a block of nothing but `make TARGET` lines; none for any other block."""
        lines = [line.partition("#")[0].strip() for line in self.text.splitlines()]
        words = [line.split() for line in lines if line]
        is_make = self.language == "sh" and not self.mode and words and all(len(w) == 2 and w[0] == "make" for w in words)
        return [word[1] for word in words] if is_make else []


def blocks_of(file, text):
    """The blocks of a guide's text, and complaints about fences."""
    blocks, complaints = [], []
    opening, fence, prose, before = None, "", [], ""
    for number, line in enumerate(text.splitlines(), 1):
        found = FENCE.match(line)
        if opening:
            if found and len(found[2]) >= len(fence) and not found[3]:
                blocks.append(block(file, opening, prose, complaints))
                opening, prose = None, []
            else:
                opening[2].append(line.removeprefix(opening[1]) if line.startswith(opening[1]) else line.lstrip())
        elif found:
            opening, fence = (number, found[1], [], found[3].split()), found[2]
        elif line.strip():
            prose = [*prose, line] if before.strip() else [line]  # a blank line begins a new paragraph
        before = line
    if opening:
        complaints.append(f"{file}:{opening[0]}: this block has no end")
    return blocks, complaints


def block(file, opening, prose, complaints):
    number, _, lines, words = opening
    language, mode = (words + ["", ""])[:2]
    if language not in MODES:
        complaints.append(f"{file}:{number}: `{language}` is none of {', '.join(MODES)}")
    elif mode not in MODES[language] or len(words) > 2:
        allowed = ", ".join(mode for mode in MODES[language] if mode) or "nothing"
        complaints.append(f"{file}:{number}: `{' '.join(words)}`: after {language} may stand {allowed}")
    return Block(file, number, language, mode, "\n".join(lines) + "\n", " ".join(prose))


def complaints_about(found):
    """What the convention forbids in a block."""
    if found.language in SHOWN or found.language not in MODES:
        return
    for number, line in enumerate(found.text.splitlines(), found.line + 1):
        if "\u2026" in line or "[...]" in line:
            yield f"{found.file}:{number}: an ellipsis in a block that is run: {line.strip()}"
    if found.mode in ("key", "nats-cli") and "need" not in found.prose.lower():
        yield f"{found.place}: the paragraph above a `{found.mode}` block says what it needs"
    if found.language == "json":
        try:
            json.loads(found.text)
        except ValueError as error:
            yield f"{found.place}: is not JSON: {error}"


def twice(guides):
    """Job ids that two guides use: a reader who runs both against one broker would join the first one's job."""
    owners = {}
    for name, blocks in guides.items():
        for each in blocks:
            for names in JOB_ID.findall(each.text) if each.is_program() else ():
                owner = owners.setdefault("".join(names), name)
                if owner != name:
                    yield f"{each.place}: the job id `{''.join(names)}` is used in {owner} too"


def files():
    """The README and the guides, by name."""
    guides = sorted((ROOT / "src/guide").glob("*.md"))
    return {path.stem: path for path in [ROOT / "README.md", *guides]}


def read_all():
    """The blocks of every guide by name, and every complaint."""
    guides, complaints = {}, []
    for name, path in files().items():
        guides[name], wrong = blocks_of(str(path.relative_to(ROOT)), path.read_text())
        complaints += wrong
        complaints += [each for found in guides[name] for each in complaints_about(found)]
    return guides, complaints + list(twice(guides))


SAMPLE = """# Sample

This needs a key.

```sh key
echo one
```

1. A list:

   ```python
   if True:
       pass
   ```

````text
```sh
```
````

```sh
make run   # starts it
make demo
```
"""
WRONG = (
    ("```ruby\n```\n", "`ruby` is none of"),
    ("```\n```\n", "`` is none of"),
    ("```sh loudly\n```\n", "after sh may stand"),
    ("```json broker\n{}\n```\n", "after json may stand nothing"),
    ("```sh fails twice\n```\n", "`sh fails twice`"),
    ("```sh\necho\n", "has no end"),
    ("```python\nkey = '\u2026'\n```\n", "x.md:2: an ellipsis"),
    ("```sh\ncurl -d '[...]'\n```\n", "x.md:2: an ellipsis"),
    ("It works.\n\n```sh key\n```\n", "says what it needs"),
    ("```json\n{,}\n```\n", "is not JSON"),
)


def test_itself():
    """The parser against a sample and against what it must complain about."""
    blocks, complaints = blocks_of("x.md", SAMPLE)
    complaints += [each for found in blocks for each in complaints_about(found)]
    seen = [(found.line, found.language, found.mode, found.text) for found in blocks]
    wanted = [
        (5, "sh", "key", "echo one\n"),
        (11, "python", "", "if True:\n    pass\n"),
        (16, "text", "", "```sh\n```\n"),
        (21, "sh", "", "make run   # starts it\nmake demo\n"),
    ]
    makes = [found.makes() for found in blocks]
    if complaints or seen != wanted or makes != [[], [], [], ["run", "demo"]]:
        raise SystemExit(f"forebay: the parser of guides misreads its sample: {complaints} {seen} {makes}")
    for text, expected in WRONG:
        blocks, complaints = blocks_of("x.md", text)
        complaints += [each for found in blocks for each in complaints_about(found)]
        if len(complaints) != 1 or expected not in complaints[0]:
            raise SystemExit(f"forebay: the parser of guides says {complaints} about {text!r}, not {expected!r}")
    shared = {name: blocks_of(name, "```sh\nforebay run m x --id same-1\n```\n")[0] for name in ("a", "b")}
    if len(list(twice(shared))) != 1 or list(twice({"a": shared["a"] * 2})):
        raise SystemExit("forebay: the parser of guides does not see a job id that two guides share")


def main():
    test_itself()
    guides, complaints = read_all()
    for complaint in complaints:
        print(complaint, file=sys.stderr)
    if not complaints:
        print(f"{sum(map(len, guides.values()))} blocks of {len(guides)} guides keep the convention")
    return int(bool(complaints))


if __name__ == "__main__":
    sys.exit(main())
