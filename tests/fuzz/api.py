"""Requests to the control interface of a real node, made out of its own description by schemathesis.

    python -m tests.fuzz.api --examples 200

Two callers ask: a program, and a page of the dashboard. Neither stops the node, listens to its events (which do not
end), has it ask sites of the Internet, or, as a program, has the wallet write a file.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from tests.harness.demo import Demo

if TYPE_CHECKING:
    from node.client import NodeClient

OPTIONS: Final = ("--relays", "2", "--exits", "1", "--allow-destination", "127.0.0.0/8")
CHECKS: Final = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
)
_LEFT_OUT: Final = {
    "program": ("/v1/stop", "/v1/events", "/v1/ask", "/v1/wallet/{what}"),
    "page": ("/v1/events", "/v1/ask"),
}
_COUNT: Final = re.compile(r"(\d+) generated, (\d+) passed")


def fuzz(node: NodeClient, who: str, examples: int, phases: str, seed: int) -> int:
    """Ask a node.

    Args:
        node: which.
        who: `program` or `page`.
        examples: requests of each phase to each route, at most.
        phases: of schemathesis, separated by commas.
        seed: for the same requests again.

    Returns:
        How many requests were made.

    Raises:
        AssertionError: an answer was not as it is described; it says which.
    """
    headers = _headers(node, who)
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{node.url}/v1/openapi.json", "--no-color"]
    command += [f"--phases={phases}", f"--max-examples={examples}", f"--seed={seed}", "--warnings=off"]
    command += [f"--checks={','.join(CHECKS)}", "--continue-on-failure", "--request-timeout=10"]
    command += [part for path in _LEFT_OUT[who] for part in ("--exclude-path", path)]
    command += [part for name, value in headers.items() for part in ("--header", f"{name}: {value}")]
    with tempfile.TemporaryDirectory() as folder:  # it keeps examples where it runs
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=3600, check=False)
    counts = _COUNT.search(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert counts is not None, done.stdout
    assert counts[1] == counts[2], done.stdout
    return int(counts[1])


def _headers(node: NodeClient, who: str) -> dict[str, str]:
    if who == "program":
        return {"Authorization": f"Bearer {Path(node.token_file).read_text().strip()}"}
    body = json.dumps({"code": node.code("page")["code"]}).encode()
    request = urllib.request.Request(f"{node.url}/v1/session", body, {"Origin": node.url})
    with urllib.request.urlopen(request, timeout=10) as answer:
        token = json.load(answer)["token"]
    return {"Authorization": f"Bearer {token}", "Origin": node.url}


@click.command()
@click.option("--examples", default=200, help="Requests of each phase to each route, at most.")
@click.option("--seed", default=1, help="For the same requests again.")
def main(examples: int, seed: int) -> None:
    """Ask a real node thousands of things."""
    with tempfile.TemporaryDirectory() as folder, Demo(*OPTIONS, log=Path(folder) / "log") as demo:
        for who in _LEFT_OUT:
            count = fuzz(demo.node, who, examples, "coverage,fuzzing", seed)
            click.echo(f"as a {who}: {count} requests, every answer as described")
        click.echo(f"the node still runs: {demo.status()['state']}")


if __name__ == "__main__":
    main()
