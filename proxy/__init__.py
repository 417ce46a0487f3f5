"""The port on this machine that browsers are pointed at. It speaks SOCKS5 and HTTP.

Concepts: an `Intake` hears what a new connection wants; the words are read by `socks` or `http` and become an `Ask`;
the `Front` opens a flow for it, through its `Dialer` or, for what a bypass rule names, straight from this machine;
`ClientPump` then joins the two, where it is worth something before the exit has connected (`early`). Between them, an
`Exchange` carries one plain HTTP request and its answer (`rewrite`), after which the connection is heard again. A flow
that cannot be opened is refused with its reason and is never opened another way. A client that asks for UDP gets an
`Association` for as long as its connection lasts. How many may be there, and who makes room, `Seats` decide. The port
also serves the PAC script that tells browsers of the rules.

Not here: circuits, peers, exits. The `Dialer` hides them. No log line of this package holds a host, a port, a path or
a user name.
"""
