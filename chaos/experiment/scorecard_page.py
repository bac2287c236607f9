"""The scorecard's page: what is caught and what is not, in the same type size."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import Any

import orjson
from markupsafe import Markup

from latentwatch import __version__
from latentwatch.chaos.experiment.page import HEAD, MORE_STYLE, environment
from latentwatch.chaos.experiment.scorecard import SHARES, Cell, Scorecard
from latentwatch.chaos.traffic.errors import ExperimentError
from latentwatch.stream.investigate.page import STYLE

__all__ = ["FILES", "refuse_overwriting", "write_scorecard"]

FILES = ("scorecard.html", "scorecard.json")

TEMPLATE = """<!doctype html>
<html lang="en">
<head>
{{ head }}<title>Scorecard of {{ card.model }}/{{ card.version }}</title>
<style>{{ style }}</style>
</head>
<body>
<header>
<h1>Which attacks on {{ card.model }}/{{ card.version }} are caught</h1>
<p class="dim">Baseline {{ card.baseline_sha256[:16] }}, fitted on
{{ "{:,}".format(card.fitted_rows) }} rows · one false alarm in
{{ "{:,}".format(card.average_run_length) }} requests asked for, so the threshold is
{{ "%.2f" | format(card.threshold) }} · day {{ day }}</p>
</header>
<main>
<p>Of {{ card.cells | length }} combinations of attack and share
<span class="held">{{ counts["caught"] }} are caught</span>,
<span class="mark">{{ counts["sometimes"] }} are caught sometimes</span> and
<span class="mark">{{ counts["not caught"] }} are not caught</span>. Caught means that at least 95 %
of the streams had an alarm within {{ "{:,}".format(card.within) }} requests of the attack's start;
not caught, at most 5 %.</p>
<section aria-labelledby="attacks">
<h2 id="attacks">Attacks, by the share of requests that carry them</h2>
<div class="scroll" tabindex="0" role="region" aria-label="Attacks">
<table><caption>Requests from the start of the attack to the alarm: median, 90th percentile; then
the part of the streams with an alarm</caption>
<thead><tr><th scope="col">attack</th><th scope="col" class="number">fools the model</th>
{% for share in shares %}<th scope="col">{{ "%g" | format(100 * share) }} % attacked</th>
{% endfor %}</tr></thead>
<tbody>
{% for name, cells in rows %}
<tr><th scope="row">{{ name }}</th>
<td class="number">{% if name in card.success %}{{ "%.0f" | format(100 * card.success[name]) }} %
{% else %}unknown{% endif %}</td>
{% for cell in cells %}<td><span class="{{ 'held' if cell.grade == 'caught' else 'mark' }}">
{{ cell.grade }}</span><br>{{ "%.0f" | format(cell.median) if cell.median is not none else "–" }},
{{ "%.0f" | format(cell.ninety) if cell.ninety is not none else "–" }};
{{ "%.0f" | format(100 * cell.seen) }} % of {{ cell.streams }}</td>
{% endfor %}</tr>
{% endfor %}
</tbody></table></div>
</section>
<section aria-labelledby="missed">
<h2 id="missed">What is not caught</h2>
{% if missed %}
<ul>
{% for cell in missed %}
<li>{{ cell.attack }} on {{ "%g" | format(100 * cell.share) }} % of the requests:
<span class="mark">{{ cell.grade }}</span>, {{ "%.0f" | format(100 * cell.seen) }} % of
{{ cell.streams }} streams</li>
{% endfor %}
</ul>
{% else %}
<p>Nothing of what was tried. Attacks that were not tried may well be missed.</p>
{% endif %}
<p>An attacker who knows the baseline can evade it; whoever wants to know how far measures such an
attack as well. Of attacks that are not in the table this page says nothing.</p>
</section>
<section aria-labelledby="false">
<h2 id="false">False alarms</h2>
<div class="scroll" tabindex="0" role="region" aria-label="False alarms">
<table><caption>Benign streams of {{ "{:,}".format(card.clean_rows) }} rows that the baseline was
not fitted on, at run lengths that are short enough to be counted</caption>
<thead><tr><th scope="col">asked for, one in</th><th scope="col">traffic</th>
<th scope="col" class="number">requests</th><th scope="col" class="number">alarms</th>
<th scope="col">one in (95 % interval)</th></tr></thead>
<tbody>
{% for target, kinds in card.false_alarms.items() %}{% for kind, found in kinds.items() %}
<tr><th scope="row">{{ "{:,}".format(target | int) }}</th><td>{{ kind.replace("_", " ") }}</td>
<td class="number">{{ "{:,}".format(found.requests) }}</td>
<td class="number">{{ found.alarms }}</td>
<td>{{ found | one_in }}</td></tr>
{% endfor %}{% endfor %}
</tbody></table></div>
</section>
</main>
<footer><p class="dim">latentwatch {{ version }}; scorecard.json beside this page has the
figures</p></footer>
</body>
</html>
"""


def refuse_overwriting(folder: Path, *, force: bool) -> None:
    """Raise an `ExperimentError` where a scorecard is there already, unless `force` is given."""
    there = [name for name in FILES if (folder / name).exists()]
    if there and not force:
        raise ExperimentError(
            f"{folder} has {', '.join(there)} already: choose another folder, or --force"
        )


def write_scorecard(card: Scorecard, folder: Path, day: str) -> Path:
    """Write scorecard.html and scorecard.json into a folder; return the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    text = orjson.dumps({"day": day, **card.as_dict()}, option=orjson.OPT_INDENT_2)
    (folder / "scorecard.json").write_bytes(text)
    page = folder / "scorecard.html"
    page.write_text(_render(card, day), encoding="utf-8")
    return page


def _render(card: Scorecard, day: str) -> str:
    made = environment()
    made.filters["one_in"] = _one_in
    grades = [cell.grade for cell in card.cells]
    return made.from_string(TEMPLATE).render(
        head=Markup(HEAD),
        style=Markup(STYLE + MORE_STYLE),
        version=__version__,
        card=card,
        day=day,
        shares=SHARES,
        counts={grade: grades.count(grade) for grade in ("caught", "sometimes", "not caught")},
        rows=[(name, list(cells)) for name, cells in groupby(card.cells, _attack)],
        missed=[cell for cell in card.cells if cell.grade != "caught"],
    )


def _attack(cell: Cell) -> str:
    return cell.attack


def _one_in(found: dict[str, Any]) -> str:
    low, high = found["interval"]
    if low is None:
        return "too few rows"
    return f"{low:,.0f} to {f'{high:,.0f}' if high else 'more'}"
