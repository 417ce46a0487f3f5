"""WireGuard's handshake and transport messages, as a machine of bytes.

`noise` is Noise_IKpsk2 itself, `handshake` wraps it into messages of type 1 and 2, `session` seals and opens
messages of type 4. The identifier string is a parameter: plain WireGuard's, or one of the peer protocol's own. With
the latter the handshake is `hybrid`: messages 1 and 2 also carry an ML-KEM-768 key and ciphertext.

Beside it stands plain WireGuard whole, which interoperates with other implementations and so proves the core:
`transport` ages one session, `replay` is its window, `cookies` are type 3 and mac2, `peer` has the timers and the three
sessions of one peer, `device` all peers behind one socket.

No input or output happens here; time and randomness come in as arguments.

Source: Donenfeld, "WireGuard: Next Generation Kernel Network Tunnel", sections 5.4.1 to 5.4.6.
"""
