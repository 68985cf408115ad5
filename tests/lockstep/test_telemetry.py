"""Nobody is told which models are scored."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bundles import bundle_files

ROOT = Path(__file__).parents[2]
LOAD = "import sys, lockstep.graph as g; g.onnxruntime.InferenceSession(open(sys.argv[1], 'rb').read())"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it writes to other places, or nothing")
def test_onnx_runtime_keeps_no_record_of_the_models_that_it_loads(tmp_path: Path) -> None:
    home, model = tmp_path / "home", tmp_path / "model.onnx"
    home.mkdir()
    model.write_bytes(bundle_files()["model.onnx"])
    kept = {name: value for name, value in os.environ.items() if name not in ("CI", "ORT_DISABLE_TELEMETRY")}
    loaded = [sys.executable, "-c", LOAD, str(model)]
    subprocess.run(loaded, cwd=ROOT, env={**kept, "HOME": str(home), "XDG_CACHE_HOME": str(home)}, check=True)
    assert list(home.rglob("*")) == []
