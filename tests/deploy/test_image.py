"""The image's steps, read and run in a clean folder. All of them, `make image-check`, install every package anew."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from lockstep.redis_server import free_port, run_redis
from tests.deploy.image_steps import Image, NotKnown, context, inside, parse, script
from tests.homes import make_log

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
PATIENCE_S = 60.0
PORT = free_port()

SMALL = """
# a comment
FROM one:1.0.0 AS build
WORKDIR /src
COPY README.md deploy ./kept/
RUN mkdir -p /opt
RUN python -c "import sys; print(sys.version_info[0])" > \\
  /opt/version
FROM two:1.0.0
RUN apt-get install -y nothing
RUN useradd --uid 10001 --home-dir /var/lib/small small
COPY --from=build /opt /opt
ENV PATH=/opt/bin:$PATH WHERE=/opt
USER 10001
WORKDIR /srv/small
HEALTHCHECK --interval=5s CMD ["cat", "/opt/version"]
CMD ["sh", "-c", "echo $WHERE $PATH; pwd"]
"""


@dataclass(frozen=True)
class Made:
    """An image in a folder."""

    image: Image
    root: Path

    def words(self, *words: str, **environment: str) -> tuple[list[str], Path]:
        """A command inside it."""
        return inside(self.image, self.root, words, environment)

    def run(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run one to its end."""
        command, folder = self.words(*words, **environment)
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def build(text: str, files: Path, folder: Path, python: str) -> Made:
    """Run a Dockerfile's steps."""
    image = parse(text)
    steps = folder / "build.sh"
    steps.write_text(script(image))
    environment = {**os.environ, "ROOT": str(folder / "image"), "CONTEXT": str(files), "PYTHON": python}
    ran = subprocess.run(["sh", steps], env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr[-2000:]
    return Made(image, folder / "image")


@pytest.fixture
def small(tmp_path: Path) -> Made:
    """A few steps of every kind, run."""
    files = tmp_path / "context"
    (files / "deploy").mkdir(parents=True)
    for name in ("README.md", "deploy/job.sh"):
        (files / name).write_text(name)
    return build(SMALL, files, tmp_path, sys.executable)


def test_steps_are_run_as_an_engine_runs_them(small: Made) -> None:
    assert (small.root / "opt/version").read_text() == "3\n"
    assert (small.root / "srv/small").is_dir()
    assert not (small.root / "src").exists(), "of an earlier stage"
    kept = small.root.with_name("image.build") / "src/kept"
    assert {path.name: path.read_text() for path in kept.iterdir()} == {
        "README.md": "README.md",
        "job.sh": "deploy/job.sh",
    }
    home = (small.root / "var/lib/small").stat()
    assert home.st_mode & 0o777 == 0o700
    assert home.st_uid == (10001 if os.geteuid() == 0 else os.geteuid())


def test_commands_run_in_the_images_environment_and_in_no_other(small: Made) -> None:
    image = Image(environment={"WHERE": "/opt", "PATH": "/opt/bin:$PATH"}, workdir="/srv/small", home="/var/lib/small")
    ran = Made(image, small.root).run("sh", "-c", "env; pwd", MORE="yes")
    said = dict(line.partition("=")[::2] for line in ran.stdout.splitlines()[:-1])
    assert said["WHERE"] == f"{small.root}/opt"
    assert said["PATH"].startswith(f"{small.root}/opt/bin:")
    assert (said["HOME"], said["MORE"]) == (f"{small.root}/var/lib/small", "yes")
    assert set(said) <= {"WHERE", "PATH", "HOME", "MORE", "PWD", "OLDPWD", "SHLVL", "_"}
    assert ran.stdout.splitlines()[-1] == f"{small.root}/srv/small"


UNKNOWN = {
    "instruction": "ARG VERSION=1",
    "shell form": "CMD lockstep serve",
    "health check of a shell": "HEALTHCHECK CMD curl localhost",
    "path of the base": "RUN touch /etc/passwd",
    "path of the base to copy to": "COPY README.md /usr/share/",
    "run as the user": "USER 10001\nRUN python -m venv /opt/x",
    "no such stage": "COPY --from=before /opt /opt",
    "option of COPY": "COPY --chown=1 README.md ./",
}


@pytest.mark.parametrize("lines", UNKNOWN.values(), ids=UNKNOWN)
def test_what_is_not_known_is_refused(lines: str) -> None:
    with pytest.raises(NotKnown):
        script(parse(f"FROM one:1.0.0\n{lines}\n"))


def test_the_images_own_steps_are_known_and_say_how_it_is_run() -> None:
    image = parse(DOCKERFILE)
    made = script(image)
    checked = subprocess.run(["sh", "-n"], input=made, text=True, capture_output=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")
    assert made.count("pip install") == DOCKERFILE.count("pip install")
    assert (image.user, image.workdir, image.entrypoint) == ("10001", "/srv/lockstep", ["lockstep"])
    assert image.environment["LOCKSTEP_HOME"] == image.home == "/var/lib/lockstep"
    assert image.health[:2] == ["python", "-c"]


def test_the_context_holds_what_dockerignore_lets_in(tmp_path: Path) -> None:
    context(ROOT, tmp_path / "context")
    found = {str(path.relative_to(tmp_path / "context")) for path in (tmp_path / "context").rglob("*")}
    assert {"serving/server.py", "deploy/job.sh", "requirements.run.lock"} <= found
    assert not [path for path in found if "__pycache__" in path or path.startswith(("tests", ".git", "data"))]


def base_python() -> str:
    """A Python 3.11 that every user of this machine may run."""
    return shutil.which("python3.11", path="/usr/local/bin:/usr/bin") or sys.executable


@pytest.fixture(scope="module")
def made() -> Iterator[Made]:
    """The image, in a folder that its user may enter."""
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        context(ROOT, Path(folder) / "context")
        yield build(DOCKERFILE, Path(folder) / "context", Path(folder), base_python())


def owned(image: Image, folder: Path) -> None:
    """Give a folder to the image's user, as Docker does with a volume."""
    if os.geteuid() == 0:
        subprocess.run(["chown", "-R", image.user, folder], check=True)


def until_healthy(made: Made, *, wanted: bool) -> None:
    """Wait until the health check says so."""
    waiting_s = time.monotonic()
    while (made.run(*made.image.health).returncode == 0) != wanted:
        assert time.monotonic() - waiting_s < PATIENCE_S, made.run(*made.image.health).stderr[-500:]
        time.sleep(0.2)


@contextmanager
def serving(made: Made, redis_url: str) -> Iterator[str]:
    """The image's command while the block runs; yields the line that it says when it is ready. It has to end well."""
    port = {"LOCKSTEP_SERVE_PORT": str(PORT)}  # another server may have 50051; the health check knows 9464 alone
    words, folder = made.words(*made.image.entrypoint, *made.image.command, REDIS_URL=redis_url, **port)
    with subprocess.Popen(words, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as server:
        try:
            assert server.stdout is not None
            said = [""]
            while not said[-1].startswith("lockstep serves"):
                said.append(server.stdout.readline())
                assert said[-1], "".join(said)  # it ended
            yield said[-1]
        finally:
            server.terminate()
            rest = server.communicate(timeout=PATIENCE_S)[0]
    assert server.returncode == 0, rest


def check_predicts(made: Made) -> None:
    """The server that runs answers a question about the example."""
    row = [part for name, value in ASKED.items() for part in (f"--{name}", value)]
    asked = made.run("lockstep", "predict", "--address", f"127.0.0.1:{PORT}", *row)
    assert asked.returncode == 0, asked.stderr


ASKED = {"ip": "1", "app": "2", "device": "1", "os": "13", "channel": "477", "at": "2017-11-08T20:00:00Z"}


@pytest.mark.skipif("IMAGE_CHECK" not in os.environ, reason="installs every package anew: make image-check")
def test_the_image_serves_what_its_job_makes_and_its_health_check_tells_the_truth(made: Made, tmp_path: Path) -> None:
    home = made.root / "var/lib/lockstep"
    make_log(home, clicks=20_000, days=3)
    (home / "models").mkdir()
    owned(made.image, home)
    with run_redis(tmp_path / "redis") as url:
        with serving(made, url) as line:
            assert line.startswith(f"lockstep serves on 0.0.0.0:{PORT}: no model yet")
            until_healthy(made, wanted=False)
            assert "503" in made.run(*made.image.health).stderr
            ran = made.run("/srv/lockstep/job.sh", REDIS_URL=url, REFRESH_SECONDS="0")
            assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr[-2000:]
            until_healthy(made, wanted=True)
            check_predicts(made)
        subprocess.run(["chmod", "-R", "a-w", home], check=True)  # as docker-compose.yml mounts it for the scorer
        with serving(made, url) as line:
            assert line.startswith(f"lockstep serves on 0.0.0.0:{PORT}: install 1 (champion)")
            until_healthy(made, wanted=True)
            check_predicts(made)
