"""Ask the home router to pass one UDP port on to this machine: PCP, NAT-PMP and UPnP-IGD.

Gateway: the router that the default route names, and the only one whose answers count. Mapping: its promise to pass an
external address and port on, for a time. Mapper: one protocol's way to ask for it. Epoch: the router's own seconds,
which show that it has forgotten everything.

Codecs without I/O: `pcp`, `nat_pmp`, `ssdp`, `epoch`. Sockets: `gateway`, `datagrams`, `mappers`, `upnp`. Who asks
when, and what becomes of the answer: `service`. Whether anybody reaches the mapped address is found out elsewhere:
a mapping is what a router says, and a router may stand behind another one.
"""
