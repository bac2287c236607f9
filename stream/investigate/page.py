"""The page of an alert: one HTML file that needs nothing else, light or dark, wide or narrow."""

from __future__ import annotations

from typing import Any

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

__all__ = ["STYLE", "WINDOW", "render"]

STYLE = """
:root { color-scheme: light dark; --ink: #1c2330; --dim: #5b6575; --paper: #ffffff;
  --card: #f4f6f9; --line: #d8dde5; --red: #b3261e; --blue: #2f5f94; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ee; --dim: #a3adbb; --paper: #14181f;
  --card: #1e242e; --line: #384150; --red: #ff8a80; --blue: #8fbcec; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 62rem; color: var(--ink);
  background: var(--paper); font: 1rem/1.55 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .3rem; }
h2 { font-size: 1.2rem; margin: 2.4rem 0 .6rem; }
p { max-width: 46rem; }
.dim, figcaption, caption { color: var(--dim); font-size: .9rem; }
.mark { color: var(--red); font-weight: 600; }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.2rem, 1fr)); gap: .6rem;
  margin: 1.2rem 0; }
dl div { background: var(--card); border-radius: .5rem; padding: .6rem .8rem; }
dt { color: var(--dim); font-size: .85rem; }
dd { margin: 0; font-size: 1.15rem; font-weight: 600; }
figure { margin: 1rem 0; }
figure > img { display: block; width: 100%; height: auto; background: #fff; border-radius: .5rem; }
.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: .5rem; }
.scroll:focus-visible { outline: 2px solid var(--blue); outline-offset: 2px; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; overflow-wrap: normal; }
caption { text-align: left; padding: .5rem .7rem; }
th, td { text-align: left; vertical-align: top; padding: .4rem .7rem;
  border-top: 1px solid var(--line); }
tbody th { font-weight: 500; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.long { min-width: 9rem; overflow-wrap: anywhere; }
td img { display: block; width: 5rem; height: 5rem; object-fit: contain; background: #fff;
  border-radius: .3rem; image-rendering: pixelated; }
code, pre { font-family: ui-monospace, monospace; font-size: .88rem; }
pre { background: var(--card); border-radius: .5rem; padding: .6rem .8rem; margin: .4rem 0;
  white-space: pre-wrap; }
li { margin: .6rem 0; }
"""

BASE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<link rel="icon" href="data:,">
<title>Alert {{ alert.id[:12] }}: {{ alert.model }}/{{ alert.version }}</title>
<style>{{ style }}</style>
</head>
<body>
<header>
<h1>Alert on {{ alert.model }}/{{ alert.version }}, partition {{ alert.partition }}</h1>
<p class="dim">{{ alert.id }} · <span class="mark">{{ alert.status }}, {{ alert.severity }}</span>
 · fired at {{ alert.fired_at | moment }}</p>
</header>
<main>
<section aria-labelledby="summary">
<h2 id="summary">What happened</h2>
<p>{% block who %}{% endblock %}{{ summary }}</p>
<dl>
{% for name, value in facts %}
<div><dt>{{ name }}</dt><dd>{{ value }}</dd></div>
{% endfor %}
</dl>
<p class="dim" id="proof">{{ proof }}</p>
</section>

{% block main %}
{% endblock %}

<section aria-labelledby="next">
<h2 id="next">What to do next</h2>
<ol>
{% for step in steps %}
<li>{{ step.text }}{% if step.command %}<pre>{{ step.command }}</pre>{% endif %}</li>
{% endfor %}
</ol>
</section>
</main>
<footer><p class="dim">latentwatch {{ version }} · baseline {{ alert.baseline_sha256[:16] }} · read
from {{ origin }}</p></footer>
</body>
</html>
"""

WINDOW = """{% extends "base" %}
{% block main %}
<section aria-labelledby="timeline">
<h2 id="timeline">When it moved</h2>
<figure><img src="{{ timeline }}" alt="{{ timeline_alt }}">
<figcaption>Each point is the window of 32 to {{ longest }} requests with the highest score that
ends there. T says how far the mean has moved, E how far single requests are from what the model
knows; the threshold belongs to the score.</figcaption></figure>
<div class="scroll" tabindex="0" role="region" aria-label="Statistics by view">
<table><caption>The alert's window, view by view</caption>
<thead><tr><th scope="col">view</th><th scope="col" class="number">T</th>
<th scope="col" class="number">E</th><th scope="col" class="number">score</th>
<th scope="col">part</th></tr></thead>
<tbody>
{% for row in views %}
<tr><th scope="row">{{ row.name }}</th><td class="number">{{ "%.4g" | format(row.T) }}</td>
<td class="number">{{ "%.4g" | format(row.E) }}</td>
<td class="number">{{ "%.2f" | format(row.score) }}</td><td>{{ row.part }}</td></tr>
{% endfor %}
</tbody></table></div>
</section>

<section aria-labelledby="map">
<h2 id="map">Where the requests lie</h2>
{% if map %}
<figure><img src="{{ map }}" alt="{{ map_alt }}">
<figcaption>{{ map_caption }}</figcaption></figure>
{% else %}
<p>There is nothing to compare with: too few requests stand before the window. Give validation rows
with <code>--baseline-rows</code>.</p>
{% endif %}
</section>

<section aria-labelledby="requests">
<h2 id="requests">Which requests</h2>
<p>{{ requests_text }}</p>
<div class="scroll" tabindex="0" role="region" aria-label="The most suspicious requests">
<table><caption>The most suspicious first: lowest p-value, then largest share in T of
{{ view }}</caption>
<thead><tr><th scope="col" class="number">#</th>
{% if has_pictures %}<th scope="col">input</th>{% endif %}
<th scope="col">request</th><th scope="col" class="number">predicted class</th>
<th scope="col" class="number">p-value</th><th scope="col" class="number">share</th>
<th scope="col" class="number">squared distance</th><th scope="col">time (UTC)</th>
<th scope="col">sent by</th></tr></thead>
<tbody>
{% for request in listed %}
<tr><td class="number">{{ loop.index }}</td>
{% if has_pictures %}<td>{% if request.picture %}<img src="{{ request.picture }}"
 alt="Input of request {{ request.request_id }}">
{% else %}<span class="dim">not shown</span>{% endif %}</td>{% endif %}
<th scope="row" class="long"><code>{{ request.request_id }}</code>
{% if request.input_ref %}<br><span class="dim">{{ request.input_ref }}</span>{% endif %}</th>
<td class="number">{{ request.predicted }}</td>
<td class="number">{{ "%.2g" | format(request.p_value) }}</td>
<td class="number">{{ request.share }}</td>
<td class="number">{{ "%.0f" | format(request.squared_distance) }}</td>
<td class="long">{{ request.time }}</td><td class="long">{{ request.source }}</td></tr>
{% endfor %}
</tbody></table></div>
</section>

<section aria-labelledby="senders">
<h2 id="senders">Who sent them</h2>
<div class="scroll" tabindex="0" role="region" aria-label="Senders">
<table><caption>Requests by the service that sent them (<code>ce_source</code>)</caption>
<thead><tr><th scope="col">sent by</th><th scope="col" class="number">in the window</th>
<th scope="col" class="number">suspicious</th>
<th scope="col" class="number">of the {{ before }} before</th></tr></thead>
<tbody>
{% for sender in senders %}
<tr><th scope="row" class="long">{{ sender.source }}</th>
<td class="number">{{ sender.requests }}</td><td class="number">{{ sender.suspicious }}</td>
<td class="number">{{ sender.before }}</td></tr>
{% endfor %}
</tbody></table></div>
{% if classes %}
<div class="scroll" tabindex="0" role="region" aria-label="Predicted classes"
 style="margin-top: 1rem">
<table><caption>Predicted classes of the suspicious requests</caption>
<thead><tr><th scope="col">predicted class</th><th scope="col" class="number">suspicious</th>
<th scope="col" class="number">in the window</th></tr></thead>
<tbody>
{% for label, bad, count in classes %}
<tr><th scope="row">{{ label }}</th><td class="number">{{ bad }}</td>
<td class="number">{{ count }}</td></tr>
{% endfor %}
</tbody></table></div>
{% endif %}
</section>
{% endblock %}
"""


def render(page: str, **values: Any) -> str:
    """Fill `WINDOW`, or another page that extends ``base``, in; every text is escaped."""
    environment = Environment(
        loader=DictLoader({"base": BASE}),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["moment"] = lambda text: text.replace("T", " ")[:19] + " UTC"
    return environment.from_string(page).render(style=Markup(STYLE), **values)
