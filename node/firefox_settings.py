"""What of Firefox a user has to set, by the names that it has there."""

from __future__ import annotations

from typing import Final

FIXED_PROXY: Final = "Settings, Network Settings, Manual proxy configuration"
WEBRTC: Final = "media.peerconnection.ice.proxy_only"
HTTPS_RECORD: Final = "network.dns.native_https_query"
ALLOW_BYPASS: Final = "network.proxy.allow_bypass"
FAILOVER: Final = "network.proxy.failover_direct"
