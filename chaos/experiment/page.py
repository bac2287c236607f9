"""The page of an experiment: one HTML file that needs nothing else."""

from __future__ import annotations

from typing import Any

import orjson
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from latentwatch import __version__
from latentwatch.stream.investigate.page import STYLE

__all__ = ["HEAD", "MORE_STYLE", "environment", "render"]

MORE_STYLE = """
.held { color: var(--blue); font-weight: 600; }
.verdict { font-size: 1.15rem; }
"""

HEAD = """<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<link rel="icon" href="data:,">
"""

TEMPLATE = """<!doctype html>
<html lang="en">
<head>
{{ head }}<title>Experiment: {{ journal.experiment.title }}</title>
<style>{{ style }}</style>
</head>
<body>
<header>
<h1>{{ journal.experiment.title }}</h1>
<p class="verdict"><span class="{{ 'held' if verdict == 'held' else 'mark' }}">{{ words[verdict] }}
</span>{% if why %}: {{ why }}{% endif %}</p>
<p class="dim">{{ journal.start[:19].replace("T", " ") }} UTC,
{{ "%.0f" | format(journal.duration) }} s
{% if evidence %} · {{ evidence.model }} ({{ evidence.classifier }}) · baseline
{{ evidence.baseline_sha256[:16] }} · one false alarm in
{{ "{:,}".format(evidence.average_run_length) }} requests{% endif %}</p>
</header>
<main>
<p>{{ journal.experiment.description }}</p>

{% macro probes(state, id, title) %}
<section aria-labelledby="{{ id }}">
<h2 id="{{ id }}">{{ title }}</h2>
{% if state %}
<div class="scroll" tabindex="0" role="region" aria-label="{{ title }}">
<table><caption>{{ journal.experiment["steady-state-hypothesis"].title }}</caption>
<thead><tr><th scope="col">probe</th><th scope="col">found</th><th scope="col">tolerance</th>
<th scope="col">held</th></tr></thead>
<tbody>
{% for run in state.probes %}
<tr><th scope="row">{{ run.activity.name }}</th>
<td class="long">{{ (run.exception[-1] if run.status == "failed" else run.output) | plain }}</td>
<td class="long">{{ run.activity.tolerance | tolerance }}</td>
<td>{% if run.tolerance_met %}<span class="held">yes</span>
{% else %}<span class="mark">no</span>{% endif %}</td></tr>
{% endfor %}
</tbody></table></div>
{% else %}<p>It was not looked at.</p>{% endif %}
</section>
{% endmacro %}

{{ probes(journal.steady_states.before, "before", "Before anything was broken") }}

<section aria-labelledby="method">
<h2 id="method">What was done</h2>
<div class="scroll" tabindex="0" role="region" aria-label="What was done">
<table><thead><tr><th scope="col">activity</th><th scope="col">with</th>
<th scope="col" class="number">seconds</th><th scope="col">came to</th></tr></thead>
<tbody>
{% for run in journal.run + journal.rollbacks %}
<tr><th scope="row">{{ run.activity.name }}<br><span class="dim">{{ run.activity.type }}
{{ run.activity.provider.func }}</span></th>
<td class="long">{{ run.activity.provider.get("arguments", {}) | plain }}</td>
<td class="number">{{ "%.1f" | format(run.duration) }}</td>
<td class="long">{% if run.status != "succeeded" %}<span class="mark">{{ run.status }}</span>
{{ (run.exception or [""])[-1] }}{% else %}{{ run.output | plain }}{% endif %}</td></tr>
{% endfor %}
</tbody></table></div>
</section>

{{ probes(journal.steady_states.after, "after", "After it") }}

{% if evidence %}
<section aria-labelledby="hours">
<h2 id="hours">Hour by hour</h2>
<div class="scroll" tabindex="0" role="region" aria-label="Hour by hour">
<table><caption>What was sent, and what the rates of the deepest layer say</caption>
<thead><tr><th scope="col">hour (UTC)</th><th scope="col" class="number">sent</th>
<th scope="col" class="number">attacks</th><th scope="col" class="number">drifted</th>
<th scope="col" class="number">counted</th><th scope="col" class="number">flagged</th>
<th scope="col" class="number">contamination</th><th scope="col" class="number">alarms</th></tr>
</thead>
<tbody>
{% for row in evidence.hours %}
<tr><th scope="row">{{ row.hour[:16].replace("T", " ") }}</th><td class="number">{{ row.sent }}</td>
<td class="number">{{ row.adversarial }}</td><td class="number">{{ row.drifted }}</td>
{% if row.requests is not none %}
<td class="number">{{ row.requests }}</td><td class="number">{{ row.flagged }}</td>
<td class="number">{{ "%.1f" | format(100 * row.contamination) }} %
(≥ {{ "%.0f" | format(100 * row.contamination_lower_bound) }} %)</td>
<td class="number">{{ row.alarms }} of {{ row.windows }}</td>
{% else %}<td class="number mark">none</td><td></td><td></td><td></td>{% endif %}</tr>
{% endfor %}
</tbody></table></div>
{% if evidence.alerts %}
<div class="scroll" tabindex="0" role="region" aria-label="Alerts" style="margin-top: 1rem">
<table><caption>Alerts</caption>
<thead><tr><th scope="col">alert</th><th scope="col">fired (UTC)</th><th scope="col">state</th>
<th scope="col">pattern</th><th scope="col" class="number">score</th>
<th scope="col">cause</th></tr></thead>
<tbody>
{% for alert in evidence.alerts %}
<tr><th scope="row"><code>{{ alert.id[:12] }}</code></th>
<td>{{ alert.fired_at[:19].replace("T", " ") }}</td>
<td>{{ alert.status }}, {{ alert.severity }}</td><td>{{ alert.pattern }}</td>
<td class="number">{{ "%.1f" | format(alert.score) }} of {{ "%.1f" | format(alert.threshold) }}</td>
<td>{% if alert.is_false %}<span class="mark">false alarm</span>{% else %}traffic of the
experiment{% endif %}</td></tr>
{% endfor %}
</tbody></table></div>
{% else %}<p>No alert was raised about a window.</p>{% endif %}
{% if evidence.clients %}
<div class="scroll" tabindex="0" role="region" aria-label="Clients" style="margin-top: 1rem">
<table><caption>Alerts about clients who seem to copy the classifier</caption>
<thead><tr><th scope="col">alert</th><th scope="col">fired (UTC)</th><th scope="col">state</th>
<th scope="col">client</th><th scope="col" class="number">evidence</th></tr></thead>
<tbody>
{% for alert in evidence.clients %}
<tr><th scope="row"><code>{{ alert.id[:12] }}</code></th>
<td>{{ alert.fired_at[:19].replace("T", " ") }}</td>
<td>{{ alert.status }}, {{ alert.severity }}</td><td>{{ alert.client }}</td>
<td class="number">{{ "%.0f" | format(alert.score) }} of {{ "%.0f" | format(alert.threshold) }}</td>
</tr>
{% endfor %}
</tbody></table></div>
{% endif %}
</section>
{% endif %}
</main>
<footer><p class="dim">latentwatch {{ version }} · Chaos Toolkit
{{ journal["chaoslib-version"] }} · the journal beside this page has everything</p></footer>
</body>
</html>
"""

WORDS = {
    "held": "The defence held",
    "deviated": "A weakness: the hypothesis did not hold",
    "not run": "The experiment says nothing",
}


def environment() -> Environment:
    """Jinja with every text escaped, whoever it came from."""
    made = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    made.filters["plain"] = _plain
    made.filters["tolerance"] = _tolerance
    return made


def render(**values: Any) -> str:
    """Fill the page in."""
    return (
        environment()
        .from_string(TEMPLATE)
        .render(
            head=Markup(HEAD), style=Markup(STYLE + MORE_STYLE), words=WORDS, version=__version__,
            **values,
        )
    )  # fmt: skip


def _plain(value: Any) -> str:
    """JSON without its punctuation, as far as it is flat."""
    if value is None:
        return ""
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_plain(one)}" for key, one in value.items() if one is not None)
    if isinstance(value, list):
        return "[" + ", ".join(map(_plain, value)) + "]"
    return value.strip() if isinstance(value, str) else orjson.dumps(value).decode()


def _tolerance(value: Any) -> str:
    """A tolerance of Chaos Toolkit in words."""
    if not isinstance(value, dict):
        return _plain(value)
    of = f"{value['target']} " if "target" in value else ""
    if value.get("type") == "range":
        low, high = value["range"]
        return f"{of}{low}" if low == high else f"{of}from {low} to {high}"
    return f"{of}matches {value['pattern']}" if value.get("type") == "regex" else _plain(value)
