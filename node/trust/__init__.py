"""Which network this machine is on, as the system tells it, and what follows for a running node.

`pac.trusted` says what a network is to the user, `proxy.trusted` is the way that opens. Here the system is asked: the
kernel for the router, who manages the connection for what the network proved, and the clock whether the machine slept.
Nothing is sent to the network, and nothing is written.
"""
