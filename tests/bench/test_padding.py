"""What padding adds."""

from __future__ import annotations

import argparse

from bench.padding import add_options, compared, run


def test_overhead_is_against_what_was_carried_and_against_speed() -> None:
    told = compared(
        {
            "speed": {"web": {"carried": 100, "out": 30, "back": 80}, "idle": {"out_per_s": 1.0}},
            "privacy": {"web": {"carried": 100, "out": 60, "back": 160}},
        }
    )
    assert (told["speed"]["web"]["over_percent"], told["speed"]["web"]["padding_percent"]) == (10.0, 0.0)
    assert (told["privacy"]["web"]["over_percent"], told["privacy"]["web"]["padding_percent"]) == (120.0, 100.0)


def test_a_short_run() -> None:
    parser = argparse.ArgumentParser()
    add_options(parser)
    short = "--pages 1 --requests 5 --page-s 0 --size 300000 --idle-s 0.1"
    told = run(parser.parse_args(short.split()), [])
    padding = [told[mode]["web"]["padding_percent"] for mode in ("speed", "balanced", "privacy")]
    assert padding[0] == 0
    assert 0 < padding[1] < padding[2]
