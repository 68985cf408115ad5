"""What is deployed: the compose file, the image, the dashboard, the alerts and the manifests say what the code says."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from lockstep.cli import VERBS
from lockstep.status import Rung, Status
from serving.metrics.families import FAMILIES, Dropped, Stage
from serving.settings import PREFIX, Settings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
ALERTS: list[dict[str, Any]] = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())["groups"][0]["rules"]
DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "grafana" / "dashboards" / "lockstep.json").read_text())
MANIFESTS = list(yaml.safe_load_all((DEPLOY / "kubernetes" / "lockstep.yaml").read_text()))

VALUES = {
    "rung": {rung.name.lower() for rung in Rung},
    "status": {status.name.lower() for status in Status},
    "stage": {stage.label for stage in Stage},
    "reason": {str(reason) for reason in Dropped},
}
"""What a label can say, where that is a closed list."""


def queries() -> Iterator[tuple[str, str]]:
    """Every query of the dashboard and of the alerts, and where it stands."""
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            yield f"panel {panel['title']}", target["expr"]
    for rule in ALERTS:
        yield f"alert {rule['alert']}", rule["expr"]


def exported(name: str) -> str:
    """The family that a series belongs to."""
    return re.sub(r"_(bucket|sum|count)$", "", name) if name not in FAMILIES else name


QUERIES = list(queries())


@pytest.mark.parametrize(("where", "query"), QUERIES, ids=[where for where, _ in QUERIES])
def test_every_query_asks_for_metrics_and_labels_that_the_scorer_exports(where: str, query: str) -> None:
    names = [exported(name) for name in re.findall(r"\b(?:lockstep|process)_[a-z_]+", query)]
    assert names or query.startswith("up{"), where
    assert set(names) <= set(FAMILIES), where
    own = {label for name in names for label in FAMILIES[name].labels}
    asked = {label.strip() for by in re.findall(r"by \(([^)]*)\)", query) for label in by.split(",")}
    assert asked <= own | {"le", "instance"}, where
    for label, value in re.findall(r'(\w+)=~?"([^"]*)"', query.removeprefix('up{job="lockstep"}')):
        assert label in own, where
        assert set(value.split("|")) <= VALUES.get(label, set(value.split("|"))), where


def test_every_alert_has_a_paragraph_for_whoever_is_on_call() -> None:
    page = (ROOT / "docs" / "night-shift.md").read_text()
    headings = re.findall(r"^## (\w+)$", page, re.MULTILINE)
    assert headings == [rule["alert"] for rule in ALERTS]
    for rule in ALERTS:
        assert rule["annotations"]["runbook"] == f"docs/night-shift.md#{rule['alert'].lower()}"


def test_every_line_of_the_log_that_is_explained_is_one_that_the_code_writes() -> None:
    page = (ROOT / "docs" / "night-shift.md").read_text()
    cells = re.findall(r"^\| (`.*?) \|", page, re.MULTILINE)
    messages = [message for cell in cells for message in re.findall(r"`([^`]*)`", cell)]
    code = "\n".join(path.read_text() for path in (ROOT / "serving").rglob("*.py"))
    written = re.sub("%[sr]", "…", code)
    assert len(messages) > 20
    assert [message for message in messages if f'"{message}' not in written] == []


def test_variables_of_the_containers_are_settings_and_files_that_they_mount_are_there() -> None:
    known = {PREFIX + name.upper() for name in Settings.__dataclass_fields__}
    for service in COMPOSE["services"].values():
        named = {name for name in service.get("environment", {}) if name.startswith(PREFIX)}
        assert named <= known
        for mounted in service.get("volumes", []):
            source = mounted.split(":")[0]
            assert source in COMPOSE["volumes"] or (ROOT / source).exists()
    for name in re.findall(rf"{PREFIX}\w+", (DEPLOY / "kubernetes" / "lockstep.yaml").read_text()):
        assert name in known


def test_images_are_pinned_and_nothing_runs_as_root() -> None:
    images = [service["image"] for service in COMPOSE["services"].values() if "image" in service]
    dockerfile = (ROOT / "Dockerfile").read_text()
    images += re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)
    assert all(re.search(r":v?\d+\.\d+\.\d+", image) for image in images), images
    assert re.search(r"^USER 10001$", dockerfile, re.MULTILINE)


def test_what_the_image_copies_is_there_and_comes_into_the_build() -> None:
    dockerfile, let_in = (ROOT / "Dockerfile").read_text(), (ROOT / ".dockerignore").read_text().splitlines()
    for line in re.findall(r"^COPY (?!--from)(.*)$", dockerfile, re.MULTILINE):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists(), source
            assert f"!{source}" in let_in, source


def test_the_job_uses_verbs_that_there_are() -> None:
    verbs = re.findall(r"lockstep (\w+)", (DEPLOY / "job.sh").read_text())
    assert set(verbs) <= set(VERBS)
    checked = subprocess.run(["sh", "-n", str(DEPLOY / "job.sh")], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize("manifest", MANIFESTS, ids=[one["kind"] for one in MANIFESTS])
def test_the_manifests_are_what_kubernetes_takes(manifest: dict[str, Any]) -> None:
    kubernetes_validate.validate(manifest, "1.33", strict=True)
    selector = manifest["spec"].get("selector", {})
    assert selector.get("matchLabels", selector) in ({}, {"app": "lockstep-scorer"})


def test_the_schemas_refuse_a_manifest_that_is_wrong() -> None:
    wrong = {**MANIFESTS[0], "spec": {**MANIFESTS[0]["spec"], "replicas": "two"}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, "1.33", strict=True)


@pytest.mark.skipif(shutil.which("docker-compose") is None, reason="docker-compose is not installed (Debian's package)")
def test_docker_compose_takes_the_file() -> None:
    ran = subprocess.run(
        ["docker-compose", "-f", str(ROOT / "docker-compose.yml"), "config", "--quiet"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
