"""A skops file is opened only for types that its manifest lists and the scorer trusts."""

import io
import json
import sys
import zipfile

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from lockstep.errors import BundleRefused, MissingTool
from lockstep.plan import Array
from lockstep.skops_model import SkopsModel, dump, raw_scores, untrusted
from lockstep.transformers import TopN

X = np.random.default_rng(2).normal(size=(60, 2))
Y = (X[:, 0] > 0).astype(np.int8)
TOP = "lockstep.transformers.TopN"


def file_of(transformer: object, estimator: object = None) -> bytes:
    step = {"name": "it", "columns": ["a", "b"], "dtype": "float64", "texts": False, "transformer": transformer}
    return dump([step], {"a": "float32", "b": "float32"}, estimator)


def whole() -> bytes:
    scaler = StandardScaler().fit(X)
    return file_of(scaler, LogisticRegression().fit(scaler.transform(X), Y))


def columns() -> dict[str, Array]:
    return {"a": X[:, 0].astype(np.float32), "b": X[:, 1].astype(np.float32)}


def test_a_model_scores_by_scikit_learns_own_objects() -> None:
    it = SkopsModel(whole(), [])
    assert list(it.inputs) == ["a", "b"]
    assert it.features(columns()).dtype == np.float32
    np.testing.assert_allclose(it.raw(columns()), raw_scores(it.estimator, it.features(columns())))
    assert it.run(columns()).shape == (60, 1)
    assert SkopsModel(file_of(StandardScaler().fit(X)), []).run(columns()).shape == (60, 2)


def ids() -> bytes:
    return file_of(TopN(2).fit(np.array([[1, 2], [1, 3]])))


def test_a_type_that_the_manifest_does_not_list_is_refused() -> None:
    assert untrusted(ids()) == [TOP]
    assert SkopsModel(ids(), [TOP]).steps[0]["transformer"].values_[0].tolist() == [1]
    with pytest.raises(BundleRefused, match=f"holds {TOP}, which its manifest does not list"):
        SkopsModel(ids(), [])


def test_a_manifest_cannot_widen_what_is_trusted() -> None:
    hostile = file_of(FunctionTransformer(np.save).fit(X))
    found = untrusted(hostile)
    assert found
    with pytest.raises(BundleRefused, match=r"holds numpy\.save, which this Lockstep does not trust"):
        SkopsModel(hostile, found)


def renamed(content: bytes, before: tuple[str, str], after: tuple[str, str]) -> bytes:
    """The file with one type in the place of another."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == "schema.json":
                text = data.decode()
                for one, other in zip(before, after, strict=True):
                    text = text.replace(json.dumps(one), json.dumps(other))
                data = text.encode()
            new.writestr(name, data)
    return out.getvalue()


@pytest.mark.parametrize("target", [("os", "system"), ("builtins", "eval"), ("subprocess", "Popen")])
def test_a_file_whose_types_were_changed_is_refused_and_runs_nothing(target: tuple[str, str]) -> None:
    hostile = renamed(ids(), ("lockstep.transformers", "TopN"), target)
    with pytest.raises(BundleRefused, match=r"does not trust|cannot be opened"):
        SkopsModel(hostile, [".".join(target), TOP])


@pytest.mark.parametrize("content", [b"", b"\x80\x04N.", b"PK\x03\x04"], ids=["empty", "a pickle", "half a zip"])
def test_bytes_that_are_no_skops_file_are_refused(content: bytes) -> None:
    with pytest.raises(BundleRefused, match="cannot be opened"):
        SkopsModel(content, [])


def test_a_skops_file_of_something_else_is_refused() -> None:
    import skops.io

    with pytest.raises(BundleRefused, match="no model of ours"):
        SkopsModel(skops.io.dumps([1, 2]), [])


def test_another_version_of_scikit_learn_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    content = whole()
    monkeypatch.setattr("sklearn.__version__", "0.1")
    with pytest.raises(BundleRefused, match=r"fitted with scikit-learn .*; here is 0\.1\. Install that version"):
        SkopsModel(content, [])


def test_without_the_extra_the_refusal_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    content = whole()
    for name in [name for name in sys.modules if name == "skops" or name.startswith("skops.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "skops", None)
    with pytest.raises(MissingTool, match=r"pip install 'lockstep\[skops\]'"):
        SkopsModel(content, [])


def test_probabilities_of_zero_and_one_have_infinite_log_odds() -> None:
    class Sure:
        """A classifier that knows."""

        def predict_proba(self, features: Array) -> Array:
            return np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]])

    assert raw_scores(Sure(), X).tolist() == [-np.inf, 0.0, np.inf]
