"""Real yt-dlp and ffmpeg against a web site on this machine: good answers, bad ones, and a run that is killed."""

import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
import soundfile

from audioptq.errors import UserError
from audioptq.references.run import collect_references
from audioptq.references.tables import missing_text, summary

pytestmark = pytest.mark.slow
RATE = 44100


def test_answers_good_and_bad_are_told_apart(site, wanted_of, make_source, noise, encoded, m4a, tmp_path):
    sound = noise(5.0)
    wav = encoded(sound)
    site.put("good.wav", wav)
    site.put("-o slow ü.wav", wav, pause=0.1)
    site.put("mono.ogg", encoded(noise(4.0, 22050, 1), 22050, "OGG"), kind="audio/ogg")
    site.put("tone.m4a", m4a, kind="audio/mp4")
    site.put("ends.wav", wav)
    site.put("ended.wav", wav)
    site.put("silent.wav", encoded(0 * sound))
    site.put("broken.wav", wav, sent=len(wav) // 4)
    site.put("broken.m4a", m4a, kind="audio/mp4", sent=len(m4a) // 2)
    site.put("garbage.wav", np.random.default_rng(1).bytes(200_000))
    site.put("words.wav", b"<html><title>moved</title></html>", kind="text/html")
    for status in (403, 404, 410, 429, 503):
        site.put(f"{status}.wav", status=status)
    starts = {"good.wav": 1.25, "tone.m4a": 1.0, "ends.wav": 3.5, "ended.wav": 7.0, "broken.wav": 1.0}
    wanted = [wanted_of(name, starts.get(name, 0.0)) for name in site.pages]
    records = {record.reference_id: record for record in collect_references(wanted, make_source(), tmp_path / "clips")}

    assert {name: record.status for name, record in records.items()} == {
        "good.wav": "ok", "-o slow ü.wav": "ok", "mono.ogg": "ok", "tone.m4a": "ok", "ends.wav": "short",
        "ended.wav": "too_short", "silent.wav": "silent", "broken.wav": "truncated", "broken.m4a": "truncated",
        "garbage.wav": "not_audio", "words.wav": "unsupported", "403.wav": "forbidden", "404.wav": "not_found",
        "410.wav": "not_found", "429.wav": "rate_limited", "503.wav": "server_error",
    }  # fmt: skip
    lasting = {name for name, record in records.items() if record.lasting}
    assert lasting == {"ended.wav", "words.wav", "404.wav", "410.wav"}
    for record in records.values():
        assert record.present == (tmp_path / "clips" / record.file_name).exists()
        if record.present:
            audio, rate = soundfile.read(tmp_path / "clips" / record.file_name, dtype="int32", always_2d=True)
            assert (rate, audio.shape[1]) == (RATE, 2)
            assert len(audio) == (round(1.5 * RATE) if record.status == "short" else 2 * RATE)
    # 16 bits within 24, from the very sample on: nothing was resampled, shifted or compressed with loss.
    cut, _ = soundfile.read(tmp_path / "clips" / records["good.wav"].file_name, dtype="int16")
    assert (cut == sound[round(1.25 * RATE) :][: 2 * RATE]).all()
    tone, _ = soundfile.read(tmp_path / "clips" / records["tone.m4a"].file_name)
    spectrum = np.abs(np.fft.rfft(tone[:, 0] * np.hanning(len(tone))))
    assert np.argmax(spectrum) / 2 == pytest.approx(1000, abs=1)  # two seconds: half a hertz a bin
    assert (tone[:, 0] == tone[:, 1]).all()
    assert not (tmp_path / "clips" / ".partial").exists()
    rows = missing_text(list(records.values())).splitlines()
    assert len(rows) == 1 + sum(not record.present for record in records.values())
    assert all(row.count("\t") == 8 for row in rows)
    assert summary(list(records.values())).startswith(
        "6 of 16 reference clips are there (4 ok, 1 short, 1 silent); missing: "
    )

    # A second run leaves alone what is there and what is gone, and tries the rest again.
    site.requests.clear()
    few = [clip for clip in wanted if clip.reference_id in ("good.wav", "ends.wav", "404.wav", "403.wav", "broken.wav")]
    for clip in few:
        site.put(clip.reference_id, wav)
    again = {record.reference_id: record for record in collect_references(few, make_source(), tmp_path / "clips")}
    assert set(site.requests) == {"403.wav", "broken.wav"}
    assert {name: record.attempts for name, record in again.items() if record.attempts > 1} == {
        "403.wav": 2,
        "broken.wav": 2,
    }
    assert [again[name].status for name in ("403.wav", "404.wav", "broken.wav")] == ["ok", "not_found", "ok"]


def test_the_published_length_is_441000_samples(site, wanted_of, make_source, noise, encoded, tmp_path):
    site.put("ten.wav", encoded(noise(12.0, 48000, 1), 48000))
    [record] = collect_references([wanted_of("ten.wav", 1.0)], make_source(duration=10), tmp_path)
    assert (record.status, record.seconds) == ("ok", 10.0)
    assert soundfile.info(tmp_path / record.file_name).frames == 441000


def test_a_server_that_hangs_is_given_up(site, wanted_of, make_source, tmp_path):
    gate = threading.Event()
    site.put("hangs.wav", gate=gate)
    [record] = collect_references([wanted_of("hangs.wav")], make_source(timeout=1.5), tmp_path)
    gate.set()
    assert (record.status, record.lasting) == ("timeout", False)


def test_passing_failures_are_tried_again_after_the_servers_wait(
    site, wanted_of, make_source, noise, encoded, tmp_path
):
    site.put("busy.wav", encoded(noise(3.0)), status=429, failures=2, headers={"Retry-After": "7"})
    waits = []
    [record] = collect_references([wanted_of("busy.wav")], make_source(retries=3), tmp_path, waits.append)
    assert (record.status, record.attempts) == ("ok", 3)
    assert [wait for wait in waits if wait] == [7.0, 7.0]


def test_whole_clips_are_kept_and_damaged_ones_fetched_again(site, wanted_of, make_source, noise, encoded, tmp_path):
    for seed, name in enumerate(("a.wav", "b.wav")):
        site.put(name, encoded(noise(3.0, seed=seed)))
    wanted = [wanted_of(name) for name in site.pages]
    first = collect_references(wanted, make_source(), tmp_path)
    site.requests.clear()
    assert collect_references(wanted, make_source(), tmp_path) == first
    assert site.requests == []

    path = tmp_path / first[1].file_name
    whole = path.read_bytes()
    path.write_bytes(whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:])
    again = collect_references(wanted, make_source(), tmp_path)
    assert path.read_bytes() == whole
    assert set(site.requests) == {"b.wav"}
    assert again[1].sha256 == first[1].sha256

    site.requests.clear()
    moved = [wanted[0], wanted_of("b.wav", 0.5)]  # another stretch under the same name is another clip
    assert collect_references(moved, make_source(), tmp_path)[1].sha256 != first[1].sha256
    assert set(site.requests) == {"b.wav"}


def test_a_killed_run_loses_one_clip_at_most(site, wanted_of, make_source, noise, encoded, tmp_path):
    names = ["a.wav", "b.wav", "c.wav", "d.wav"]
    gate = threading.Event()
    for name in names:
        site.put(name, encoded(noise(3.0)), gate=gate if name == "c.wav" else None)
    wanted, source = [wanted_of(name) for name in names], make_source()
    code = (
        "from audioptq.references.run import collect_references\n"
        "from audioptq.references.source import AudioSource\n"
        "from audioptq.references.wanted import Wanted\n"
        f"collect_references({wanted!r}, {source!r}, {str(tmp_path)!r})\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    )
    site.wait_for("c.wav")
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    assert "d.wav" not in site.requests
    assert len(list(tmp_path.glob("*.flac"))) == 2
    gate.set()

    site.requests.clear()
    records = collect_references(wanted, source, tmp_path)
    assert [record.status for record in records] == ["ok"] * 4
    assert not {"a.wav", "b.wav"} & set(site.requests)
    assert sorted(path.name for path in tmp_path.glob("*.flac")) == sorted(record.file_name for record in records)


def test_cookies_that_cannot_be_read_stop_the_run(site, wanted_of, make_source, tmp_path):
    cookies = tmp_path / "cookies.txt"
    cookies.write_text("no cookies\n")
    with pytest.raises(UserError, match=r"The cookies cannot be read: .*audio\.cookies"):
        collect_references([wanted_of("a.wav")], make_source(cookies=str(cookies)), tmp_path / "clips")
    assert site.requests == []
    assert cookies.read_text() == "no cookies\n"
