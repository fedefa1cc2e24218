"""Files come whole or not at all: interruptions resume, changed files restart, wrong contents are removed."""

import errno
import hashlib
import subprocess
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hub_server import Fault

from audioptq.errors import DamagedArtifactError, UserError
from audioptq.fetch import resume
from audioptq.fetch.digests import git_blob_id, record_digest, recorded_digest
from audioptq.fetch.download import download
from audioptq.fetch.weights import WeightsEntry

PIECE = resume.PIECE_BYTES  # what comes before an interruption is kept to a multiple of this
CONTENTS = np.random.default_rng(5).bytes(300_000)
SIZE = len(CONTENTS)
SHA256 = hashlib.sha256(CONTENTS).hexdigest()
PAGE = "https://example.org/nets"


def entry_of(url, sha256=SHA256, size=SIZE, file="nets/net.pt"):
    return WeightsEntry("net", file, url, size, sha256, "MIT", PAGE)


@pytest.fixture(params=["web", "hub"])
def source(request, server):
    """The same file on a web server and on the hub: `(address, replace)`; `replace(bytes)` puts another in its place."""

    def publish(contents):
        if request.param == "web":
            return server.serve("files/net.pt", contents)
        server.publish("acme/nets", {"net.pt": contents})
        return "hf://acme/nets/net.pt@main"

    return publish(CONTENTS), publish


def ranges(server):
    return [request.headers.get("Range") for request in server.asked("net.pt") if request.status in (200, 206)]


def test_a_file_comes_once_and_is_then_only_verified(server, source, tmp_path):
    url, _ = source
    path = download(entry_of(url), tmp_path)
    assert path == tmp_path / "nets/net.pt"
    assert path.read_bytes() == CONTENTS
    n_requests = len(server.requests)
    assert download(entry_of(url), tmp_path) == path
    assert len(server.requests) == n_requests
    assert sorted(file.name for file in path.parent.iterdir()) == ["net.pt"]  # no parts are left


def test_a_dropped_connection_is_resumed_and_not_begun_anew(server, source, tmp_path):
    url, _ = source
    server.faults["net.pt"] = [Fault(drop_after=2 * PIECE), Fault(drop_after=PIECE + 99)]
    assert download(entry_of(url), tmp_path).read_bytes() == CONTENTS
    assert ranges(server) == [None, f"bytes={2 * PIECE}-", f"bytes={3 * PIECE}-"]
    assert len(server.waits) == 2
    if url.startswith("http"):  # an address on the web may change its contents; one on the hub holds a commit
        assert server.asked("net.pt")[-1].headers["If-Range"] == f'"{SHA256}"'


def test_a_part_of_unknown_contents_is_not_continued(server, source, tmp_path):
    url, _ = source
    (tmp_path / "nets").mkdir()
    (tmp_path / "nets/net.pt.part").write_bytes(b"?" * SIZE)
    assert download(entry_of(url), tmp_path).read_bytes() == CONTENTS
    assert ranges(server) == [None]


def test_a_later_run_goes_on_where_the_first_gave_up(server, source, tmp_path):
    url, _ = source
    server.faults["net.pt"] = [Fault(drop_after=2 * PIECE), Fault(status=503, times=-1)]
    with pytest.raises(UserError, match=r"answered 503; 6 retries did not help.*goes on from there") as caught:
        download(entry_of(url), tmp_path)
    assert PAGE in str(caught.value)
    assert not (tmp_path / "nets/net.pt").exists()
    assert server.waits[-3:] == [16.0, 32.0, 60.0]  # the wait doubles, up to a minute
    server.faults.clear()
    assert download(entry_of(url), tmp_path).read_bytes() == CONTENTS
    assert ranges(server) == [None, f"bytes={2 * PIECE}-"]


def test_a_file_that_changed_meanwhile_is_begun_anew(server, source, tmp_path):
    url, replace = source
    server.faults["net.pt"] = [Fault(drop_after=2 * PIECE), Fault(status=500, times=-1)]
    with pytest.raises(UserError):
        download(entry_of(url, ""), tmp_path)
    server.faults.clear()
    newer = CONTENTS[::-1]
    replace(newer)
    assert download(entry_of(url, ""), tmp_path).read_bytes() == newer
    assert server.asked("net.pt")[-1].status == 200


def test_a_server_that_ignores_if_range_cannot_mix_two_files(server, tmp_path, monkeypatch):
    url = server.serve("net.pt", CONTENTS)
    server.faults["net.pt"] = [Fault(drop_after=2 * PIECE), Fault(status=500, times=-1)]
    with pytest.raises(UserError):
        download(entry_of(url, ""), tmp_path)
    server.faults.clear()
    server.serve("net.pt", CONTENTS[::-1])
    real = resume.requests.get
    monkeypatch.setattr(
        resume.requests,
        "get",
        lambda url, headers, **options: real(
            url, headers={name: value for name, value in headers.items() if name != "If-Range"}, **options
        ),
    )
    assert download(entry_of(url, ""), tmp_path).read_bytes() == CONTENTS[::-1]
    assert ranges(server) == [None, f"bytes={2 * PIECE}-", None]


@pytest.mark.parametrize("known", [SHA256, SHA256[:8]])
def test_wrong_contents_are_removed_and_both_digests_named(server, source, tmp_path, known):
    url, _ = source
    server.faults["net.pt"] = [Fault(flip_byte=1234)]
    with pytest.raises(UserError, match="was downloaded and removed") as caught:
        download(entry_of(url, known), tmp_path)
    wrong = bytearray(CONTENTS)
    wrong[1234] ^= 1
    assert hashlib.sha256(wrong).hexdigest() in str(caught.value)
    assert known in str(caught.value)
    assert PAGE in str(caught.value)
    assert list((tmp_path / "nets").iterdir()) == []
    assert download(entry_of(url, known), tmp_path).read_bytes() == CONTENTS


def test_the_hubs_own_digest_is_verified_where_the_table_has_none(server, tmp_path):
    server.publish("acme/nets", {"net.pt": CONTENTS, "small.json": b"{}\n"})
    for name, contents in (("net.pt", CONTENTS), ("small.json", b"{}\n")):
        server.faults[name] = [Fault(flip_byte=0)]
        entry = entry_of(f"hf://acme/nets/{name}@main", "", None, name)
        with pytest.raises(UserError, match="was downloaded and removed"):
            download(entry, tmp_path)
        assert download(entry, tmp_path).read_bytes() == contents


def test_a_git_blob_id_is_verified(server, tmp_path):
    path = tmp_path / "blob"
    path.write_bytes(CONTENTS)
    theirs = subprocess.run(
        ["git", "hash-object", str(path)], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert git_blob_id(path) == theirs
    url = server.serve("net.pt", CONTENTS)
    assert download(entry_of(url, f"git:{theirs}", None), tmp_path / "a").read_bytes() == CONTENTS
    with pytest.raises(UserError, match=f"git:{theirs}, and git:{'0' * 40} is expected"):
        download(entry_of(url, f"git:{'0' * 40}", None), tmp_path / "b")


def test_without_a_published_digest_the_first_use_is_trusted_and_held_to(server, tmp_path):
    url = server.serve("net.pt", CONTENTS)
    entry = entry_of(url, "", None)
    path = download(entry, tmp_path)
    assert (tmp_path / "checksums.tsv").read_text() == f"file\tsha256\nnets/net.pt\t{SHA256}\n"
    damaged = bytearray(CONTENTS)
    damaged[77] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(DamagedArtifactError, match=SHA256) as caught:
        download(entry, tmp_path)
    assert str(path) in str(caught.value)
    assert path.exists()  # what was there before is the user's to delete
    path.unlink()
    server.serve("net.pt", bytes(damaged))
    with pytest.raises(UserError, match="was downloaded and removed"):
        download(entry, tmp_path)


def test_a_copy_that_a_user_put_there_is_trusted_once_without_a_request(server, tmp_path):
    (tmp_path / "nets").mkdir()
    (tmp_path / "nets/net.pt").write_bytes(CONTENTS)
    download(entry_of(f"{server.url}/absent.pt", "", None), tmp_path)
    assert recorded_digest(tmp_path, "nets/net.pt") == SHA256
    assert server.requests == []


def test_a_wrong_copy_of_a_known_file_is_named(server, tmp_path):
    (tmp_path / "nets").mkdir()
    path = tmp_path / "nets/net.pt"
    for contents, message in ((CONTENTS[:-1], "299999 bytes, and 300000"), (CONTENTS[::-1], SHA256)):
        path.write_bytes(contents)
        with pytest.raises(DamagedArtifactError, match=message) as caught:
            download(entry_of(server.url), tmp_path)
        assert str(path) in str(caught.value)


def test_jobs_record_digests_at_the_same_time(tmp_path):
    names = [f"{index}.pt" for index in range(20)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: record_digest(tmp_path, name, SHA256), names))
    assert [recorded_digest(tmp_path, name) for name in names] == [SHA256] * 20
    (tmp_path / "checksums.tsv").write_text("file\tsha256\nbroken line\n")
    with pytest.raises(DamagedArtifactError, match=r"checksums\.tsv"):
        recorded_digest(tmp_path, "0.pt")


def test_retry_after_is_honoured(server, tmp_path):
    url = server.serve("net.pt", CONTENTS)
    server.faults["net.pt"] = [Fault(status=429, headers={"Retry-After": "37"})]
    assert download(entry_of(url), tmp_path).read_bytes() == CONTENTS
    assert server.waits == [37.0]
    server.faults["net.pt"] = [Fault(status=429, headers={"Retry-After": "86400"})]
    with pytest.raises(UserError, match="asks to come back in 86400 s"):
        download(entry_of(url), tmp_path / "b")


def test_a_busy_hub_is_waited_for(server, tmp_path):
    server.publish("acme/nets", {"net.pt": CONTENTS})
    server.faults["net.pt"] = [
        Fault(status=429, headers={"Retry-After": "9"}, method="HEAD"),
        Fault(status=503, method="HEAD"),
        Fault(status=429, headers={"Retry-After": "37"}),
    ]
    assert download(entry_of("hf://acme/nets/net.pt@main"), tmp_path).read_bytes() == CONTENTS
    assert server.waits == [10.0, 2.0, 37.0]  # huggingface_hub adds a second to what the hub asks for


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_file_that_moved_is_not_asked_for_again(server, tmp_path, status):
    url = server.serve("net.pt", CONTENTS)
    server.faults["net.pt"] = [Fault(status=status, times=-1)]
    with pytest.raises(UserError, match=f"answered {status}.*{PAGE}"):
        download(entry_of(url), tmp_path)
    assert len(server.requests) == 1


def test_another_size_than_the_tables_stops_before_the_bytes_come(server, source, tmp_path):
    url, _ = source
    with pytest.raises(UserError, match="another file"):
        download(entry_of(url, size=12), tmp_path)
    assert not list(tmp_path.rglob("*.part"))


def test_a_replaced_file_on_the_hub_is_found_before_it_comes(server, tmp_path):
    server.publish("acme/nets", {"net.pt": CONTENTS[::-1]})
    with pytest.raises(UserError, match="is now another file than the one that") as caught:
        download(entry_of("hf://acme/nets/net.pt@main"), tmp_path)
    assert SHA256 in str(caught.value)
    assert server.asked("net.pt") == []


def test_offline_names_file_folder_and_page(server, source, tmp_path, monkeypatch):
    url, _ = source
    monkeypatch.setenv("AUDIOPTQ_OFFLINE", "1")
    with pytest.raises(UserError, match="AUDIOPTQ_OFFLINE is set") as caught:
        download(entry_of(url), tmp_path)
    assert str(tmp_path / "nets/net.pt") in str(caught.value)
    assert PAGE in str(caught.value)
    assert server.requests == []
    (tmp_path / "nets").mkdir()
    (tmp_path / "nets/net.pt").write_bytes(CONTENTS)
    download(entry_of(url), tmp_path)  # what is there may be used


def test_a_full_disk_is_found_before_the_bytes_come(server, source, tmp_path, monkeypatch):
    url, _ = source
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 250_000}))
    with pytest.raises(UserError, match=r"Not enough disk for net\.pt: 300 kB .* 250 kB free") as caught:
        download(entry_of(url), tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_the_token_goes_to_the_hub_and_not_to_its_storage(server, tmp_path, monkeypatch):
    server.publish("acme/nets", {"net.pt": CONTENTS}, gated=True)
    server.grant("hf_good", "acme/nets")
    monkeypatch.setenv("HF_TOKEN", "hf_good")
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login someone password secret\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    download(entry_of("hf://acme/nets/net.pt@main"), tmp_path)
    assert server.asked("net.pt")[0].headers["Authorization"] == "Bearer hf_good"
    assert server.asked("net.pt")[-1].path.startswith("/cdn/")
    assert "Authorization" not in server.asked("net.pt")[-1].headers


def test_two_processes_do_not_write_one_part(server, tmp_path):
    url = server.serve("net.pt", CONTENTS)
    with (tmp_path / "net.pt.part").open("ab") as handle:
        resume.fcntl.flock(handle, resume.fcntl.LOCK_EX)
        with pytest.raises(UserError, match="Another process is downloading"):
            download(entry_of(url, file="net.pt"), tmp_path)


def test_a_redirect_to_an_open_connection_is_refused():
    with pytest.raises(UserError, match="not an https address"):
        resume._refuse_insecure("http://example.org/net.pt")


def test_a_disk_that_fills_meanwhile_keeps_what_has_come(server, tmp_path, monkeypatch):
    url = server.serve("net.pt", CONTENTS)

    def fill(pieces, *_, **__):
        yield next(pieces)
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(resume, "progress", fill)
        patch.setattr(resume, "MEBIBYTE", PIECE)  # so that the bar moves with each piece
        with pytest.raises(UserError, match=r"net\.pt\.part could not be written: the disk is full"):
            download(entry_of(url), tmp_path)
    assert download(entry_of(url), tmp_path).read_bytes() == CONTENTS
    assert ranges(server) == [None, f"bytes={PIECE}-"]
