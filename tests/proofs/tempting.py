"""A page by which a browser is tempted, again and again, to send something past its proxy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.harness.closed import TUNNELLED

if TYPE_CHECKING:
    from pathlib import Path

ASK_EVERY_MS: Final = 500
TEMPT_EVERY_MS: Final = 3_000
STUN_PORT: Final = 3478
STUN: Final = f"{TUNNELLED}:{STUN_PORT}"

_PAGE: Final = f"""<!DOCTYPE html><title>NAME</title><script>
let turn = 0;
const ask = (url) => fetch(url, {{ mode: "no-cors", cache: "no-store" }}).catch(() => {{}});
const link = (rel, href) => document.head.append(Object.assign(document.createElement("link"), {{ rel, href }}));
setInterval(() => {{
  ask("http://{TUNNELLED}/NAME");
  ask("http://named.test/NAME");
}}, {ASK_EVERY_MS});
setInterval(() => {{
  const names = (word) => `${{word}}${{turn++}}.test`;
  link("dns-prefetch", `http://${{names("prefetched")}}`);
  link("preconnect", `https://${{names("connected")}}`);
  link("prefetch", `http://${{names("fetched")}}/`);
  new WebSocket(`ws://${{names("socket")}}/`);
  new Image().src = `https://${{names("image")}}/`;
  ask("https://192.0.2.82/");
  ask("http://[2001:db8::82]/");
  if (globalThis.WebTransport) new WebTransport(`https://${{names("quic")}}/`).ready.catch(() => {{}});
  if (globalThis.RTCPeerConnection) {{
    const urls = [`stun:{STUN}`, `stun:${{names("stun")}}:3478`];
    const connection = new RTCPeerConnection({{ iceServers: [{{ urls }}] }});
    connection.createDataChannel("any");
    connection.createOffer().then((offer) => connection.setLocalDescription(offer)).catch(() => {{}});
    setTimeout(() => connection.close(), {TEMPT_EVERY_MS});
  }}
}}, {TEMPT_EVERY_MS});
</script>"""
"""Fetches of sites and names, and everything else by which a page can have a browser look up a name or connect."""


def write_page(folder: Path, name: str) -> str:
    """Write the page of a browser, whose name stands in its requests; returns its address."""
    page = folder / f"{name}.html"
    page.write_text(_PAGE.replace("NAME", name))
    return page.as_uri()
