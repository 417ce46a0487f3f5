"""Rules for sites, and the proxy auto-configuration (PAC) script that tells a browser which go past the proxy.

Concepts: a `Rule` names sites that go past the tunnel (bypass), nowhere (block), or through it, perhaps over circuits
of a kind (tunnel). A `RuleSet` decides for one host and port, in Python for the local proxy and, as a PAC script, in
the browser; both bypass the same. A preset is a named list of rules with the source of each. What no rule names goes
through the tunnel, and what cannot be understood does too.

Not here: sockets, name look-ups, files of the user's. A rule never needs a host's address to decide.
"""
