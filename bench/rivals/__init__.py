"""Networks of others, set up on this machine to be measured beside ours: Tor, Shadowsocks and WireGuard.

Each runs in a folder of its own, without the system's settings, and ends with the block that started it.
"""
