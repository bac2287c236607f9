"""The page on a client who seems to copy the model; `page` has what is around it."""

__all__ = ["CLIENT"]

CLIENT = """{% extends "base" %}
{% block who %}
Client <code id="client">{{ alert.client }}</code> seems to copy the model.
{% endblock %}
{% block main %}
<section aria-labelledby="evidence">
<h2 id="evidence">How the evidence grew</h2>
<figure><img src="{{ evidence }}" alt="{{ evidence_alt }}">
<figcaption>Each query that is nearer to his earlier ones than most reference rows of its class
raises the evidence, others lower it. A p-value is the share of reference rows that are as near;
those of honest clients are spread evenly between 0 and 1.</figcaption></figure>
</section>

<section aria-labelledby="map">
<h2 id="map">Where his queries lie</h2>
{% if map %}
<figure><img src="{{ map }}" alt="Scatter plot of {{ map_against }} and the client's queries,
 coloured by their order.">
<figcaption>Activations of {{ layer }}; grey: {{ map_against }}. Copies of one input, moved by small
steps, form tight groups.</figcaption></figure>
{% else %}
<p>There is nothing to compare with: too few requests of others were read. Give validation rows with
<code>--baseline-rows</code>.</p>
{% endif %}
</section>

<section aria-labelledby="requests">
<h2 id="requests">Which requests</h2>
<div class="scroll" tabindex="0" role="region" aria-label="The nearest queries">
<table><caption>The queries that are nearest to earlier ones, first come first</caption>
<thead><tr><th scope="col" class="number">#</th>
{% if has_pictures %}<th scope="col">input</th>{% endif %}
<th scope="col">request</th><th scope="col" class="number">predicted class</th>
<th scope="col" class="number">p-value</th><th scope="col" class="number">evidence</th>
<th scope="col">time (UTC)</th><th scope="col">sent by</th></tr></thead>
<tbody>
{% for query in listed %}
<tr><td class="number">{{ loop.index }}</td>
{% if has_pictures %}<td>{% if query.picture %}<img src="{{ query.picture }}"
 alt="Input of request {{ query.request_id }}">
{% else %}<span class="dim">not shown</span>{% endif %}</td>{% endif %}
<th scope="row" class="long"><code>{{ query.request_id }}</code>
{% if query.input_ref %}<br><span class="dim">{{ query.input_ref }}</span>{% endif %}</th>
<td class="number">{{ query.predicted }}</td>
<td class="number">{{ "%.2g" | format(query.p_value) }}</td>
<td class="number">{{ "{:,.0f}".format(query.evidence) }}</td>
<td class="long">{{ query.time }}</td><td class="long">{{ query.source }}</td></tr>
{% endfor %}
</tbody></table></div>
</section>

<section aria-labelledby="classes">
<h2 id="classes">What he was answered</h2>
<div class="scroll" tabindex="0" role="region" aria-label="Predicted classes">
<table><caption>Predicted classes of the queries that count</caption>
<thead><tr><th scope="col">predicted class</th><th scope="col" class="number">queries</th></tr>
</thead>
<tbody>
{% for label, count in classes %}
<tr><th scope="row">{{ label }}</th><td class="number">{{ count }}</td></tr>
{% endfor %}
</tbody></table></div>
</section>
{% endblock %}
"""
