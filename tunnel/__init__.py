"""The tunnel: WireGuard messages over QUIC, through a chain of peers.

Concepts, in the order in which bytes pass them:

- `engines` carry QUIC: connections and streams, no meaning.
- `wireguard` is the handshake and the sealed messages.
- a `Link` is an authenticated connection between two neighbours. Its control stream carries sealed control messages;
  each other stream carries the tagged messages of one flow.
- a `Hop` names a peer on a path; `creation` folds the handshakes of all hops into one message.
- a `Circuit` is a path with keys, seen from the client; `relay` is the same thing seen from a hop.
- a `Watch` tells whether a neighbour lives, a `Pulse` whether a circuit does; `blame` weighs who is at fault.
- a `CircuitPool` keeps circuits ready; its `Rescue` moves flows from one that died, its `Race` finds them the next.
- where a circuit costs something, a `Tally` at each end of a link lets pass what is paid, a `Toll` knows who pays, and
  the client looks at the `Use` that it has of what comes.
- a `FlowEnd` is one end of a flow: frames, credit, half-close, reset.

Not here: which peers exist and which path to take (`peers`), what an exit allows (`exits`), what the browser speaks
(`proxy`), who pays (`ledger`).
"""
