"""What RFC 9112 asks of a proxy, as a table: what a client sends, and what each side must then have seen."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.proxy.http_ends import OK, Script

HOST = b"\r\nHost: a.example"
END = b"\r\n\r\n"
BYE = b"GET http://z.example/bye HTTP/1.1\r\nHost: z.example\r\nConnection: close\r\n\r\n"
"""A request that ends a connection: its answer shows that the client and the proxy still agree where they are."""


def get(
    *lines: bytes, start: bytes = b"GET http://a.example/p HTTP/1.1", body: bytes = b"", host: bytes = HOST
) -> bytes:
    return start + host + b"".join(b"\r\n" + line for line in lines) + END + body


def post(*lines: bytes, body: bytes = b"") -> bytes:
    return get(*lines, start=b"POST http://a.example/p HTTP/1.1", body=body)


def ask(target: bytes, method: bytes = b"GET", version: bytes = b"HTTP/1.1") -> bytes:
    return get(start=method + b" " + target + b" " + version)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    Args:
        section: of the RFC, such as `9112 3.2`.
        what: what is looked at.
        sent: by the client.
        status: of the answers that it gets, in order.
        requests: how many whole, well-formed requests the sites get.
        body: of the last answer.
        seen: what must stand in the bytes that the sites get.
        unseen: what must not, in any case of letters.
        got: what must stand in the bytes that the client gets.
        ungot: what must not, in any case of letters.
        stays: the client's connection can be used again.
        cut: the client's answer breaks off.
        site: what the sites say.
    """

    section: str
    what: str
    sent: bytes
    status: tuple[int, ...] = (200,)
    requests: int = 1
    body: bytes | None = None
    seen: tuple[bytes, ...] = ()
    unseen: tuple[bytes, ...] = ()
    got: tuple[bytes, ...] = ()
    ungot: tuple[bytes, ...] = ()
    stays: bool = True
    cut: bool = False
    site: Script = field(default_factory=Script)

    def __str__(self) -> str:
        return f"{self.section}: {self.what}"


def refused(section: str, what: str, sent: bytes, status: int = 400) -> Row:
    """A request of which no byte reaches a site, and after which the connection is over."""
    return Row(section, what, sent, (status,), requests=0, stays=False)


def broken(section: str, what: str, body: bytes) -> Row:
    """A chunked body that is broken: the site must not take it for a whole one."""
    return Row(section, what, post(b"Transfer-Encoding: chunked", body=body), (400,), requests=0, stays=False)


def answered(
    section: str,
    what: str,
    answer: bytes,
    status: int = 200,
    *,
    body: bytes | None = None,
    got: tuple[bytes, ...] = (),
    ungot: tuple[bytes, ...] = (),
    stays: bool = True,
) -> Row:
    """An answer of the site to a simple request."""
    return Row(section, what, get(), (status,), body=body, got=got, ungot=ungot, stays=stays, site=Script(answer))


MESSAGE = (
    Row("9112 2.2", "an empty line before the request", b"\r\n" + get()),
    Row("9112 2.2", "an empty line between requests", get() + b"\r\n" + BYE, (200, 200), 2, stays=False),
    refused("9112 2.2", "bare LF behind every line", get().replace(b"\r\n", b"\n")),
    refused("9112 2.2", "bare LF behind one header", get(b"X: 1\nTransfer-Encoding: chunked")),
    refused("9112 2.2", "bare CR in a value", get(b"X: 1\rTransfer-Encoding: chunked")),
    refused("9112 2.2", "bare CR behind a value", get(b"Content-Length: 5\r", body=b"hello")),
    refused("9112 2.2", "bare CR in the request line", ask(b"http://a.example/\rX")),
    refused("9112 2.2", "a space before the first header", get(host=b"\r\n Host: a.example")),
    refused("9112 2.2", "bare CR between head and body", get().replace(END, b"\r\n\r")[:-1] + b"\r\r\n\r\n"),
    Row("9112 2.3", "a later minor version", ask(b"http://a.example/p", version=b"HTTP/1.2"), seen=(b" HTTP/1.1\r\n",)),
    Row("9112 2.3", "HTTP/1.0", ask(b"http://a.example/p", version=b"HTTP/1.0"), seen=(b" HTTP/1.1\r\n",), stays=False),
    refused("9112 2.3", "another major version", ask(b"http://a.example/", version=b"HTTP/2.0"), 505),
    refused("9112 2.3", "the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    refused("9112 2.3", "a version in small letters", ask(b"http://a.example/", version=b"http/1.1")),
    refused("9112 2.3", "a version of three digits", ask(b"http://a.example/", version=b"HTTP/1.10")),
    refused("9112 2.3", "no version, as in HTTP/0.9", b"GET http://a.example/\r\n\r\n"),
)

REQUEST_LINE = (
    refused("9112 3", "two spaces", get(start=b"GET  http://a.example/ HTTP/1.1")),
    refused("9112 3", "a tab for a space", get(start=b"GET\thttp://a.example/ HTTP/1.1")),
    refused("9112 3", "a space in the target", ask(b"http://a.example/a b")),
    refused("9112 3", "a space behind the version", get(start=b"GET http://a.example/ HTTP/1.1 ")),
    refused("9112 3", "NUL in the target", ask(b"http://a.example/\0")),
    refused("9112 3", "bytes over 127 in the target", ask("http://a.example/é".encode())),
    refused("9112 3", "a target that is too long", ask(b"http://a.example/" + b"x" * 2_000), 414),
    refused("9112 3", "a head that is too long", get(b"X: " + b"x" * 2_000), 431),
    Row(
        "9112 3.1", "a method that few know", ask(b"http://a.example/", b"PROPFIND"), seen=(b"PROPFIND / HTTP/1.1\r\n",)
    ),
    refused("9112 3.1", "a method that is no token", ask(b"http://a.example/", b"G(T")),
    refused("9112 3.1", "connect is not CONNECT", ask(b"a.example:443", b"connect")),
    refused("9112 3.2", "no Host", b"GET http://a.example/ HTTP/1.1\r\n\r\n"),
    refused("9112 3.2", "two Hosts", get(b"Host: a.example")),
    refused("9112 3.2", "two Hosts in one line", get(host=b"\r\nHost: a.example, b.example")),
    refused("9112 3.2", "a Host with a path", get(host=b"\r\nHost: a.example/b")),
    refused("9112 3.2", "a Host with a user", get(host=b"\r\nHost: u@a.example")),
    refused("9112 3.2", "a Host with no number for a port", get(host=b"\r\nHost: a.example:x")),
    Row("9112 3.2", "an empty Host", get(host=b"\r\nHost:"), seen=(b"\r\nHost: a.example\r\n",)),
    Row(
        "9112 3.2.2",
        "a Host that differs",
        get(host=b"\r\nHost: b.example"),
        seen=(b"\r\nHost: a.example\r\n",),
        unseen=(b"b.example",),
    ),
    refused("9112 3.2.1", "a path is for this node itself", ask(b"/p"), 403),
    refused("9112 3.2.2", "another scheme", ask(b"https://a.example/")),
    refused("9112 3.2.2", "a scheme without slashes", ask(b"http:a.example/")),
    refused("9112 3.2.2", "no scheme", ask(b"a.example/p")),
    refused("9112 3.2.2", "no host", ask(b"http:///p")),
    refused("9112 3.2.2", "a fragment", ask(b"http://a.example/p#f")),
    refused("9112 3.2.2", "a backslash in the host", ask(b"http://a.example\\@b.example/")),
    refused("9112 3.2.2", "a host in percents", ask(b"http://%61.example/")),
    refused("9112 3.2.2", "port 0", ask(b"http://a.example:0/")),
    refused("9112 3.2.2", "port 65536", ask(b"http://a.example:65536/")),
    refused("9112 3.2.2", "a port with a sign", ask(b"http://a.example:+80/")),
    refused("9112 3.2.2", "an IPv6 address without brackets", ask(b"http://2001:db8::1/")),
    Row(
        "9112 3.2.2",
        "an IPv6 address and a port",
        ask(b"http://[2001:db8::1]:81/"),
        seen=(b"\r\nHost: [2001:db8::1]:81\r\n",),
    ),
    Row("9112 3.2.2", "a port that is not written", ask(b"http://a.example:/"), seen=(b"\r\nHost: a.example\r\n",)),
    Row("9112 3.2.2", "the scheme in capitals", ask(b"HTTP://a.example/p"), seen=(b"GET /p HTTP/1.1\r\n",)),
    Row("9112 3.2.2", "no path", ask(b"http://a.example"), seen=(b"GET / HTTP/1.1\r\n",)),
    Row("9112 3.2.2", "a query behind no path", ask(b"http://a.example?q"), seen=(b"GET /?q HTTP/1.1\r\n",)),
    Row(
        "9112 3.2.2",
        "dots and percents are the site's",
        ask(b"http://a.example/a/../%2e//b"),
        seen=(b"GET /a/../%2e//b HTTP/1.1\r\n",),
    ),
    refused("9112 3.2.3", "CONNECT without a port", ask(b"a.example", b"CONNECT")),
    refused("9112 3.2.3", "CONNECT with a URL", ask(b"http://a.example:443/", b"CONNECT")),
    refused("9112 3.2.3", "CONNECT with a user", ask(b"u@a.example:443", b"CONNECT")),
    Row(
        "9112 3.2.4", "OPTIONS without a path", ask(b"http://a.example", b"OPTIONS"), seen=(b"OPTIONS * HTTP/1.1\r\n",)
    ),
    Row("9112 3.2.4", "OPTIONS with a path", ask(b"http://a.example/", b"OPTIONS"), seen=(b"OPTIONS / HTTP/1.1\r\n",)),
    refused("9112 3.2.4", "an asterisk for the proxy itself", ask(b"*", b"OPTIONS")),
)

FIELDS = (
    refused("9112 5", "a line without a colon", get(b"X")),
    refused("9112 5", "no name", get(b": x")),
    refused("9112 5", "a name with a space", get(b"X Y: 1")),
    refused("9112 5", "a name with a slash", get(b"X/Y: 1")),
    refused("9112 5", "a name with a byte over 127", get("é: 1".encode())),
    refused("9112 5.1", "a space before the colon", get(b"X : 1")),
    refused("9112 5.1", "a space before the colon of a length", post(b"Content-Length : 5", body=b"hello")),
    refused("9112 5.1", "a tab before the colon of a coding", post(b"Transfer-Encoding\t: chunked", body=b"0\r\n\r\n")),
    Row("9112 5.1", "spaces around a value", get(b"X: \t 1 \t "), seen=(b"\r\nX: 1\r\n",)),
    Row("9112 5.1", "no space before a value", get(b"X:1"), seen=(b"\r\nX: 1\r\n",)),
    refused("9112 5.2", "a folded line", get(b"X: 1\r\n 2")),
    refused("9112 5.2", "a folded coding", post(b"Transfer-Encoding:\r\n chunked", body=b"0\r\n\r\n")),
    refused("9112 5.2", "a folded length", post(b"Content-Length: 5\r\n\t0", body=b"hello")),
    refused("9112 5.2", "a folded line of spaces", get(b"X: 1\r\n ")),
    answered(
        "9112 5.2",
        "a folded line of the site",
        b"HTTP/1.1 200 OK\r\nX: 1\r\n  2\r\nContent-Length: 0\r\n\r\n",
        got=(b"\r\nX: 1 2\r\n",),
    ),
    refused("9110 5.5", "NUL in a value", get(b"X: 1\0")),
    refused("9110 5.5", "another control character in a value", get(b"X: 1\x0b2")),
    refused("9110 5.5", "DEL in a value", get(b"X: \x7f")),
    Row("9110 5.5", "bytes over 127 in a value", get("X: é".encode()), seen=("X: é\r\n".encode(),)),
    Row(
        "9110 5.3",
        "lines of one name keep their order",
        get(b"X: 1", b"Y: 2", b"X: 3"),
        seen=(b"X: 1\r\nY: 2\r\nX: 3\r\n",),
    ),
    answered(
        "9110 5.3",
        "cookies are not joined",
        b"HTTP/1.1 200 OK\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nContent-Length: 0\r\n\r\n",
        got=(b"Set-Cookie: a\r\nSet-Cookie: b\r\n",),
    ),
)

BODY = (
    refused("9112 6.1", "CL.TE", post(b"Content-Length: 6", b"Transfer-Encoding: chunked", body=b"0\r\n\r\nG")),
    refused(
        "9112 6.1", "TE.CL", post(b"Transfer-Encoding: chunked", b"Content-Length: 4", body=b"5c\r\nGPOST\r\n0\r\n\r\n")
    ),
    refused("9112 6.1", "CL.0 and TE", post(b"Content-Length: 0", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n")),
    refused(
        "9112 6.1", "a coding in HTTP/1.0", get(b"Transfer-Encoding: chunked", start=b"POST http://a.example/ HTTP/1.0")
    ),
    *(
        refused("9112 6.1", f"TE.TE: {line!r}", post(line, body=b"0\r\n\r\n"), 501)
        for line in (
            *(b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding: chunked, gzip", b"Transfer-Encoding: identity"),
            *(b"Transfer-Encoding: xchunked", b"Transfer-Encoding: chunked, chunked", b'Transfer-Encoding: "chunked"'),
            *(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x", b"Transfer-Encoding: chunked;q=1"),
            b"Transfer-Encoding:",
        )
    ),
    *(
        refused("9112 6.1", f"a coding in disguise: {line!r}", post(line, body=b"0\r\n\r\n"))
        for line in (
            *(b"Transfer-Encoding: \x0bchunked", b"Transfer-Encoding: chunked\0", b"Transfer-Encoding:\x0cchunked"),
            *(b" Transfer-Encoding: chunked", b"X: 1\nTransfer-Encoding: chunked", b"Transfer\\Encoding: chunked"),
        )
    ),
    Row(
        "9112 6.1",
        "a coding in capitals",
        post(b"Transfer-Encoding: CHUNKED", body=b"0\r\n\r\n"),
        seen=(b"\r\nTransfer-Encoding: chunked\r\n",),
    ),
    *(
        refused("9112 6.2", f"a length that is none: {value!r}", post(b"Content-Length: " + value, body=b"hello"))
        for value in (b"+5", b"-1", b"5a", b"0x5", b"5 5", b"5,", b"", b"1e1", b"5.0", b"9" * 21, "５".encode(), b"5;5")
    ),
    refused("9112 6.2", "two lengths that differ", post(b"Content-Length: 5", b"Content-Length: 6", body=b"hello!")),
    refused(
        "9112 6.2", "two lengths that are the same", post(b"Content-Length: 5", b"content-length: 5", body=b"hello")
    ),
    refused("9112 6.2", "a list of lengths", post(b"Content-Length: 5, 5", body=b"hello")),
    Row(
        "9112 6.2",
        "a body of its length, and the next request",
        post(b"Content-Length: 5", body=b"hello") + BYE,
        (200, 200),
        2,
        seen=(END + b"hello",),
        stays=False,
    ),
    Row(
        "9112 6.2",
        "a GET with a body",
        get(b"Content-Length: 5", body=b"hello") + BYE,
        (200, 200),
        2,
        seen=(END + b"hello",),
        stays=False,
    ),
    Row("9112 6.3", "neither length nor coding: no body", post() + BYE, (200, 200), 2, stays=False),
    answered(
        "9112 6.3",
        "a length beside a coding",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        ungot=(b"content-length",),
        body=b"hi",
    ),
    answered(
        "9112 6.3",
        "two lengths of the site",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nhi",
        502,
        stays=False,
    ),
    answered(
        "9112 6.3",
        "a coding of the site that is not known",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        502,
        stays=False,
    ),
    answered(
        "9112 6.3",
        "bytes behind the answer",
        OK + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
        ungot=(b"evil",),
    ),
    Row(
        "9112 6.3",
        "an answer that ends with the connection",
        get(),
        site=Script(b"HTTP/1.1 200 OK\r\n\r\nhi", ends=True),
        body=b"hi",
        got=(b"\r\nTransfer-Encoding: chunked\r\n",),
    ),
    Row(
        "9112 6.3",
        "the same to HTTP/1.0",
        ask(b"http://a.example/", version=b"HTTP/1.0"),
        site=Script(b"HTTP/1.1 200 OK\r\n\r\nhi", ends=True),
        got=(END + b"hi",),
        ungot=(b"chunked",),
        stays=False,
    ),
    Row(
        "9112 8",
        "an answer that is cut",
        get(),
        site=Script(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi", ends=True),
        cut=True,
        stays=False,
    ),
    Row(
        "9112 8",
        "a chunked answer that is cut",
        get(),
        site=Script(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n", ends=True),
        cut=True,
        stays=False,
    ),
    Row("9112 8", "no answer", get(), (502,), site=Script(b"", ends=True), stays=False),
    answered("9112 4", "an answer that is none", b"hello\r\n\r\n", 502, stays=False),
    answered("9112 4", "a status of two digits", b"HTTP/1.1 20 OK\r\n\r\n", 502, stays=False),
    answered(
        "9112 4",
        "no words behind the status",
        b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n",
        got=(b"HTTP/1.1 200 \r\n",),
    ),
)

CHUNKED = b"Transfer-Encoding: chunked"

CHUNKS = (
    Row(
        "9112 7.1",
        "chunks both ways",
        post(CHUNKED, body=b"3\r\nhel\r\n02\r\nlo\r\n0\r\n\r\n") + BYE,
        (200, 200),
        2,
        seen=(b"0\r\n\r\n",),
        stays=False,
    ),
    Row("9112 7.1", "digits of both cases", post(CHUNKED, body=b"0A\r\n0123456789\r\n0b\r\n0123456789a\r\n0\r\n\r\n")),
    Row(
        "9112 7.1.1",
        "extensions are dropped",
        post(CHUNKED, body=b'5;a=1;b="2"\r\nhello\r\n0;c\r\n\r\n'),
        unseen=(b";",),
    ),
    broken("9112 7.1", "a size with a sign", b"+5\r\nhello\r\n0\r\n\r\n"),
    broken("9112 7.1", "a size with a prefix", b"0x5\r\nhello\r\n0\r\n\r\n"),
    broken("9112 7.1", "a size below 0", b"-1\r\nhello\r\n0\r\n\r\n"),
    broken("9112 7.1", "no size", b"\r\nhello\r\n0\r\n\r\n"),
    broken("9112 7.1", "a size of 21 digits", b"0" * 20 + b"5\r\nhello\r\n0\r\n\r\n"),
    broken("9112 7.1", "a size behind a space", b" 5\r\nhello\r\n0\r\n\r\n"),
    broken("9112 7.1", "no line end behind a chunk", b"5\r\nhelloX\r\n0\r\n\r\n"),
    broken("9112 7.1", "bare LF behind a chunk", b"5\r\nhello\n\r0\r\n\r\n"),
    broken("9112 7.1", "bare LF behind a size", b"5\nhello\r\n0\r\n\r\n"),
    broken("9112 7.1", "a chunk longer than its size", b"4\r\nhello\r\n0\r\n\r\n"),
    Row(
        *("9112 7.1.1", "an extension with bare CR is dropped"),
        post(CHUNKED, body=b"5;a\rb\r\nhello\r\n0\r\n\r\n"),
        unseen=(b"\r0", b";"),
    ),
    broken("9112 7.1.2", "a trailer that is none", b"5\r\nhello\r\n0\r\nnonsense\r\n\r\n"),
    broken("9112 7.1.2", "a trailer with a space before its colon", b"5\r\nhello\r\n0\r\nX : 1\r\n\r\n"),
    Row(
        "9112 7.1.2",
        "a trailer for the site",
        post(CHUNKED, b"Trailer: X-Sum", body=b"0\r\nX-Sum: 1\r\n\r\n"),
        seen=(b"Trailer: X-Sum\r\n", b"0\r\nX-Sum: 1\r\n\r\n"),
    ),
    Row(
        "9110 6.5.1",
        "trailers that frame, route or authenticate",
        post(
            CHUNKED,
            body=b"0\r\nContent-Length: 9\r\nHost: b.example\r\nAuthorization: x\r\nConnection: close\r\n"
            b"Proxy-X: 1\r\nX: 1\r\n\r\n",
        ),
        seen=(b"0\r\nX: 1\r\n\r\n",),
    ),
    Row(
        "9110 5.5",
        "a trailer with a control character is dropped",
        post(CHUNKED, body=b"0\r\nX: a\x10b\r\nY: 1\r\n\r\n"),
        seen=(b"0\r\nY: 1\r\n\r\n",),
    ),
    answered(
        "9112 7.1.2",
        "a trailer for the client",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n0\r\nX: 1\r\nSet-Cookie: a\r\n\r\n",
        got=(b"Trailer: X\r\n", b"0\r\nX: 1\r\n\r\n"),
        ungot=(b"set-cookie",),
    ),
    Row(
        "9112 7.1.2",
        "no trailer for HTTP/1.0",
        ask(b"http://a.example/", version=b"HTTP/1.0"),
        site=Script(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX: 1\r\n\r\n"),
        got=(END + b"hi",),
        ungot=(b"x: 1",),
        stays=False,
    ),
)

CONNECTION = (
    Row("9112 9.3", "a second request to the same site", get() + get() + BYE, (200, 200, 200), 3, stays=False),
    Row(
        "9112 9.3", "a client that closes", get(b"Connection: close"), stays=False, got=(b"\r\nConnection: close\r\n",)
    ),
    Row("9112 9.3", "Close among others, in capitals", get(b"Connection: x, CLOSE"), stays=False),
    Row("9112 9.3", "nothing is served behind a last request", get(b"Connection: close") + BYE, stays=False),
    Row(
        "9112 9.3",
        "HTTP/1.0 does not keep it",
        ask(b"http://a.example/", version=b"HTTP/1.0") + BYE,
        stays=False,
        got=(b"\r\nConnection: close\r\n",),
    ),
    Row(
        "9112 9.3",
        "keep-alive in HTTP/1.0 is not for proxies",
        get(b"Connection: keep-alive", start=b"GET http://a.example/ HTTP/1.0"),
        stays=False,
    ),
    Row(
        "9112 9.3",
        "a site that closes does not close the client's",
        get(),
        site=Script(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"),
        ungot=(b"connection:",),
    ),
    Row(
        "9112 9.3",
        "a site of HTTP/1.0 neither",
        get(),
        site=Script(b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"),
        got=(b"HTTP/1.1 200",),
    ),
    Row(
        "9112 9.3.2",
        "requests in a row, to several sites",
        get() + ask(b"http://b.example/q") + BYE,
        (200, 200, 200),
        3,
        seen=(b"Host: b.example\r\n",),
        stays=False,
    ),
    Row("9112 9.3.2", "one that is malformed ends the row", get() + get(b"X : 1") + BYE, (200, 400), 1, stays=False),
    Row(
        "9112 9.3.2",
        "a smuggled one has the client's rights",
        post(b"Content-Length: 0", body=get()) + BYE,
        (200, 200, 200),
        3,
        stays=False,
    ),
    Row("9112 9.6", "the connection waits for more", get()),
)

RFC_9112 = (*MESSAGE, *REQUEST_LINE, *FIELDS, *BODY, *CHUNKS, *CONNECTION)
