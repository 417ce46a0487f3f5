"""Ask the node that runs in a home. Blocking calls with a time limit, for the command line and for scripts."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from contextlib import contextmanager
from http.client import HTTPException
from typing import TYPE_CHECKING, Any, Final

from core.errors import MacroVpnError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from http.client import HTTPResponse
    from pathlib import Path

LIMIT_S: Final = 5.0
"""How long one answer may take."""
HOP_LIMIT_S: Final = 35.0
RELOAD_LIMIT_S: Final = 30.0
SETTLEMENT_LIMIT_S: Final = 310.0
"""A chain takes its time."""
MAX_ANSWER_BYTES: Final = 16 << 20


class NoNodeError(MacroVpnError):
    """No node answers in a home.

    Args:
        home: the folder that was looked in.
    """

    def __init__(self, home: Path) -> None:
        super().__init__(f"No node runs in {home}. Start one with `macrovpn up`.")
        self.home = home


class StartingNodeError(MacroVpnError):
    """A node is starting in a home, and does not answer yet.

    Args:
        home: its folder.
        pid: its process, or 0 when unknown.
    """

    def __init__(self, home: Path, pid: int) -> None:
        super().__init__(f"The node in {home} (process {pid}) is still starting. Try again; `macrovpn down` ends it.")
        self.home = home
        self.pid = pid


class SilentNodeError(MacroVpnError):
    """A node runs, and does not answer as it should.

    Args:
        home: its folder.
        pid: its process.
    """

    def __init__(self, home: Path, pid: int) -> None:
        super().__init__(f"The node in {home} (process {pid}) does not answer. `macrovpn down` ends it.")
        self.home = home
        self.pid = pid


class RefusedError(MacroVpnError):
    """The node answered, and refused.

    Args:
        status: the HTTP status.
        sentence: what the node said.
    """

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class NodeClient:
    """The running node of one home, as others on this machine see it.

    Args:
        home: the node's folder.

    Raises:
        NoNodeError: no node says that it runs there.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        try:
            facts = json.loads((home / "control.json").read_text(encoding="utf-8"))
            self.url = str(facts["url"])
            self.pid = int(facts["pid"])
            self.token_file = str(facts["token_file"])
            with open(self.token_file, encoding="ascii") as file:
                self._token = file.read().strip()
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise NoNodeError(home) from error
        self._opener = _opener()

    def get(self, name: str) -> dict[str, Any]:
        """What stands at a path. Raises as `call`."""
        return self._object("GET", name)

    def status(self) -> dict[str, Any]:
        """State, route and counters. Raises as `call`."""
        return self._object("GET", "status")

    def route(self) -> dict[str, Any]:
        """The present circuits. Raises as `call`."""
        return self._object("GET", "route")

    def explain(self) -> dict[str, Any]:
        """The present circuits, and why they go over their hops. Raises as `call`."""
        return self._object("GET", "explain")

    def peers(self) -> dict[str, Any]:
        """The peers that the node knows. Raises as `call`."""
        return self._object("GET", "peers")

    def health(self) -> dict[str, Any]:
        """Clock, guards and the exit; see `node.health`. Raises as `call`."""
        return self._object("GET", "health")

    def new_probe(self) -> str:
        """A name that only the local port knows; see `proxy.probes`. Raises as `call`."""
        return str(self._object("POST", "probe")["name"])

    def probe_came(self, name: str) -> bool:
        """Whether somebody wanted to go to that name over the local port. Raises as `call`."""
        return bool(self._object("POST", "probed", arguments={"name": name})["came"])

    def invite(self) -> str:
        """An invite to the node's private network, naming peers that are there now. Raises as `call`."""
        return str(self._object("GET", "invite").get("invite", ""))

    def pac(self) -> str:
        """The text of the PAC. Raises as `call`."""
        return self.call("GET", "pac").decode("utf-8", "replace")

    def hop(self) -> dict[str, Any]:
        """Change the route and return the new one. Raises as `call`."""
        return self._object("POST", "hop", HOP_LIMIT_S)

    def confirm_trust(self) -> dict[str, Any]:
        """Confirm the present network; return where the machine stands then. Raises as `call`."""
        return self._object("POST", "trust/confirm")

    def reload_trust(self) -> None:
        """Make the node read the trusted networks anew. Raises as `call`."""
        self._object("POST", "trust/reload")

    def rules(self) -> dict[str, Any]:
        """How many rules the node obeys, and their digest. Raises as `call`."""
        return self._object("GET", "rules")

    def reload_rules(self) -> dict[str, Any]:
        """Have the node read its rules again; returns what `rules` does. Raises as `call`."""
        return self._object("POST", "rules", RELOAD_LIMIT_S)

    def settings(self) -> dict[str, Any]:
        """Every setting, as `node.settings_view.rows` describes it. Raises as `call`."""
        return self._object("GET", "settings")

    def change(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Change settings, all or none; says which were `applied`, which of these only `for_new` circuits, and which
        are `after_restart`. Raises as `call`."""
        return self._object("PATCH", "settings", RELOAD_LIMIT_S, changes)

    def switch(self, *, on: bool) -> dict[str, Any]:
        """Switch the node on or off; returns its status. Raises as `call`."""
        return self._object("POST", "on" if on else "off", RELOAD_LIMIT_S)

    def wallet(self) -> dict[str, Any]:
        """What the node holds, paid and earned. Raises as `call`."""
        return self._object("GET", "wallet")

    def wallet_do(self, what: str, **arguments: Any) -> dict[str, Any]:
        """Have the node `claim`, `close`, `cap`, `deposit` or `export`. Raises as `call`."""
        return self._object("POST", f"wallet/{what}", SETTLEMENT_LIMIT_S, arguments)

    def code(self, purpose: str) -> dict[str, Any]:
        """Make a one-time code, for an `extension` or a `page`. Raises as `call`."""
        return self._object("POST", "codes", arguments={"purpose": purpose})

    def pairings(self) -> list[dict[str, Any]]:
        """The paired extensions. Raises as `call`."""
        return list(self._object("GET", "pairings").get("pairings", []))

    def revoke(self, name: str) -> None:
        """Revoke a pairing by its id. Raises as `call`."""
        self._object("DELETE", "pairings", arguments={"id": name})

    def stop(self) -> float:
        """Ask the node to stop; it answers before it does. Raises as `call`.

        Returns:
            For how many seconds at most what it carries for others goes on.
        """
        drain_s = self._object("POST", "stop").get("drain_s", 0)
        return float(drain_s) if isinstance(drain_s, int | float) else 0.0

    def call(
        self, method: str, name: str, limit_s: float = LIMIT_S, arguments: Mapping[str, Any] | None = None
    ) -> bytes:
        """Make one request.

        Args:
            method: of HTTP.
            name: the last part of the path.
            limit_s: how long to wait for each read.
            arguments: what goes with it, as JSON.

        Raises:
            NoNodeError: nothing answers there any more.
            SilentNodeError: something is there, and gives no answer in time or none that makes sense.
            RefusedError: the node answered with an error.
        """
        with self._answer(method, name, limit_s, arguments) as answer:
            text: bytes = answer.read(MAX_ANSWER_BYTES)
            return text

    def events(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Listen to the node.

        Yields:
            An event's name, `status` or `second`, and what it says; ends when the node does.

        Raises:
            MacroVpnError: as for `call`.
        """
        name = ""
        with self._answer("GET", "events", LIMIT_S) as answer:
            while line := answer.readline(MAX_ANSWER_BYTES):
                field, _, value = line.decode("utf-8", "replace").strip().partition(": ")
                if field == "event":
                    name = value
                elif field == "data":
                    yield name, json.loads(value)

    @contextmanager
    def _answer(
        self, method: str, name: str, limit_s: float, arguments: Mapping[str, Any] | None = None
    ) -> Iterator[HTTPResponse]:
        headers = {"Authorization": f"Bearer {self._token}"}
        body = None if arguments is None else json.dumps(arguments).encode()
        request = urllib.request.Request(f"{self.url}/v1/{name}", body, headers, method=method)
        try:
            with self._opener.open(request, timeout=limit_s) as answer:
                yield answer
        except urllib.error.HTTPError as error:
            with error:
                raise RefusedError(error.code, _sentence(error)) from error
        except (OSError, HTTPException, ValueError) as error:
            cause = error.reason if isinstance(error, urllib.error.URLError) else error
            if isinstance(cause, ConnectionError):
                raise NoNodeError(self._home) from error
            raise SilentNodeError(self._home, self.pid) from error

    def _object(
        self, method: str, name: str, limit_s: float = LIMIT_S, arguments: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        try:
            answer = json.loads(self.call(method, name, limit_s, arguments))
        except ValueError as error:
            raise SilentNodeError(self._home, self.pid) from error
        if not isinstance(answer, dict):
            raise SilentNodeError(self._home, self.pid)
        return answer


def _opener() -> urllib.request.OpenerDirector:
    """Make an opener for HTTP and nothing else.

    Not through a proxy of the environment, which could be this node itself; and without TLS, for which Python reads all
    certificates of the system each time.
    """
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.HTTPHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener


def _sentence(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.loads(error.read(MAX_ANSWER_BYTES))["error"])
    except (OSError, HTTPException, ValueError, KeyError, TypeError):
        return f"The node refused with status {error.code}."


def ask_status(home: Path, pid: int) -> dict[str, Any] | None:
    """Ask the node that one process runs.

    Args:
        home: its folder.
        pid: the process; what another one left behind there is not asked.

    Returns:
        Its status, or None while it does not answer.
    """
    try:
        client = NodeClient(home)
        return client.status() if client.pid == pid else None
    except MacroVpnError:
        return None
