"""What an exit does: connect a client's flow to the destination it names, and to nothing inside.

Concepts: a *destination* is what a client asked for, a name or an address with a port. The *filter* knows which
addresses are public; the *policy* is the operator's own list of what may be reached. A name is resolved here, at the
exit; each address that comes back passes filter and policy, and the very address that passed is the one that is
dialled. Counters hold reasons, never destinations or clients.

What is carried passes a *shaper*, if the operator has set a limit: one bucket at the operator's rate (`shaping`), turns
that go round the circuits (`turns`), a pump that waits for them (`shaped_outlet`), the month's total (`quota`) and the
times of the week (`hours`).

`egress` leads a request through the others: `names`, `policy`, `resolver` (with `dns_query`), `addresses`, `dial` and
`outlet`. Nothing here knows of circuits or peers: `egress` is handed an `IncomingFlow` and a destination.
"""
