"""Shares, senders and classes of a window's requests."""

import numpy as np
import pytest

from latentwatch.detector import attribution
from latentwatch.detector.sketch import REPEATED
from latentwatch.stream.investigate import Judged, weigh
from tests.stream.investigate.conftest import Incident


def test_the_most_suspicious_requests_are_those_of_the_attack(
    incident: Incident, judged: Judged
) -> None:
    found = weigh(judged)
    first = {request.request_id for request in found.requests[:30]}
    assert len(first & incident.attacked) >= 27
    p_values = [request.p_value for request in found.requests]
    assert p_values == sorted(p_values)


def test_shares_are_parts_of_the_mean_shift_and_sum_to_one(judged: Judged) -> None:
    found = weigh(judged)
    window = judged.features.take(judged.window)
    unique = window.groups != REPEATED
    view = judged.baseline.deciding[judged.view]
    parts = attribution(window.psi[unique][:, view.slice])
    known = judged.alert.statistics[view.name]["T"]
    assert parts.mean() == pytest.approx(known, rel=1e-12)
    shares = {request.row: request.share for request in found.requests}
    assert sum(shares.values()) == pytest.approx(1.0)
    rows = np.flatnonzero(unique)
    assert shares[int(rows[5])] == pytest.approx(parts[5] / parts.sum())


def test_retries_are_counted_and_not_listed(judged: Judged) -> None:
    found = weigh(judged)
    names = {request.request_id for request in found.requests}
    assert found.repeats == 23
    assert not any(name.startswith("again-") for name in names)
    assert len(names) + found.repeats == judged.alert.requests


def test_the_sender_of_most_suspicious_requests_stands_first_and_is_new(judged: Judged) -> None:
    kiosk, gate = weigh(judged).senders
    assert (kiosk.source, kiosk.requests, kiosk.before) == ("/services/<b>kiosk</b>", 66, 0)
    assert kiosk.suspicious > 40 > 5 > gate.suspicious
    assert gate.before == judged.start


def test_classes_count_the_suspicious_requests(judged: Judged) -> None:
    found = weigh(judged)
    assert sum(bad for _, bad, _ in found.classes) == len(found.suspicious)
    assert all(bad <= count for _, bad, count in found.classes)
