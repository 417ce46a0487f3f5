"""What every layer shares: reasons and errors, the shape of a flow, tasks, redaction.

Concepts: a `FlowRequest` names a destination; a `Flow` carries its bytes both ways; a `FlowListener` is told what
arrives; `Pump` joins a TCP connection to a flow. Nothing here knows of peers, circuits or cryptography, and nothing
here imports more than the standard library.
"""
