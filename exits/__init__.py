"""What an exit does: connect a client's flow to the destination it names, and to nothing inside.

Concepts: a *destination* is what a client asked for, a name or an address with a port. The *filter* knows which
addresses are public; the *policy* is the operator's own list of what may be reached. A name is resolved here, at the
exit; each address that comes back passes filter and policy, and the very address that passed is the one that is
dialled. Counters hold reasons, never destinations or clients.

What is carried passes a *shaper*, if the operator has set a limit: one bucket at the operator's rate (`shaping`), turns
that go round the circuits (`turns`), a pump that waits for them (`shaped_outlet`), the month's total (`quota`) and the
times of the week (`hours`).

`egress` leads a request through the others: `names`, `policy`, `resolver`, `addresses` (with `routes` and `netlink`),
`destinations` (with `scans` and `shares`), `dial` (with `families`) and `outlet`; or `udp` for an association.
`limits` has the numbers, `accounts` what is counted for each circuit, of which nothing is known here but that its
flows belong together. Below `resolver` stand `name_cache` and `lookup`, which know no network; `sources`, the system
or a DNS server (`name_server`); `dns_query` and `dns_encrypted` (with `dns_framing`), which carry messages; and
`dns_message`, which writes and reads them.
"""
