"""Apprise: a notification to one of some hundred services, by a URL.

Apprise loads all its services at once, so this module is imported only where a route uses it.
"""

import logging
import re
import warnings

from apprise import LOGGER_NAME, Apprise, AppriseAsset, AppriseResult, NotifyBase, NotifyFormat, PersistentStoreMode

from hostpulse.bus.errors import UsageError

from .notification import Notification
from .secrecy import Mask, hush_libraries
from .sender import DeliveryError

__all__ = ["AppriseSender"]

_TYPES = {"critical": "failure", "warning": "warning", "resolved": "success"}
_EXCEPTION = "Socket Exception: "  # how services begin what Python said, which they log for developers only
_SYSTEM_ERROR = re.compile(r"\[Errno -?\d+\] ([^\"')]+)")
_STATUS = re.compile(r"\berror=(\d{3})\b")
_PASSING = frozenset({"408", "425", "429"})
_BETWEEN_TITLE_AND_BODY = 2


class _Heard(logging.Handler):
    """Collects what Apprise finds worth a warning."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


class AppriseSender:
    """Sends notifications to one URL.

    Args:
        url: of Apprise.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._mask = Mask(url)
        self._apprise: Apprise | None = None
        self._longest = 0

    def open(self) -> None:
        """Find the service of the URL.

        Raises:
            UsageError: there is none, or something in the URL is wrong.
        """
        hush_libraries()
        logger = logging.getLogger(LOGGER_NAME)
        asset = _asset()
        heard = _Heard()
        logger.addHandler(heard)
        try:
            with warnings.catch_warnings():  # it loads modules that Python is about to give up
                warnings.simplefilter("ignore", DeprecationWarning)
                service = Apprise.instantiate(self._url, asset=asset)
        finally:
            logger.removeHandler(heard)
        said = self._mask("; ".join(heard.lines))
        if service is None:
            raise UsageError(f"has a URL that Apprise cannot use ({said or 'it does not say why'})")
        if said:  # most often that somebody is left out, whose address it does not understand
            raise UsageError(f"has a URL that Apprise does not understand as a whole ({said})")
        self._mask = Mask(self._url, shown=_server(service))
        logger.setLevel(logging.DEBUG)  # the reasons are among what it lets through
        self._apprise = Apprise(asset=asset)
        self._apprise.add(service)
        self._longest = service.body_maxlen

    def send(self, notification: Notification, now: float) -> None:
        """Hand it to the service.

        Raises:
            DeliveryError: the service did not take it.
        """
        if self._apprise is None:
            raise RuntimeError("not open")
        title = notification.title(now)
        # Where there are no titles, they become a line of the body.
        body = notification.body(now, self._longest - len(title) - _BETWEEN_TITLE_AND_BODY)
        with self._apprise.notify(
            body=body,
            title=title,
            notify_type=_TYPES.get(notification.worst, "info"),
            body_format=NotifyFormat.TEXT,
            log_level=logging.DEBUG,
        ) as result:
            if not result:
                raise self._failure(result)

    def _failure(self, result: AppriseResult) -> DeliveryError:
        """Return what went wrong, from what Apprise logged."""
        said: list[str] = []
        for entry in result.logs():
            if entry.message.startswith(_EXCEPTION):
                words = entry.message.removeprefix(_EXCEPTION)
                found = _SYSTEM_ERROR.search(words)
                said.append(found[1] if found else words)
            elif entry.level in {"WARNING", "ERROR", "CRITICAL"}:
                said.append(entry.message.rstrip(". "))
        reason = self._mask("; ".join(dict.fromkeys(said))) or "Apprise does not say why"
        status = _STATUS.search(reason)
        return DeliveryError(
            reason, is_lasting=status is not None and status[1].startswith("4") and status[1] not in _PASSING
        )


def _asset() -> AppriseAsset:
    """Return how Apprise behaves: in our thread, without files of its own."""
    return AppriseAsset(
        app_id="hostpulse",
        app_desc="hostpulse",
        async_mode=False,
        service_timeout=0,  # or it would send in a pool of threads, for which the process waits at its end
        storage_mode=PersistentStoreMode.MEMORY,
        pgp_autogen=False,
        pem_autogen=False,
    )


def _server(service: NotifyBase) -> str:
    """Return the name of the server where the URL has one; with some services a token stands there."""
    host = str(getattr(service, "host", None) or "")
    return host if host in service.url(privacy=True) else ""
