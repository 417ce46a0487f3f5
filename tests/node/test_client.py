"""The command line's view of a running node."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import ssl
from typing import TYPE_CHECKING, Any

import pytest

from node.client import NodeClient, NoNodeError, RefusedError, SilentNodeError, ask_status
from node.control.server import Control
from tests.node.test_control import Node

if TYPE_CHECKING:
    from pathlib import Path


async def test_asks_a_real_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    node = Node()
    control = Control(node, tmp_path)
    await control.start(0)
    client = NodeClient(tmp_path)
    assert (client.url, client.pid) == (control.url, os.getpid())

    def ask() -> list[Any]:
        return [client.stop(), client.status(), client.route(), client.peers(), client.pac(), client.hop()]

    assert await asyncio.to_thread(ask) == [
        7.0,
        {"state": "up"},
        {"circuits": [{"id": "c1"}]},
        {"peers": []},
        node.pac_text,
        {"circuits": [{"id": "c1"}]},
    ]
    assert (node.stops, node.hops) == (1, 1)
    assert await asyncio.to_thread(ask_status, tmp_path, os.getpid()) == {"state": "up"}
    assert await asyncio.to_thread(ask_status, tmp_path, 1) is None

    node.pac_text = ""
    with pytest.raises(RefusedError, match="This node has no proxy, so it has no PAC"):
        await asyncio.to_thread(client.pac)
    await control.stop()
    with pytest.raises(NoNodeError):
        await asyncio.to_thread(client.status)
    assert ask_status(tmp_path, os.getpid()) is None


async def test_asking_reads_no_certificates_and_no_other_schemes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    control = Control(Node(), tmp_path)
    await control.start(0)

    def loaded(context: ssl.SSLContext, purpose: object = None) -> None:
        raise AssertionError("certificates were read")

    monkeypatch.setattr(ssl.SSLContext, "load_default_certs", loaded)
    monkeypatch.setattr(ssl.SSLContext, "set_default_verify_paths", loaded)
    client = NodeClient(tmp_path)
    assert await asyncio.to_thread(client.status) == {"state": "up"}
    for url in ("file:///etc", "https://127.0.0.1:9", "ftp://127.0.0.1:9"):
        client.url = url
        with pytest.raises(SilentNodeError):
            await asyncio.to_thread(client.status)
    await control.stop()


@pytest.mark.parametrize("text", [None, "", "{", "[]", "{}", '{"url": "u", "token_file": "/none", "pid": 1}'])
def test_no_node(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "control.json").write_text(text)
    with pytest.raises(NoNodeError) as caught:
        NodeClient(tmp_path)
    assert str(caught.value) == f"No node runs in {tmp_path}. Start one with `macrovpn up`."


def test_a_node_that_is_silent_is_told_from_none(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        (tmp_path / "token").write_text("t")
        facts = {"url": f"http://127.0.0.1:{server.getsockname()[1]}", "token_file": str(tmp_path / "token"), "pid": 7}
        (tmp_path / "control.json").write_text(json.dumps(facts))
        with pytest.raises(SilentNodeError, match=r"\(process 7\) does not answer"):
            NodeClient(tmp_path).call("GET", "status", 0.1)
    with pytest.raises(NoNodeError):
        NodeClient(tmp_path).status()
