"""Failures that last are told from those that pass, by what YouTube, yt-dlp and ffmpeg say."""

import pytest

from audioptq.references.failures import LASTING, PATTERNS, STATUS, TYPES, FetchFailure, classify, one_line

LOGIN = "Use --cookies-from-browser or --cookies for the authentication."
# Messages as yt-dlp's issues and sources have them.
SAID = [
    (f"[youtube] a: Sign in to confirm you\u2019re not a bot. {LOGIN}", "bot_check"),
    ("[youtube] a: YouTube is requiring a captcha challenge before playback", "bot_check"),
    (
        "[youtube] a: Video unavailable. This content isn't available, try again later. The current session has been rate-limited "
        "by YouTube for up to an hour.",
        "rate_limited",
    ),
    ("[youtube] a: Video unavailable. This content isn\u2019t available.", "rate_limited"),
    (
        f"[youtube] a: Sign in to confirm your age. This video may be inappropriate for some users. {LOGIN}",
        "age_restricted",
    ),
    (f"[youtube] a: Private video. Sign in if you've been granted access to this video. {LOGIN}", "private"),
    (
        "[youtube] a: Video unavailable. This video is no longer available because the YouTube account associated with this video "
        "has been terminated.",
        "terminated",
    ),
    ("[youtube] a: Video unavailable. The uploader has not made this video available in your country", "geo_blocked"),
    (
        "[youtube] a: Video unavailable. This video contains content from X, who has blocked it in your country on copyright "
        "grounds",
        "geo_blocked",
    ),
    ("[youtube] a: Video unavailable. This video has been removed by the uploader", "removed"),
    ("[youtube] a: This video has been removed for violating YouTube's policy on hate speech.", "removed"),
    ("[youtube] a: Video unavailable", "removed"),
    ("[youtube] a: Join this channel to get access to members-only content like this video", "members_only"),
    ("[youtube] a: This live event will begin in 3 hours.", "live"),
    ("[youtube] a: Requested format is not available. Use --list-formats", "unknown"),
    ("Unsupported URL: ", "unsupported"),
    ("Unable to download webpage: HTTP Error 404: Not Found", "not_found"),
    ("Unable to download webpage: HTTP Error 403: Forbidden", "forbidden"),
    ("ffmpeg exited with code 1\nServer returned 403 Forbidden (access denied)", "forbidden"),
    ("ffmpeg exited with code 1\nServer returned 5XX Server Error reply", "server_error"),
    ("HTTP Error 503: Service Unavailable", "server_error"),
    ("HTTP Error 429: Too Many Requests", "rate_limited"),
    ("[https @ 0x1] Stream ends prematurely at 44, should be 124823", "truncated"),
    ("[mov @ 0x1] moov atom not found\nInvalid data found when processing input", "truncated"),
    ("Invalid data found when processing input", "not_audio"),
    ("The read operation timed out", "timeout"),
    ("Failed to resolve 'a' ([Errno -3] Temporary failure in name resolution)", "network"),
    ("[Errno 111] Connection refused", "network"),
    ("[Errno 28] No space left on device", "disk_full"),
    ("something new", "unknown"),
]


@pytest.mark.parametrize(("text", "reason"), SAID)
def test_messages_have_their_reasons(text, reason):
    assert classify(text) == reason


def test_what_lasts():
    passing = {
        "bot_check",
        "rate_limited",
        "forbidden",
        "server_error",
        "timeout",
        "truncated",
        "network",
        "not_audio",
        "unknown",
    }
    reasons = {reason for _, reason in SAID}
    assert reasons & LASTING == reasons - passing - {"disk_full"}
    assert {reason for reason, _ in PATTERNS} | set(STATUS.values()) | set(TYPES.values()) >= LASTING


@pytest.mark.parametrize(
    ("text", "status", "types", "reason"),
    [
        ("blocked", 403, ["DownloadError", "HTTPError"], "forbidden"),
        ("try later", 429, [], "rate_limited"),
        ("gone", 410, [], "not_found"),
        ("oops", 502, [], "server_error"),
        ("connection reset by peer", 503, ["TransportError"], "server_error"),
        ("Sign in to confirm you're not a bot", 403, [], "bot_check"),
        ("no", None, ["DownloadError", "GeoRestrictedError"], "geo_blocked"),
        ("no", None, ["DownloadError", "IncompleteRead", "TransportError"], "truncated"),
        ("no", None, ["DownloadError"], "unknown"),
        ("teapot", 418, [], "unknown"),
    ],
)
def test_words_then_status_then_class(text, status, types, reason):
    assert classify(text, status, types) == reason


def test_messages_become_one_safe_line():
    failure = FetchFailure("unknown", "\x1b[0;31mERROR:\x1b[0m a\tb\r\nc\x00\u202e " + "x" * 400)
    assert failure.message.startswith("ERROR: a b c x")
    assert len(failure.message) == 300
    assert failure.message.isprintable()
    assert one_line("naïve 雨") == "naïve 雨"
