"""The example's own model as C: what a bidder's engineer gets, built and run as he would."""

import csv
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from lockstep.bundle import Bundle, build
from lockstep.errors import BundleRefused, ExportDiffers, MissingTool
from lockstep.plan import digest
from tests.bundles import bundle_files
from training.exports.c import export as export_module
from training.exports.c.compiler import CompilerFailed, compiled, run_compiler
from training.exports.c.export import export
from training.exports.c.header import Api
from training.exports.c.source import source
from training.exports.formats import FORMATS, Exported, exporter
from training.exports.rows import RowSet, golden_rows
from training.train import Trained

WARN = ("-std=c99", "-O1", "-Wall", "-Wextra", "-Werror")
SANITIZE = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


def run(program: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(program), *arguments], capture_output=True, text=True, check=False, cwd=program.parent)


@pytest.fixture(scope="module")
def install(trained: Trained) -> Bundle:
    return trained.bundle


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("c") / "bidder"


@pytest.fixture(scope="module")
def exported(install: Bundle, trained: Trained, folder: Path) -> Exported:
    test_set = RowSet("the test set", trained.test.inputs, len(trained.test))
    steps: list[float] = []
    made = export(install, [golden_rows(install), test_set], folder, steps.append)
    assert len(steps) == FORMATS["c"].steps
    return made


@pytest.fixture(scope="module")
def example(exported: Exported, folder: Path) -> Path:
    run_compiler(folder, *WARN, *SANITIZE, "-o", "example", "install.c", "install_example.c", "-lm")
    return folder / "example"


def test_every_row_of_the_test_set_scores_the_same(exported: Exported, trained: Trained) -> None:
    assert exported.facts["rows compared"] == f"256 of golden.parquet, {len(trained.test):,} of the test set"
    assert exported.facts["rows that part"] == "0"
    assert float(exported.facts["greatest difference of log-odds"]) < 1e-13
    assert float(exported.facts["ns a row"].replace(",", "")) > 0


def test_the_folder_holds_one_c_file_a_header_an_example_and_golden_rows(exported: Exported, folder: Path) -> None:
    assert [path.name for path in exported.files] == ["install.h", "install.c", "install_example.c", "golden.csv"]
    assert sorted(path.name for path in folder.iterdir() if path.suffix in (".c", ".h", ".csv")) == sorted(
        path.name for path in exported.files
    )


def test_the_example_agrees_with_the_golden_scores_under_the_sanitizers(example: Path) -> None:
    checked = run(example, "golden.csv", "--check")
    assert (checked.returncode, checked.stderr) == (0, "")
    assert checked.stdout.startswith("256 rows, 0 part, greatest difference ")


def test_the_example_prints_a_score_a_row(example: Path, folder: Path) -> None:
    with (folder / "golden.csv").open(newline="") as file:
        wanted = [float(row["__score"]) for row in csv.DictReader(file)]
    printed = [float(line) for line in run(example, "golden.csv").stdout.split()]
    np.testing.assert_allclose(printed, wanted, rtol=1e-14)


def test_the_example_tells_rows_that_part(example: Path, folder: Path) -> None:
    lines = (folder / "golden.csv").read_text().splitlines()
    (folder / "wrong.csv").write_text("\n".join([lines[0], f"{lines[1].rpartition(',')[0]},0.9999"]))
    checked = run(example, "wrong.csv", "--check")
    assert checked.returncode == 1
    assert "row 1: " in checked.stdout
    assert "expected 0.9999" in checked.stdout


def test_the_example_reads_cells_in_quotes_and_rows_without_columns(example: Path, folder: Path) -> None:
    text = 'app,recent_apps_by_ip,unknown\r\n3,"a3 a7","x ""y"",\n"\r\n3,a3 a7,\n'
    (folder / "quoted.csv").write_bytes(text.encode())
    scores = run(example, "quoted.csv").stdout.split()
    assert len(scores) == 2
    assert scores[0] == scores[1]


@pytest.mark.parametrize(
    ("content", "said"),
    [("app\nthree\n", "three: is no number"), (None, "No such file")],
    ids=["a word for a number", "no file"],
)
def test_the_example_says_what_is_wrong(example: Path, folder: Path, content: str | None, said: str) -> None:
    path = folder / "bad.csv"
    path.unlink(missing_ok=True)
    if content is not None:
        path.write_text(content)
    done = run(example, "bad.csv")
    assert done.returncode == 2
    assert said in done.stderr


def test_the_code_has_no_state_and_needs_only_the_c_library(exported: Exported, folder: Path, tmp_path: Path) -> None:
    run_compiler(folder, "-std=c99", "-O2", "-c", "-o", str(tmp_path / "install.o"), "install.c")
    listed = subprocess.run(["nm", str(tmp_path / "install.o")], capture_output=True, text=True, check=True).stdout
    symbols = [line.split()[-2:] for line in listed.splitlines()]
    assert {name for kind, name in symbols if kind == "U"} <= {"exp", "memcmp", "memcpy", "memset", "sqrt"}
    assert {name for kind, name in symbols if kind == "T"} == {"install_missing", "install_score"}
    assert not [name for kind, name in symbols if kind in "bBcC"]


def test_threads_that_score_at_once_do_not_disturb_each_other(
    exported: Exported, folder: Path, install: Bundle, trained: Trained, tmp_path: Path
) -> None:
    for path in exported.files:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    model = compiled(Api(install), tmp_path)
    alone = model.score(trained.test.inputs)
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(model.score, [trained.test.inputs] * 8))
    assert all(np.array_equal(scores, alone) for scores in together)


def test_the_header_tells_version_fingerprint_and_prior(exported: Exported, folder: Path, install: Bundle) -> None:
    header = (folder / "install.h").read_text()
    assert f'#define INSTALL_VERSION "{install.manifest.version}"' in header
    assert f'#define INSTALL_FINGERPRINT "{digest(install.files["manifest.json"])}"' in header
    assert f"#define INSTALL_PRIOR {install.manifest.prior!r}" in header


def test_every_input_is_a_field_and_says_where_it_comes_from(exported: Exported, folder: Path, install: Bundle) -> None:
    header = (folder / "install.h").read_text()
    for name in install.plan.inputs:
        assert f" {name};\n" in header
    assert "/* ip_activity:clicks_1h_by_ip; NULL is NAN. */\n    float clicks_1h_by_ip;" in header
    assert "/* The request's join key; required. */\n    int64_t app;" in header
    assert "hour_of_day(event_timestamp) by functions/hour_of_day.py: Hours since midnight UTC" in header


def test_a_row_that_parts_is_named_and_nothing_is_written(
    install: Bundle, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = source(Api(install), {name: values[:1] for name, values in trained.test.inputs.items()})
    wrong = wrong.replace("return (odds >= 0", "if (row_is_wrong(raw)) return 0.5;\n    return (odds >= 0")
    raw = np.float32(install.graph.raw({name: values[4:5] for name, values in trained.test.inputs.items()})[0])
    monkeypatch.setattr(
        export_module, "source", lambda *_: wrong.replace("row_is_wrong(raw)", f"raw == (double){raw}f")
    )
    rows = [golden_rows(install), RowSet("the test set", trained.test.inputs, len(trained.test))]
    with pytest.raises(
        ExportDiffers, match=r": [\d,]+ of [\d,]+ rows score differently, first row \d+: 0.5 by the export"
    ):
        export(install, rows, tmp_path / "out", lambda _: None)
    assert not (tmp_path / "out").exists()


def test_a_machine_without_compiler_is_told_before_anything_is_done(
    install: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", "no-such-compiler -O2")
    with pytest.raises(MissingTool, match=r"no C compiler 'no-such-compiler'.*Install one .* or name it in CC"):
        export(install, [golden_rows(install)], tmp_path / "out", lambda _: None)


def test_code_that_does_not_compile_is_an_error_with_the_compilers_words(tmp_path: Path) -> None:
    (tmp_path / "bad.c").write_text("int f(void) { return; }\n")
    with pytest.raises(CompilerFailed, match=r"cc -Werror -c bad.c failed: bad.c:1:15: error: .*return"):
        run_compiler(tmp_path, "-Werror", "-c", "bad.c")


def test_a_model_that_is_no_graph_is_refused(tmp_path: Path, install: Bundle) -> None:
    files = {name: content for name, content in install.files.items() if name != "model.onnx"}
    with pytest.raises(BundleRefused, match="C is made from an ONNX graph"):
        export(Bundle(install.manifest, {}, install.graph, files), [], tmp_path, lambda _: None)


@pytest.mark.parametrize("offset", [0.0, 1e4, -1e4], ids=["in between", "all one", "all zero"])
def test_a_graph_of_core_operators_alone_goes_through(offset: float, tmp_path: Path) -> None:
    tiny = build(bundle_files(offset=offset))
    made = exporter("c")(tiny, [golden_rows(tiny)], tmp_path, lambda _: None)
    assert made.facts["rows compared"] == "2 of golden.parquet"
    assert float(made.facts["greatest difference of log-odds"]) < 1e-14
    assert "where there is none: -1.0f" in (tmp_path / "tiny.h").read_text()
