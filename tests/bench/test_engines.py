"""What engines move."""

from __future__ import annotations

import argparse
import shutil

from bench.engines import add_options, run


def test_every_pairing_is_measured() -> None:
    parser = argparse.ArgumentParser()
    add_options(parser)
    told = run(parser.parse_args(["--size", "1000001", "--idle", "3"]), [])
    assert (told["size"], told["idle_streams"]) == (1_000_001, 3)
    pairs = [(transfer["from"], transfer["to"]) for transfer in told["transfers"]]
    assert pairs == [(first, second) for first in ("aiopquic", "aioquic") for second in ("aiopquic", "aioquic")]
    plain = told["plain_udp"]
    assert plain is None if shutil.which("gcc") is None else min(plain["mb_per_s"], plain["cpu_s_per_gb"]) > 0
    assert all(transfer["mb_per_s"] > 0 and transfer["cpu_s_per_gb"] > 0 for transfer in told["transfers"])
