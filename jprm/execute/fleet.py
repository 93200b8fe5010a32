"""The fork servers: one per tier, started when a tier is first needed, replaced when lost.

Used by the dispatcher's thread only, which they tell what they hear.
"""

from __future__ import annotations

import errno
import functools
import os
import selectors
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import Future
from typing import Protocol

from jprm.execute.fork_server import ENDS_BY_ITSELF_WITHIN_S, Confinement, ForkServer, Limits, ServerStartError
from jprm.execute.handle import Handle
from jprm.execute.resources import in_words
from jprm.execute.tiers import Tier
from jprm.execute.wire import ENDED, FAILED, OPENED, READY

FAILED_STARTS = 3  # a server that is killed so often while it loads will not start here
START_LIMIT_S = 120.0  # on a busy machine


class Listener(Protocol):
    """Whoever has sessions forked."""

    def server_ready(self) -> None:
        """A server takes requests from now on."""
        ...

    def session_opened(self, number: int, handle: Handle) -> None:
        """A session process exists."""
        ...

    def session_failed(self, number: int, error: OSError) -> None:
        """A session process could not be started, because the machine lacks something."""
        ...

    def session_ended(self, number: int, status: int) -> None:
        """The kernel says that a session process is dead; `status` as `os.waitpid` gives it."""
        ...

    def server_lost(self, server: ForkServer, error: ServerStartError | None) -> None:
        """A server is gone with all its sessions; `error` if there is no use in another."""
        ...


class Fleet:
    """Starts servers, hears them, and tells a listener.

    warmed: done when the servers of `warm` take requests; fails with ServerStartError.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        listener: Listener,
        limits: Limits,
        confinement: Confinement,
        preload: tuple[str, ...],
    ):
        self.warmed: Future[None] = Future()
        self._selector = selector
        self._listener = listener
        self._limits = limits
        self._confinement = confinement
        self._preload = preload
        self._servers: dict[Tier, ForkServer] = {}
        self._deadlines: dict[ForkServer, float] = {}  # of those not ready yet
        self._failed_starts = Counter[Tier]()

    def server(self, tier: Tier) -> ForkServer:
        """The server of a tier, ready or not. Raises OSError where the machine lacks something."""
        if tier not in self._servers:
            server = ForkServer(tier, self._limits, self._confinement, self._preload)
            try:
                heed = functools.partial(self._heed, server)
                self._selector.register(server.control, selectors.EVENT_READ, heed)
            except OSError:
                server.end(0.0)
                raise
            self._servers[tier] = server
            self._deadlines[server] = time.monotonic() + START_LIMIT_S
        return self._servers[tier]

    def program_ids(self) -> list[int]:
        """Process ids of the programs that were started; for any thread."""
        return [server.program_id for server in list(self._servers.values())]

    @property
    def deadlines(self) -> list[float]:
        """Monotonic times by which `give_up_overdue` wants to be called."""
        return list(self._deadlines.values())

    def give_up_overdue(self, now: float) -> None:
        """Replace what does not get ready."""
        for server, deadline_s in list(self._deadlines.items()):
            if deadline_s <= now:
                self.lose(server)

    def warm(self, tiers: Iterable[Tier]) -> None:
        """Start the servers whose readiness `warmed` tells."""
        try:
            for tier in tiers:
                self.server(tier)
        except OSError as error:
            self.warmed.set_exception(ServerStartError(in_words(error), may_pass=True))

    def lose(self, server: ForkServer, why: OSError | None = None) -> None:
        """Give a server up, alive or not; the next one is started when it is needed.

        why: what the machine lacked, if that is the reason.
        """
        if self._servers.get(server.tier) is not server:
            return
        del self._servers[server.tier]
        self._selector.unregister(server.control)
        error = None
        if self._deadlines.pop(server, None) is not None:
            self._failed_starts[server.tier] += 1
            if why is None:
                error = server.why_not_started()
            else:
                error = ServerStartError(in_words(why), may_pass=True)
            if error.may_pass and self._failed_starts[server.tier] < FAILED_STARTS:
                error = None
        server.kill()
        server.end()
        if not self.warmed.done():
            if error is None:
                self.warm([server.tier])
            else:
                self.warmed.set_exception(error)
        self._listener.server_lost(server, error)

    def end(self, why: Exception) -> None:
        """End all programs, and with them what sessions are left."""
        if not self.warmed.done():
            self.warmed.set_exception(why)
        for server in self._servers.values():
            server.hang_up()
        deadline_s = time.monotonic() + ENDS_BY_ITSELF_WITHIN_S
        for server in self._servers.values():
            server.end(max(0.0, deadline_s - time.monotonic()))

    def _heed(self, server: ForkServer, _: int) -> None:
        try:
            for kind, number, value, descriptor in server.reports():
                if kind == READY:
                    try:
                        server.is_ready(value, descriptor)
                    except OSError as error:
                        return self.lose(server, error)
                    del self._deadlines[server]
                    self._failed_starts[server.tier] = 0
                    if not self._deadlines and not self.warmed.done():
                        self.warmed.set_result(None)
                    self._listener.server_ready()
                elif kind == OPENED:
                    self._opened(server, number, value, descriptor)
                elif kind == FAILED:
                    self._listener.session_failed(number, OSError(value, os.strerror(value)))
                elif kind == ENDED:
                    self._listener.session_ended(number, value)
        except EOFError:
            self.lose(server)

    def _opened(self, server: ForkServer, number: int, process_id: int, descriptor: int) -> None:
        deliver = functools.partial(server.signal_session, number)
        try:
            if descriptor < 0 and server.gives_handles:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            handle = Handle(descriptor, process_id, deliver)
        except OSError as error:
            self._listener.session_failed(number, error)  # it ends at its closed channel
        else:
            self._listener.session_opened(number, handle)
