"""The steps of the Dockerfile as a shell script, for machines without a container engine.

    python -m tests.deploy.image_steps > build.sh

The script makes the image's files under $ROOT, out of the build context in $CONTEXT, with the Python of $PYTHON for
the base image's. Paths of the image's own folders (OWN) are rewritten to lie below $ROOT; a step that touches another
one changes the base system, and is refused, as is every instruction that is not known here. Two kinds of steps are not
run as they stand: apt-get is left out, and useradd makes the home alone. Every stage begins with an empty $ROOT; one
that is finished is kept beside it, for COPY --from.
"""

import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

__all__ = ["Image", "NotKnown", "Step", "context", "inside", "parse", "script"]

OWN = ("opt", "srv", "src", "var/lib")
"""Folders that belong to the image: no path of a step leads anywhere else."""
_ABSOLUTE = re.compile(r"(?<![\w.:/$}-])(?<!:/)/(?=[\w.])")
_HEAD = """#!/bin/sh
# Made of the Dockerfile by tests/deploy/image_steps.py.
set -eu
: "${ROOT:?the folder that becomes the image}" "${CONTEXT:?the build context}" "${PYTHON:?the base image's Python}"

copy() { # of a folder its contents, as COPY does
  if [ -d "$1" ]; then
    mkdir -p "$2" && cp -R "$1/." "$2"
  else
    case $2 in */) set -- "$1" "$2$(basename "$1")" ;; esac
    mkdir -p "$(dirname "$2")" && cp "$1" "$2"
  fi
}
"""


class NotKnown(ValueError):
    """The Dockerfile holds what cannot be run here."""

    def __init__(self, what: str, problem: str) -> None:
        super().__init__(f"{what}: {problem} Teach tests/deploy/image_steps.py, or write it otherwise.")


@dataclass(frozen=True)
class Step:
    """One instruction."""

    verb: str
    rest: str


@dataclass
class Image:
    """What a Dockerfile says."""

    steps: list[Step] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    """Of the last stage, as it was written."""
    workdir: str = "/"
    user: str = ""
    home: str = ""
    health: list[str] = field(default_factory=list)
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)


def parse(text: str) -> Image:
    """Raises NotKnown for an instruction that is not known here."""
    image = Image()
    for step in _steps(text):
        if step.verb == "FROM":
            image = Image(image.steps)
        _take(image, step)
        image.steps.append(step)
    return image


def _steps(text: str) -> Iterator[Step]:
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    for line in re.sub(r"\\\n\s*", " ", "\n".join(lines)).splitlines():
        verb, _, rest = line.strip().partition(" ")
        yield Step(verb, rest.strip())


def _take(image: Image, step: Step) -> None:
    """Note what a step says about how the image is run."""
    match step.verb:
        case "FROM" | "COPY" | "EXPOSE":
            pass
        case "RUN":
            _check_run(image, step.rest)
        case "ENV":
            image.environment |= dict(_pairs(step.rest))
        case "WORKDIR":
            image.workdir = step.rest
        case "USER":
            image.user = step.rest
        case "HEALTHCHECK":
            image.health = _list(re.sub(r"^(--\S+\s+)*CMD\s+", "", step.rest), step)
        case "ENTRYPOINT":
            image.entrypoint = _list(step.rest, step)
        case "CMD":
            image.command = _list(step.rest, step)
        case _:
            raise NotKnown(step.verb, "the instruction is not known.")


def _pairs(text: str) -> list[tuple[str, str]]:
    """Name and value of each variable."""
    words = [word.partition("=") for word in shlex.split(text)]
    return [(name, value) for name, _, value in words]


def _check_run(image: Image, rest: str) -> None:
    words = shlex.split(rest)
    if image.user:
        raise NotKnown(f"RUN {rest}", "steps after USER would have to run as that user.")
    if words[0] == "useradd":
        image.home = words[words.index("--home-dir") + 1]


def _list(text: str, step: Step) -> list[str]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise NotKnown(f"{step.verb} {step.rest}", "only the form of a list is known.") from error
    return [str(word) for word in found]


def script(image: Image) -> str:
    """The steps as a script for sh."""
    done: list[str] = []
    lines = [_HEAD]
    for step in image.steps:
        lines += _lines(step, done)
    return "\n".join([*lines, 'echo "made $ROOT"', ""])


def _lines(step: Step, done: list[str]) -> Iterator[str]:
    """A step in shell; `done` are the names of the stages so far, the one under way among them."""
    match step.verb:
        case "FROM":
            yield f"\n# FROM {step.rest}"
            yield from _from(step.rest, done)
        case "RUN":
            yield from _run(step.rest)
        case "COPY":
            yield from _copy(shlex.split(step.rest), done)
        case "ENV":
            for name, value in _pairs(step.rest):
                yield f'export {name}="{_below(value)}"'
        case "WORKDIR":
            yield f'mkdir -p "{_below(step.rest)}"\ncd "{_below(step.rest)}"'
        case _:
            pass  # said by `inside`


def _from(rest: str, done: list[str]) -> Iterator[str]:
    _, _, name = rest.partition(" AS ")
    if done:
        yield f'cd / && rm -rf "$ROOT.{done[-1]}" && mv "$ROOT" "$ROOT.{done[-1]}"'
    done.append(name.strip() or "last")
    yield 'mkdir -p "$ROOT/usr/local/bin" && cd "$ROOT"'
    yield 'printf \'#!/bin/sh\\nexec %s "$@"\\n\' "$PYTHON" > "$ROOT/usr/local/bin/python"'
    yield 'chmod +x "$ROOT/usr/local/bin/python"'
    yield 'export PATH="$ROOT/usr/local/bin:/usr/bin:/bin"'


def _run(rest: str) -> Iterator[str]:
    words = shlex.split(rest)
    if words[0] == "apt-get":
        yield f"echo {shlex.quote(f'left out: {rest}')}"
    elif words[0] == "useradd":
        home, owner = words[words.index("--home-dir") + 1], words[words.index("--uid") + 1]
        yield f'mkdir -p -m 700 "{_below(home)}"\n[ "$(id -u)" != 0 ] || chown {owner} "{_below(home)}"'
    else:
        yield _below(rest)


def _copy(words: Sequence[str], done: Sequence[str]) -> Iterator[str]:
    options = [word for word in words if word.startswith("--")]
    *sources, target = [word for word in words if not word.startswith("--")]
    base = "$CONTEXT"
    for option in options:
        name = option.removeprefix("--from=")
        if name not in done[:-1]:
            raise NotKnown(f"COPY {option}", "neither an option that is known nor a stage before this one.")
        base = f"$ROOT.{name}"
    target = _below(target) if target.startswith("/") else target
    for source in sources:
        yield f'copy "{base}/{source.lstrip("/")}" "{target}"'


def _below(text: str) -> str:
    """The text with every absolute path in it below $ROOT. Raises NotKnown for one that is not the image's own."""
    for found in _ABSOLUTE.finditer(text):
        if not text.startswith(OWN, found.end()):
            raise NotKnown(text, f"{text[found.start() :].split()[0]} is not one of the image's own folders.")
    return _ABSOLUTE.sub("$ROOT/", text)


def context(source: Path, target: Path) -> None:
    """Copy what .dockerignore lets into the build: lines `*`, `!path` and `**/name`, no others."""
    lines = [line for line in (source / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    let_in = [line[1:] for line in lines if line.startswith("!")]
    nowhere = [line.removeprefix("**/") for line in lines if line.startswith("**/")]
    if lines[0] != "*" or len(lines) != 1 + len(let_in) + len(nowhere):
        raise NotKnown(".dockerignore", "only `*`, `!path` and `**/name` are known.")
    for name in let_in:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        if (source / name).is_dir():
            shutil.copytree(source / name, target / name, ignore=shutil.ignore_patterns(*nowhere))
        elif not any(fnmatch(Path(name).name, pattern) for pattern in nowhere):
            shutil.copy(source / name, target / name)


def inside(image: Image, root: Path, words: Sequence[str], more: Mapping[str, str]) -> tuple[list[str], Path]:
    """A command as a container of the image runs it, and the folder to run it in: with its environment and `more`, and
    nobody else's, and as its user where whoever calls may become another one.
    """
    known = {"HOME": _at(image.home, root), "PATH": f"{root}/usr/local/bin:/usr/bin:/bin"}
    for name, value in image.environment.items():
        known[name] = _at(value.replace("$PATH", known["PATH"]), root)
    pairs = [f"{name}={value}" for name, value in (known | dict(more)).items()]
    become = [f"--reuid={image.user}", f"--regid={image.user}", "--clear-groups"]
    user = ["setpriv", *become] if image.user and os.geteuid() == 0 else []
    return ["env", "-i", *pairs, *user, *(_at(word, root) for word in words)], root / image.workdir.lstrip("/")


def _at(value: str, root: Path) -> str:
    """A value in which a path of the image stands first, for a folder that is not at /."""
    return re.sub(rf"^/(?={'|'.join(OWN)})", f"{root}/", value)


if __name__ == "__main__":
    sys.stdout.write(script(parse((Path(__file__).parents[2] / "Dockerfile").read_text())))
