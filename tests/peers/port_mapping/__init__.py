"""Port mapping: codecs, fake gateways on loopback, and who asks when."""
