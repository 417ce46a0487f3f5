"""Who takes part in the network, how peers learn of each other, and which of them carry a circuit.

Concepts: an `Identity` is a peer's keys; a `Descriptor` is what it says of itself, signed; the `Directory` holds the
verified descriptors that this node knows; `Gossip` brings two neighbours' directories together; `Choice` draws paths
out of a directory under `PathRules`, by weights that `scores` makes of `Measurements`, over hops that `guards` keeps;
`Places` says where addresses are, and `RegionCheck` whether a peer can be where it says.

Only `files`, `identity`, `places` and `store` touch the disk, and nothing here touches the network: messages come in
as bytes and leave as bytes. Links, circuits and the timers that call `Directory.purge` and `Gossip.announce` are not
here.
"""
