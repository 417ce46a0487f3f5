"""What RFC 9110 asks of a proxy, as a table; see `http_rows`."""

from __future__ import annotations

from tests.proxy.http_ends import OK, Script
from tests.proxy.http_rows import BYE, CHUNKED, END, HOST, Row, answered, ask, get, post, refused

UPGRADE = (b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Key: x", b"Sec-WebSocket-Version: 13")
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"

MESSAGE = (
    refused("9110 4.2.4", "a user in the URL", ask(b"http://u:p@a.example/")),
    refused("9110 4.2.4", "a user without a name", ask(b"http://@a.example/")),
    Row("9110 5.1", "headers that nobody knows", get(b"X-New: 1"), seen=(b"\r\nX-New: 1\r\n",)),
    answered("9110 6.6.1", "an answer without a date gets one", OK.replace(b"Date: x\r\n", b""), got=(b"\r\nDate: ",)),
    answered("9110 6.6.1", "a date of the site is kept", OK, got=(b"\r\nDate: x\r\n",), ungot=(b"gmt",)),
    Row(
        "9110 7.7", "a body is not looked into", post(b"Content-Encoding: gzip", b"Content-Length: 2", body=b"\x1f\x8b")
    ),
    Row(
        "9110 11.7.2", "credentials for the proxy", get(b"Proxy-Authorization: Basic YTpi"), unseen=(b"proxy-", b"YTpi")
    ),
    refused("9110 11.7.2", "credentials that are none", get(b"Proxy-Authorization: Basic !")),
    refused("9110 11.7.2", "two credentials", get(*(b"Proxy-Authorization: Basic YTpi",) * 2)),
    Row("9110 11.6.2", "credentials for the site", get(b"Authorization: Basic YTpi"), seen=(b"\r\nAuthorization: ",)),
)

HOPS = (
    *(
        Row("9110 7.6.1", f"{line!r} ends here", get(line), unseen=(line.lower(),))
        for line in (
            *(b"Keep-Alive: timeout=5", b"Proxy-Connection: keep-alive", b"TE: gzip", b"Upgrade: h2c", b"Trailer: X"),
            *(b"Connection: keep-alive", b"Proxy-Anything: 1"),
        )
    ),
    Row(
        "9110 7.6.1",
        "what Connection names",
        get(b"Connection: X-A , x-b", b"X-A: 1", b"X-B: 2"),
        unseen=(b"x-a", b"x-b"),
    ),
    Row(
        "9110 7.6.1",
        "in two lines",
        get(b"Connection: x-a", b"Connection: x-b", b"X-A: 1", b"X-B: 2"),
        unseen=(b"x-a", b"x-b"),
    ),
    Row(
        *("9110 7.6.1", "a length cannot be named away"),
        post(b"Connection: Content-Length", b"Content-Length: 5", body=b"hello") + BYE,
        (200, 200),
        2,
        seen=(b"\r\nContent-Length: 5\r\n",),
        stays=False,
    ),
    Row(
        "9110 7.6.1",
        "nor a coding",
        post(b"Connection: Transfer-Encoding", CHUNKED, body=b"0\r\n\r\n"),
        seen=(CHUNKED,),
    ),
    Row("9110 7.6.1", "nor the host", get(b"Connection: host"), seen=(HOST,)),
    answered(
        *("9110 7.6.1", "the site's, too"),
        b"HTTP/1.1 200 OK\r\nConnection: X-A, close\r\nX-A: 1\r\nKeep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\n"
        b"Upgrade: h2c\r\nTrailer: X\r\nContent-Length: 0\r\n\r\n",
        ungot=(b"x-a", b"connection", b"keep-alive", b"proxy-", b"upgrade", b"trailer"),
    ),
    Row("9110 7.6.3", "no Via: it would tell of this proxy", get(), unseen=(b"via",), ungot=(b"via",)),
    Row("9110 7.6.3", "a Via of the client's is passed on", get(b"Via: 1.1 x"), seen=(b"\r\nVia: 1.1 x\r\n",)),
    Row(
        "9110 10.1.4",
        "TE: trailers goes on",
        get(b"TE: trailers, gzip"),
        seen=(b"\r\nTE: trailers\r\n", b"close, TE\r\n"),
    ),
    *(
        Row(
            *("9110 7.6.2", f"Max-Forwards 3 with {method.decode()}"),
            get(b"Max-Forwards: 3", start=method + b" http://a.example/ HTTP/1.1"),
            seen=(b"\r\nMax-Forwards: 2\r\n",),
            unseen=(b"max-forwards: 3",),
        )
        for method in (b"OPTIONS", b"TRACE")
    ),
    Row("9110 7.6.2", "it does not count for others", get(b"Max-Forwards: 0"), seen=(b"\r\nMax-Forwards: 0\r\n",)),
    Row(
        *("9110 7.6.2", "OPTIONS that goes no further"),
        get(b"Max-Forwards: 0", start=b"OPTIONS http://a.example/ HTTP/1.1"),
        requests=0,
        got=(b"\r\nAllow: ",),
        stays=False,
    ),
    refused(
        "9110 7.6.2",
        "TRACE that goes no further",
        get(b"Max-Forwards: 0", start=b"TRACE http://a.example/ HTTP/1.1"),
        405,
    ),
    *(
        refused(
            "9110 7.6.2",
            f"Max-Forwards: {value!r}",
            get(b"Max-Forwards: " + value, start=b"OPTIONS http://a.example/ HTTP/1.1"),
        )
        for value in (b"-1", b"x", b"", b"1" * 11, b"1\r\nMax-Forwards: 1")
    ),
)

METHODS = (
    Row(
        "9110 9.3.2",
        "HEAD",
        ask(b"http://a.example/", b"HEAD"),
        site=Script(OK[:-2]),
        got=(b"\r\nContent-Length: 2\r\n",),
    ),
    Row(
        "9110 9.3.2",
        "HEAD of a chunked page",
        ask(b"http://a.example/", b"HEAD"),
        site=Script(OK[:-2].replace(b"Content-Length: 2", CHUNKED)),
    ),
    Row(
        "9110 9.3.2",
        "HEAD that is answered with a body",
        ask(b"http://a.example/", b"HEAD"),
        site=Script(OK),
        ungot=(b"hi",),
    ),
    Row(
        "9110 9.3.2",
        "a page of ours to HEAD",
        ask(b"http://a.example/", b"HEAD"),
        (502,),
        site=Script(b"", ends=True),
        stays=False,
    ),
    refused(
        "9110 9.3.6",
        "CONNECT with a length",
        get(b"Content-Length: 3", start=b"CONNECT a.example:443 HTTP/1.1", body=b"abc"),
    ),
    refused(
        "9110 9.3.6", "CONNECT with a coding", get(CHUNKED, start=b"CONNECT a.example:443 HTTP/1.1", body=b"0\r\n\r\n")
    ),
    refused(
        "9110 9.3.8",
        "TRACE with a body",
        get(b"Content-Length: 2", start=b"TRACE http://a.example/ HTTP/1.1", body=b"hi"),
    ),
    refused(
        "9110 9.3.8", "TRACE with a coding", get(CHUNKED, start=b"TRACE http://a.example/ HTTP/1.1", body=b"0\r\n\r\n")
    ),
)

EXPECT = (
    Row(
        *("9110 10.1.1", "Expect: 100-continue"),
        post(b"Expect: 100-continue", b"Content-Length: 5", body=b"hello"),
        (100, 200),
        site=Script(interim=CONTINUE),
        seen=(b"\r\nExpect: 100-continue\r\n", END + b"hello"),
    ),
    Row(
        *("9110 10.1.1", "a final answer instead of 100, and a client that then sends nothing"),
        post(b"Expect: 100-continue", b"Content-Length: 5"),
        (417,),
        requests=0,
        site=Script(interim=b"HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n"),
        got=(b"\r\nConnection: close\r\n",),
        stays=False,
    ),
    Row(
        *("9110 10.1.1", "it is nothing in HTTP/1.0"),
        get(b"Expect: 100-continue", b"Content-Length: 5", start=b"POST http://a.example/ HTTP/1.0", body=b"hello"),
        unseen=(b"expect",),
        stays=False,
    ),
    refused("9110 10.1.1", "twice", get(*(b"Expect: 100-continue",) * 2)),
    Row(
        "9110 15.2",
        "interim answers",
        get(),
        (103, 100, 200),
        site=Script(interim=HINTS + CONTINUE),
        got=(b"\r\nLink: </x>\r\n",),
    ),
    Row(
        "9110 15.2",
        "none for HTTP/1.0",
        ask(b"http://a.example/", version=b"HTTP/1.0"),
        site=Script(interim=HINTS),
        stays=False,
    ),
    answered(
        "9110 15.3.5",
        "204 has no body and no length",
        b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
        204,
        ungot=(b"content-length", b"transfer-"),
    ),
    answered(
        "9110 15.3.5",
        "204 with a coding",
        b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
        204,
        ungot=(b"transfer-",),
    ),
    answered(
        "9110 15.3.5", "204 with a body", b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nhi", 204, ungot=(b"hi",)
    ),
    answered(
        "9110 15.4.5",
        "304 keeps the length of what it spares",
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
        304,
        got=(b"Content-Length: 9\r\n",),
    ),
    answered(
        "9110 15.5.20",
        "a site may say what a proxy says",
        b"HTTP/1.1 407 x\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n",
        407,
        ungot=(b"proxy-",),
    ),
)

UPGRADES = (
    Row(
        *("9110 7.8", "a WebSocket"),
        get(*UPGRADE),
        (101,),
        site=Script(b"", SWITCHED),
        seen=(b"\r\nUpgrade: websocket\r\n", b"\r\nConnection: upgrade\r\n", b"\r\nSec-WebSocket-Key: x\r\n"),
        got=(b"\r\nUpgrade: websocket\r\n", b"\r\nConnection: upgrade\r\n"),
    ),
    Row(
        *("9110 7.8", "a WebSocket by its own scheme"),
        get(*UPGRADE, start=b"GET WS://a.example:81/p HTTP/1.1"),
        (101,),
        site=Script(b"", SWITCHED),
        seen=(b"GET /p HTTP/1.1\r\n", b"\r\nHost: a.example:81\r\n", b"\r\nUpgrade: websocket\r\n"),
    ),
    refused("9110 7.8", "the scheme of WebSockets without Upgrade", ask(b"ws://a.example/")),
    refused("9110 7.8", "with TLS, which needs CONNECT", get(*UPGRADE, start=b"GET wss://a.example/ HTTP/1.1")),
    Row("9110 7.8", "one that the site declines", get(*UPGRADE) + BYE, (200, 200), 2, stays=False),
    Row(
        "9110 7.8",
        "one among others",
        get(b"Connection: Upgrade", b"Upgrade: h2c, WebSocket"),
        (101,),
        site=Script(b"", SWITCHED),
        unseen=(b"h2c",),
    ),
    Row(
        *("9110 7.8", "h2c"),
        get(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAAP__"),
        unseen=(b"upgrade", b"h2c", b"http2-settings"),
    ),
    Row("9110 7.8", "without Connection", get(b"Upgrade: websocket"), unseen=(b"upgrade",)),
    Row(
        "9110 7.8",
        "in HTTP/1.0",
        get(*UPGRADE, start=b"GET http://a.example/ HTTP/1.0"),
        unseen=(b"upgrade",),
        stays=False,
    ),
    Row("9110 7.8", "with POST", post(*UPGRADE), unseen=(b"upgrade",)),
    Row("9110 7.8", "with a body", get(*UPGRADE, b"Content-Length: 2", body=b"hi"), unseen=(b"upgrade",)),
    Row("9110 7.8", "101 that nobody asked for", get(), (502,), site=Script(b"", SWITCHED), stays=False),
    Row(
        "9110 7.8",
        "101 for h2c that was not passed on",
        get(b"Connection: Upgrade", b"Upgrade: h2c"),
        (502,),
        site=Script(b"", SWITCHED),
        stays=False,
    ),
    Row(
        "9110 7.8",
        "101 to another protocol",
        get(*UPGRADE),
        (502,),
        site=Script(b"", SWITCHED.replace(b"WebSocket", b"h2c")),
        stays=False,
    ),
    Row(
        "9110 7.8",
        "101 to two protocols",
        get(*UPGRADE),
        (502,),
        site=Script(b"", SWITCHED.replace(b"WebSocket", b"websocket, h2c")),
        stays=False,
    ),
)

RFC_9110 = (*MESSAGE, *HOPS, *METHODS, *EXPECT, *UPGRADES)
