"""What curl reports."""

from __future__ import annotations

from bench.load import Got, parse


def test_lines_of_curl() -> None:
    text = "200 0.005 0.100 1024 10240\nnoise\n000 0.000 0.002 0 0\n"
    assert parse(text) == [Got(200, 0.005, 0.1, 1024, 10240.0), Got(0, 0.0, 0.002, 0, 0.0)]
