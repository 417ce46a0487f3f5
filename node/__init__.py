"""One running node: its settings, its life, the control interface and the command line; it wires all other layers.

Concepts: a **home** is the folder of one node (settings, keys, control files); `Settings` is what it was told;
`Control` is how programs on this machine ask it; the command line is one such program. How bytes travel is not here.
"""
