"""`/metrics`: valid for Prometheus, rounded, kept for a minute, and closed to pages in a browser."""

from __future__ import annotations

from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from core.errors import Reason
from node.metrics import COUNT_STEP, KIND, REFRESH_S, Metrics, Sample, metrics_text
from node.pages import Asked
from node.settings import ExitSettings, NodeSettings, Settings, SharingSettings
from node.sharing_view import Figures, sharing_section

SETTINGS = Settings(
    node=NodeSettings(roles=("relay", "exit")),
    sharing=SharingSettings(monthly_gb=0.5),
    exit=ExitSettings(allow_destinations=("198.51.100.0/24",)),
)
BUSY = Figures(circuits=14, flows=256, carried_mb=1234, month_mb=77, refusal=Reason.LIMIT, biting=("month", "rate"))
COUNTERS = {"relay": {"busy": 4, "creation not readable": 5}, "exit": {"done": 123, "a.b 192.0.2.7": 40}}


def sample(figures: Figures = BUSY) -> Sample:
    return Sample(sharing_section(SETTINGS, figures, {"metrics": "127.0.0.1:9464"}), COUNTERS)


def read(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (one.name, tuple(sorted(one.labels.items()))): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
    }


def test_prometheus_reads_it() -> None:
    found = read(metrics_text(sample()))
    assert found == {
        ("macrovpn_role_info", (("role", "relay"),)): 1,
        ("macrovpn_role_info", (("role", "exit"),)): 1,
        ("macrovpn_open", ()): 0,
        ("macrovpn_limit_reached", (("limit", "month"),)): 1,
        ("macrovpn_limit_reached", (("limit", "rate"),)): 1,
        ("macrovpn_circuits", ()): 10,
        ("macrovpn_flows", ()): 260,
        ("macrovpn_carried_bytes_total", ()): 1234e6,
        ("macrovpn_month_bytes", ()): 77e6,
        ("macrovpn_month_limit_bytes", ()): 500e6,
        ("macrovpn_ended_total", (("part", "relay"), ("reason", "busy"))): 0,
        ("macrovpn_ended_total", (("part", "relay"), ("reason", "creation not readable"))): 10,
        ("macrovpn_ended_total", (("part", "exit"), ("reason", "done"))): 120,
        ("macrovpn_ended_total", (("part", "exit"), ("reason", "other"))): 40,
    }
    kinds = {family.name: family.type for family in text_string_to_metric_families(metrics_text(sample()))}
    assert {name for name, kind in kinds.items() if kind == "counter"} == {"macrovpn_carried_bytes", "macrovpn_ended"}
    assert set(kinds.values()) == {"counter", "gauge"}


def test_nothing_of_addresses_gets_through() -> None:
    text = metrics_text(sample())
    assert "192.0.2.7" not in text
    assert "198.51.100" not in text
    assert "127.0.0.1" not in text


@pytest.mark.parametrize("flows", range(COUNT_STEP // 2))
def test_what_a_few_do_does_not_show(flows: int) -> None:
    few = sample(replace(BUSY, flows=flows, circuits=flows))
    assert metrics_text(few) == metrics_text(sample(replace(BUSY, flows=0, circuits=0)))


def test_a_node_that_only_starts_has_figures_too() -> None:
    assert read(metrics_text(sample(Figures())))[("macrovpn_open", ())] == 1
    assert read(metrics_text(Sample()))


def test_it_is_looked_up_once_a_minute() -> None:
    now, flows = 100.0, 100

    def look() -> Sample:
        return sample(replace(BUSY, flows=flows))

    metrics = Metrics(look, lambda: now, loopback=True)
    asked = Asked("/metrics", "127.0.0.1:9464", from_page=False)
    first = metrics.answer(asked)
    assert (first.status, first.kind) == (200, KIND)
    flows, now = 900, 100.0 + REFRESH_S - 0.01
    assert metrics.answer(asked) == first
    now += 0.01
    assert b"macrovpn_flows 900\n" in metrics.answer(asked).body


@pytest.mark.parametrize(
    ("asked", "loopback", "status"),
    [
        (Asked("/", "localhost:9464", from_page=False), True, 200),
        (Asked("/metrics", "[::1]:9464", from_page=False), True, 200),
        (Asked("/metrics", "rebound.example:9464", from_page=False), True, 403),
        (Asked("/metrics", "192.0.2.7", from_page=False), True, 403),
        (Asked("/metrics", "", from_page=False), True, 403),
        (Asked("/metrics", "127.0.0.1:9464", from_page=True), True, 403),
        (Asked("/metrics", "relay.example:9464", from_page=False), False, 200),
        (Asked("/metrics", "relay.example:9464", from_page=True), False, 403),
        (Asked("/other", "127.0.0.1:9464", from_page=False), True, 404),
    ],
)
def test_who_gets_it(asked: Asked, loopback: bool, status: int) -> None:
    page = Metrics(sample, lambda: 0.0, loopback=loopback).answer(asked)
    assert page.status == status
    assert (b"macrovpn_" in page.body) == (status == 200)
