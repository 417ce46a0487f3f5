"""The control interface: how programs, a paired browser extension and the dashboard ask a running node, as JSON over
HTTP on loopback.

A *caller* is who asks: a *program* of this user, which can read the token file; an *extension* that was paired, with a
token of its own that counts only from the origin it was paired from; or a *page* of the dashboard, with a token of this
run of the node. Whoever is none of them gets no answer. A *route* is a line of the table in `routes`: it says what is
answered, to whom, and in which shape; the description that `/v1/openapi.json` gives is made of the same table.

What the answers contain is the node's business: see `controlled`.
"""
