"""report.html: one file with all that a person looks at before a model is given traffic. It loads nothing else."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from math import floor, log10
from typing import Any

from numpy.typing import NDArray

from lockstep.errors import EvaluationRefused
from lockstep.plan import Column, Computed, Given, Moment, Plan, Stored
from lockstep.times import DAY, HOUR, MINUTE, SECOND, format_time
from training.champion import Since
from training.drift import MOVED, MUCH, Drift, range_text
from training.evaluate import CONFIDENCE, Assessment, Estimate, Floats
from training.gates import GateResult
from training.importance import Importance
from training.pictures import (
    MOST_IMPORTANT,
    Window,
    draw_importance,
    draw_precision_recall,
    draw_reliability,
    draw_roc,
    draw_scores,
    draw_window,
    percent,
)

__all__ = ["FEW_POSITIVES", "ReportFacts", "Window", "plan_rows", "report"]

FEW_POSITIVES = 20
"""With fewer the report warns: a bootstrap of so few rows does not know how others would have scored."""


@dataclass(frozen=True)
class ReportFacts:
    """What the report says. Raises EvaluationRefused where scores and assessment are not of the same rows."""

    name: str
    version: str
    created_us: int
    about: Mapping[str, object]
    """Further facts about the model in the order to show: feature service, estimator, code revision, libraries."""
    y: NDArray[Any]
    """Labels 0 and 1 of all test rows, immature ones too, shape (rows,)."""
    p: Floats
    """The model's scores of the same rows."""
    baseline_p: Floats
    """The scores of the model on request data alone, of the same rows."""
    test: Assessment
    """On all test rows."""
    mature: Assessment | None
    """Without the immature rows; None where what is left does not hold both classes."""
    gates: Sequence[GateResult]
    window: Window
    training_rows: int
    left_out_rows: int
    """Rows before the cut that were too young to be learnt from."""
    importances: Mapping[str, Importance]
    plan: Sequence[Mapping[str, str]]
    """One row a column of the plan, by heading; `plan_rows` makes them."""
    data: Mapping[str, object]
    """Fingerprint of the training frame: rows, positives, SHA-256."""
    since: Since | None = None
    """What changed since the champion was trained; None where there is no champion."""

    def __post_init__(self) -> None:
        rows = self.test.model.rows
        for name in ("y", "p", "baseline_p"):
            if getattr(self, name).shape != (rows,):
                raise EvaluationRefused(
                    f"report: {name} has shape {getattr(self, name).shape}, but {rows} test rows were assessed. "
                    "Give the rows that were assessed, in their order."
                )


def plan_rows(plan: Plan) -> list[dict[str, str]]:
    """The columns of a plan as rows of a table, by heading."""
    ttl = {view.name: view.ttl_us for view in plan.views}
    return [
        {
            "column": column.name,
            "source": _source(column),
            "dtype": column.dtype.value,
            "TTL": _ttl(ttl[column.source.view]) if isinstance(column.source, Stored) else "",
            "default": "" if column.default is None else repr(column.default),
            "model input": "yes" if column.name in plan.inputs else "",
        }
        for column in plan.columns
    ]


def _source(column: Column) -> str:
    match column.source:
        case Stored(view=view, field=field):
            return f"view {view}, field {field}"
        case Computed(function=function, arguments=arguments):
            return f"{function}({', '.join(arguments)})"
        case Given(role="join_key"):
            return "request: join key"
        case Given():
            return "request"
        case Moment():
            return "the row's event_timestamp"


def _ttl(us: int | None) -> str:
    if us is None:
        return "for ever"
    unit, name = next((unit for unit in ((DAY, "d"), (HOUR, "h"), (MINUTE, "m")) if us % unit[0] == 0), (SECOND, "s"))
    return f"{us / unit:g}{name}"


def report(facts: ReportFacts) -> str:
    """The whole page. The same facts give the same text."""
    title = f"{escape(facts.name)} {escape(facts.version)}"
    sections = [
        _gates(facts.gates),
        *([] if facts.since is None else [_since(facts.since)]),
        _metrics(facts),
        _curves(facts),
        _importance(facts.importances),
        _windows(facts),
        _section("Feature plan", _plan(facts.plan)),
        _section("Model and data", _facts("Model", facts.about), _facts("Training frame", facts.data)),
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}: training report</title>\n<style>{_CSS}</style>\n</head>\n<body>\n"
        + "\n".join([_header(facts), "<main>", *sections, "</main>"])
        + "\n</body>\n</html>\n"
    )


def _header(facts: ReportFacts) -> str:
    failed = sum(not gate.passed for gate in facts.gates)
    verdict = f"{failed} of {len(facts.gates)} gates failed" if failed else f"all {len(facts.gates)} gates passed"
    return (
        f"<header><h1>{escape(facts.name)} <small>{escape(facts.version)}</small></h1>"
        f'<p>Trained {format_time(facts.created_us)} · <span class="{"bad" if failed else "good"}">{verdict}</span></p>'
        f'<div class="tiles">{"".join(_tiles(facts.test))}</div></header>'
    )


def _tiles(seen: Assessment) -> Iterable[str]:
    model = seen.model
    yield _tile("AUC", model.auc, f"request data alone {seen.baseline.auc.value:.4f}")
    yield _tile("Average precision", model.average_precision, f"positive rate {percent(model.positive_rate)}")
    yield _tile("Log loss", model.log_loss, f"prior {seen.prior.log_loss.value:.5f}")
    yield _tile(
        "Mean score ÷ positive rate", model.calibration, f"{model.positives:,} positives in {model.rows:,} rows"
    )


def _tile(name: str, estimate: Estimate, beside: str) -> str:
    return (
        f'<div class="tile"><p>{name}</p><p class="value">{_number(estimate.value)}</p>'
        f"<p>{_number(estimate.low)} to {_number(estimate.high)}</p><p>{beside}</p></div>"
    )


def _gates(gates: Sequence[GateResult]) -> str:
    rows = [[_verdict(gate), escape(gate.sentence)] for gate in gates]
    return _section("Gates", _table("A model that fails one is not published.", ("gate", "what was seen"), rows))


def _verdict(gate: GateResult) -> str:
    kind, sign, word = ("good", "✓", "passed") if gate.passed else ("bad", "✗", "failed")
    return f'{escape(gate.name.replace("_", " "))} <span class="{kind}">{sign} {word}</span>'


def _since(since: Since) -> str:
    """What changed since the champion was trained, by column."""
    title = f"Since the champion, version {escape(since.version)}"
    said = "" if since.gate is None else f"<p>{_verdict(since.gate)}: {escape(since.gate.sentence)}</p>"
    note = f"<p>{escape(since.note)}</p>" if since.note else ""
    changed = [[escape(change.column), escape(change.what)] for change in since.changes]
    schema = _table("", ("column", "what became of its schema"), changed) if changed else ""
    return _section(title, said, note, schema, _drifts(since.drifts))


def _drifts(drifts: Sequence[Drift]) -> str:
    if not drifts:
        return ""
    caption = (
        f"The training rows of both. The population stability index says how far a distribution moved: from {MOVED} on "
        f"some, from {MUCH} on much."
    )
    headings = ("column", "moved", "index", "without a value", "before", "range", "before")
    return _table(caption, headings, [_drift(one) for one in drifts], numbers=True)


def _drift(drift: Drift) -> list[str]:
    kind = "bad" if drift.moved else "good"
    index = "" if drift.index is None else f"{drift.index:.3f}"
    shares = [percent(share) for share in (drift.null_now, drift.null_before)]
    ranges = [range_text(each) for each in (drift.range_now, drift.range_before)]
    return [escape(drift.column), f'<span class="{kind}">{drift.verdict}</span>', index, *shares, *ranges]


def _metrics(facts: ReportFacts) -> str:
    note = (
        f"Intervals are {CONFIDENCE:.0%} bootstrap intervals over rows; differences are paired: both models on the "
        "same resamples. The prior is the positive rate of the training rows. The model on request data alone sees "
        "nothing that is stored. Labels are as known at the end of the log: an immature row may still turn positive."
    )
    mature = "<p>The mature test rows alone do not hold both classes: nothing can be measured on them.</p>"
    if facts.mature is not None:
        mature = _measures("Without immature rows", facts.mature)
    positives = facts.test.model.positives
    if positives < FEW_POSITIVES:
        note += f' <span class="bad">Only {positives} positives</span>: the intervals are narrower than the truth.'
    return _section("Measures on the test rows", f"<p>{note}</p>", _measures("All test rows", facts.test), mature)


def _measures(caption: str, seen: Assessment) -> str:
    headings = ("measure", "model", "request data alone", "prior", "model − request alone", "model − prior")
    names = {"auc": "AUC", "average_precision": "average precision", "log_loss": "log loss"}
    rows = [
        [name]
        + [_estimate(getattr(metrics, field)) for metrics in (seen.model, seen.baseline, seen.prior)]
        + [_estimate(getattr(difference, field), "+") for difference in (seen.against_baseline, seen.against_prior)]
        for field, name in names.items()
    ]
    ratios = [_estimate(metrics.calibration) for metrics in (seen.model, seen.baseline, seen.prior)]
    rows.append(["mean score ÷ positive rate", *ratios, "", ""])
    return _table(f"{caption}: {seen.model.positives:,} positives in {seen.model.rows:,}", headings, rows, numbers=True)


def _estimate(estimate: Estimate, sign: str = "") -> str:
    low, high = _number(estimate.low, sign), _number(estimate.high, sign)
    return f"{_number(estimate.value, sign)}<small>{low} to {high}</small>"


def _number(value: float, sign: str = "") -> str:
    """Four decimals, or as many as show four digits of a small number."""
    decimals = 4 if abs(value) >= 0.1 or value == 0 else min(3 - floor(log10(abs(value))), 9)
    return f"{value:{sign}.{decimals}f}".replace("-", "−")


def _curves(facts: ReportFacts) -> str:
    curves = (facts.y, facts.p, facts.baseline_p, facts.test)
    figures = [
        _figure("ROC", draw_roc(*curves), "How many positives are found for the negatives taken along."),
        _figure("Precision-recall", draw_precision_recall(*curves), "How pure the top of the ranking is."),
        _figure(
            "Calibration",
            draw_reliability(facts.test.model.reliability),
            "Bins of about equal expected positives. On the dotted line the model says what happens; "
            "a triangle at the bottom is a bin without positives.",
        ),
        _figure("Score distribution", draw_scores(facts.y, facts.p), "Each class adds up to 100%."),
    ]
    return _section("Curves, all test rows", f'<div class="pair">{"".join(figures)}</div>', _bins(facts.test))


def _bins(seen: Assessment) -> str:
    rows = [
        [
            f"{each.rows:,}",
            f"{each.positives:,}",
            percent(each.mean_score),
            percent(each.positive_rate.value),
            f"{percent(each.positive_rate.low)} to {percent(each.positive_rate.high)}",
        ]
        for each in seen.model.reliability
    ]
    headings = ("rows", "positives", "mean score", "positive rate", "Wilson interval")
    return f"<details><summary>Calibration as numbers</summary>{_table('', headings, rows, numbers=True)}</details>"


def _importance(importances: Mapping[str, Importance]) -> str:
    if not importances:
        return _section("Feature importance", "<p>It was not measured.</p>")
    caption = (
        "Columns that say the same share their importance: each is shuffled while the model still reads the other. "
        f"Lines are one standard deviation over the shuffles. Shown are the greatest {MOST_IMPORTANT} at most."
    )
    ranked = sorted(importances.items(), key=lambda item: -item[1].mean)
    rows = [[escape(name), f"{each.mean:+.6f}", f"{each.std:.6f}"] for name, each in ranked]
    table = _table("", ("column", "growth of the log loss", "standard deviation"), rows, numbers=True)
    return _section(
        "Feature importance",
        _figure("", draw_importance(importances), caption),
        f"<details><summary>Importance as numbers</summary>{table}</details>",
    )


def _windows(facts: ReportFacts) -> str:
    window = facts.window
    mature_to = max(window["mature_to_us"], window["cut_us"])
    immature = facts.test.model.rows - facts.mature.model.rows if facts.mature else None
    rows = [
        _span("training", window["train_from_us"], window["train_to_us"], facts.training_rows),
        _span("left out: immature at the cut", window["train_to_us"], window["cut_us"], facts.left_out_rows),
        _span("test", window["cut_us"], window["test_to_us"], facts.test.model.rows),
        _span("of these, immature at the end", mature_to, window["test_to_us"], immature),
    ]
    return _section(
        "Time windows",
        _figure("", draw_window(window), "Times are UTC. Training saw only what was known at the cut."),
        _table("Each window ends just before its second time.", ("window", "from", "to", "rows"), rows),
    )


def _span(name: str, start_us: int, end_us: int, rows: int | None) -> list[str]:
    return [name, format_time(start_us), format_time(end_us), "" if rows is None else f"{rows:,}"]


def _plan(rows: Sequence[Mapping[str, str]]) -> str:
    headings = tuple(rows[0]) if rows else ()
    cells = [[escape(row[heading]) for heading in headings] for row in rows]
    return _table("From keys to the model's input, in order.", tuple(map(escape, headings)), cells)


def _facts(caption: str, facts: Mapping[str, object]) -> str:
    return _table(caption, (), [[escape(name), _value(value)] for name, value in facts.items()])


def _value(value: object) -> str:
    if isinstance(value, Mapping):
        return "<br>".join(f"{escape(str(name))} {_value(each)}" for name, each in value.items())
    return escape(str(value))


def _section(title: str, *parts: str) -> str:
    return f"<section><h2>{title}</h2>{''.join(parts)}</section>"


def _figure(title: str, svg: str, caption: str) -> str:
    heading = f"<h3>{title}</h3>" if title else ""
    return f"<figure>{heading}{svg}<figcaption>{caption}</figcaption></figure>"


def _table(caption: str, headings: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: bool = False) -> str:
    """A table of cells that are HTML already; the first cell of a row is its heading."""
    head = "".join(f'<th scope="col">{heading}</th>' for heading in headings)
    body = "".join(
        f'<tr><th scope="row">{row[0]}</th>' + "".join(f"<td>{cell}</td>" for cell in row[1:]) + "</tr>" for row in rows
    )
    return (
        f'<div class="wide"><table{" class=numbers" if numbers else ""}>'
        + (f"<caption>{caption}</caption>" if caption else "")
        + (f"<thead><tr>{head}</tr></thead>" if head else "")
        + f"<tbody>{body}</tbody></table></div>"
    )


_CSS = """
:root {
  color-scheme: light dark;
  --paper: #fff; --card: #f6f7f9; --ink: #1c2128; --muted: #68727f; --grid: #e3e6ea;
  --model: #2563a8; --baseline: #c2660c; --positive: #b0307a; --negative: #4a7d8c; --good: #1a7a41; --bad: #b3261e;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14171c; --card: #1d2128; --ink: #e6e9ee; --muted: #98a2b0; --grid: #2f353e;
    --model: #6fb0f5; --baseline: #f0a05a; --positive: #f07fc0; --negative: #7fbfd0; --good: #5fcf8b; --bad: #ff8a80;
  }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 70rem; padding: 2rem 1.25rem 4rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { margin: 0; font-size: 1.9rem; } h1 small { color: var(--muted); font-size: 1.1rem; font-weight: 400; }
h2 { margin: 2.75rem 0 .75rem; padding-bottom: .3rem; border-bottom: 1px solid var(--grid); font-size: 1.3rem; }
h3 { margin: 0 0 .5rem; font-size: 1rem; }
.good, .bad { color: var(--good); font-weight: 600; white-space: nowrap; }
.bad { color: var(--bad); }
th .good, th .bad { display: block; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(13rem, 1fr)); gap: 1rem; margin-top: 1.25rem; }
.tile { padding: .9rem 1.1rem; border-radius: 8px; background: var(--card); }
.tile p { margin: 0; color: var(--muted); font-size: .87rem; }
.tile .value { color: var(--ink); font-size: 1.7rem; font-weight: 600; font-variant-numeric: tabular-nums; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(27rem, 100%), 1fr)); gap: 1.25rem; }
figure { margin: 0 0 1rem; padding: 1rem; border-radius: 8px; background: var(--card); }
figcaption { margin-top: .5rem; color: var(--muted); font-size: .87rem; }
svg { display: block; width: 100%; height: auto; }
svg * { stroke-linejoin: round; stroke-linecap: butt; }
svg text { font-family: inherit !important; }
.wide { overflow-x: auto; }
table { width: 100%; margin-bottom: 1.25rem; border-collapse: collapse; font-variant-numeric: tabular-nums; }
caption { padding-bottom: .4rem; color: var(--muted); text-align: left; }
th, td { padding: .4rem .75rem .4rem 0; border-bottom: 1px solid var(--grid); text-align: left; vertical-align: top;
  overflow-wrap: break-word; }
thead th { color: var(--muted); font-size: .87rem; font-weight: 500; }
tbody th { font-weight: 500; white-space: nowrap; }
.numbers td, .numbers th + th { text-align: right; white-space: nowrap; }
td small { display: block; color: var(--muted); font-size: .8rem; }
details { margin-top: .75rem; } summary { cursor: pointer; color: var(--muted); }
"""
