"""Bypass rules, and the proxy auto-configuration (PAC) script that tells them to a browser.

Concepts: a `Rule` names sites that go past the tunnel; a `RuleSet` decides for one host and port, in Python for the
local proxy and, as a PAC script, in the browser; both answer alike. A preset is a named list of rules with the source
of each. What no rule names goes through the tunnel, and what cannot be understood does too.

Not here: sockets, name look-ups, files. A rule never needs a host's address to decide.
"""
