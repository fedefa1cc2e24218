"""Why a clip could not be had, and whether asking again later may help; told apart by status and message."""

import re
from collections.abc import Collection

# Reasons that will not pass. Everything else may: what is not understood is asked for again, never written off.
LASTING = frozenset(
    {
        "age_restricted", "geo_blocked", "live", "members_only", "not_found", "private", "removed", "terminated",
        "too_short", "unsupported",
    }
)  # fmt: skip
# Messages of yt-dlp, of YouTube through it, and of ffmpeg. The first that matches counts, so "unavailable" comes after the
# messages that begin with it and mean something else.
PATTERNS = (
    ("disk_full", r"no space left on device|disk quota exceeded"),
    ("bot_check", r"not a bot|captcha"),
    ("rate_limited", r"content isn.t available|rate.?limited|http error 429|server returned 429|too many requests"),
    ("age_restricted", r"confirm your age|age.restricted|inappropriate for some users"),
    ("geo_blocked", r"in your country|from your location|geo.?restrict"),
    ("members_only", r"members.only|join this channel|requires payment|premium members|purchase"),
    ("private", r"private video|video is private"),
    ("terminated", r"(account|channel)\b.{0,80}\bterminated"),
    ("live", r"live event|live stream recording is not available|premieres in|is not currently live"),
    ("removed", r"video unavailable|video is (not available|unavailable)|has been removed|no longer available|does not exist"),
    ("not_found", r"(http error|server returned) (404|410)"),
    ("forbidden", r"(http error|server returned) 40[13]"),
    ("server_error", r"(http error|server returned) 5\w\w"),
    ("unsupported", r"unsupported url|is not a valid url|incomplete youtube id|no suitable extractor"),
    ("no_audio", r"matches no streams|does not contain any stream"),
    ("timeout", r"timed? ?out"),
    ("truncated", r"prematurely|moov atom not found|incompleteread|more expected|end of file"),
    ("network", r"connection (refused|reset)|name resolution|unreachable|name or service|urlopen error|input/output error"),
    ("too_short", r"output file is empty|nothing was encoded"),
    ("not_audio", r"invalid data found"),
)  # fmt: skip
STATUS = {401: "forbidden", 403: "forbidden", 404: "not_found", 410: "not_found", 429: "rate_limited"}
TYPES = {
    "GeoRestrictedError": "geo_blocked",
    "UnsupportedError": "unsupported",
    "UserNotLive": "live",
    "IncompleteRead": "truncated",
    "TransportError": "network",
}
LONGEST_MESSAGE = 300


class FetchFailure(Exception):
    """A clip that could not be had this time.

    Attributes:
        reason: One of the names above, or `unknown`.
        message: What the server or the tool said, on one line.
        retry_after: Seconds that the server asks to wait, if it said so.
    """

    def __init__(self, reason: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = one_line(message)
        self.retry_after = retry_after


def classify(text: str, status: int | None = None, types: Collection[str] = ()) -> str:
    """The reason behind a failure.

    Args:
        text: All that was said, without the address (which has strangers' words in it).
        status: HTTP status, if there was a bad one.
        types: Names of the exceptions' classes, from the outermost to the first cause.
    """
    said = matching(text)
    # YouTube answers 403 and says why: words weigh more than the number, and the number more than the class.
    if said is not None and said not in ("network", "timeout"):
        return said
    if status in STATUS:
        return STATUS[status]
    if status is not None and status >= 500:
        return "server_error"
    if said is not None:
        return said
    return next((TYPES[name] for name in types if name in TYPES), "unknown")


def matching(text: str) -> str | None:
    """The first reason whose words occur in the text."""
    return next((reason for reason, pattern in PATTERNS if re.search(pattern, text, re.IGNORECASE | re.DOTALL)), None)


def one_line(text: str) -> str:
    """Text of others for a table: without colours and control characters, on one line, not too long."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    plain = re.sub(r"\s+", " ", "".join(letter if letter.isprintable() else " " for letter in plain)).strip()
    return plain if len(plain) <= LONGEST_MESSAGE else f"{plain[: LONGEST_MESSAGE - 1]}…"
