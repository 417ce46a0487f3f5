"""Measurements. `python -m bench COMMAND` loads a real network and prints JSON; every figure stands beside a reference.

| command | what it measures |
|---|---|
| `speed` | throughput, CPU, first byte and new connections of the demo network, beside a direct connection |
| `compare` | all that matters to users, beside Tor, Shadowsocks and WireGuard where they are installed; draws plots |
| `survive` | what transfers notice while hops of their path die, freeze and change |
| `alarms` | circuits that are given up although nobody died, with packet loss and on a busy machine |
| `lateness` | how late nodes' event loops are, idle and under load, beside what makes them refuse work |
| `distance` | throughput and first byte over emulated distance, beside a direct connection |
| `memory` | what circuits and flows cost in memory, and whether dead readers slow down a living one |
| `profile` | where the CPU goes, by thread and by function |
| `front` | the local port by itself: first byte, throughput and connections, beside the origin asked directly |
| `flood` | thousands of connections to the local port, held: memory, the next request, when slow ones are cut |
| `datagrams` | loss, order and delay of UDP through the proxy, and the largest rate without loss |
| `engines` | what each QUIC engine moves over one connection, alone and against the other |
| `simulation` | paths chosen among thousands of peers that are mere figures: delay, load, where attackers stand |
| `eclipse` | paths of a client whose guards tell of friends alone and call all others dead, by defence |
| `egress` | what an exit's own work costs by flow and by datagram, and what a browser asks of it |
| `names` | look-ups per second of each kind of resolver, against a DNS server on this machine |
| `vouchers` | vouchers that one core checks and stores per second, by how many come at once |
| `padding` | what the padding of each mode adds to what crosses a client's link |

MB = 10^6 bytes, GB = 10^9 bytes. Shared machines are noisy: read ratios, and figures of one run beside each other.
"""
