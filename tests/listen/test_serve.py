"""The server of a lab, over real connections: what it gives, what it takes in, and what it refuses."""

import http.client
import json
import shutil
import socket
import threading

import pytest

from audioptq.errors import UserError
from audioptq.listen.analyse.judgements import gather
from audioptq.listen.answers.file import MAX_BYTES
from audioptq.listen.answers.serve import ListeningServer, answers_path
from audioptq.listen.build import key_path
from audioptq.listen.key import TestKey


def judge(random, variant):
    return random.randint(1, 5)


def started(folder, say=lambda text: None):
    server = ListeningServer(folder, "127.0.0.1", 0, say)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    return server


@pytest.fixture
def lab(built, tmp_path):
    """A served copy of the rating test, its key, and its folder."""
    folder, key = built["rating"]
    shutil.copytree(folder, tmp_path / "test")
    shutil.copy(key_path(folder), tmp_path / "test.key.json")
    server = started(tmp_path / "test")
    yield server, key, tmp_path / "test"
    server.shutdown()
    server.server_close()


def ask(server, method, path, body=None, headers=()):
    connection = http.client.HTTPConnection(*server.server_address[:2], timeout=20)
    connection.putrequest(method, path, skip_host=False)
    for name, value in dict(headers).items():
        connection.putheader(name, value)
    connection.endheaders(body)
    reply = connection.getresponse()
    content = reply.read()
    connection.close()
    return reply, content


def post(server, record, **headers):
    body = record if isinstance(record, bytes) else json.dumps(record).encode()
    defaults = {"Content-Type": "application/json", "Content-Length": str(len(body))}
    reply, content = ask(server, "POST", "/answers", body, {**defaults, **headers})
    return reply.status, json.loads(content)["message"]


def test_page_and_clips_are_served(lab):
    server, key, folder = lab
    for path, file in (
        ("/", "index.html"),
        ("/index.html?simulated", "index.html"),
        (f"/clips/{next(iter(key.clips))}.js", None),
    ):
        reply, content = ask(server, "GET", path)
        assert reply.status == 200
        assert content == (folder / (file or path[1:])).read_bytes()
        assert reply.headers["X-Content-Type-Options"] == "nosniff"
    reply, content = ask(server, "HEAD", "/")
    assert (reply.status, content) == (200, b"")


@pytest.mark.parametrize(
    "path",
    [
        "/answers",
        "/test.answers.jsonl",
        "/../test.answers.jsonl",
        "/../test.key.json",
        "/%2e%2e/test.key.json",
        "/clips/../../test.key.json",
        "/clips/..%2f..%2ftest.key.json",
        "//etc/passwd",
        "/clips/",
        "/clips",
        "http://x/../test.key.json",
    ],
)
def test_nothing_else_is_served(lab, tools, path):
    server, key, _ = lab
    post(server, tools.answers(key, judge))
    reply, content = ask(server, "GET", path)
    assert reply.status == 404
    assert json.loads(content)["message"] == "There is nothing at this address."


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "PATCH"])
def test_other_methods_are_refused(lab, method):
    assert ask(lab[0], method, "/answers")[0].status == 501


def test_answers_are_stored_signed_and_counted(lab, tools):
    server, key, folder = lab
    for index in range(3):
        assert post(server, tools.answers(key, judge, index)) == (201, "Your answers have been handed in. Thank you.")
    gathered = gather([answers_path(folder)], key)
    assert len(gathered.answers) == 3
    assert not gathered.refused
    assert all(answers.received for answers in gathered.answers)
    assert answers_path(folder).stat().st_mode & 0o077 == 0  # other people's answers are for nobody else on the machine


def test_what_is_altered_after_the_server_took_it_in_is_found(lab, tools):
    server, key, folder = lab
    post(server, tools.answers(key, judge))
    record = json.loads(answers_path(folder).read_text())
    receipt = record["receipt"]
    record["answers"][0]["ms"] += 1
    # Whoever knows the page's checksum can make a new one, but no receipt.
    answers_path(folder).write_text(json.dumps({**tools.signed(key, record), "receipt": receipt}) + "\n")
    (entry,) = gather([answers_path(folder)], key).refused
    assert "altered after the server took it in" in entry["why"]


def test_duplicates_are_refused_kindly_and_fuller_answers_are_added(lab, tools):
    server, key, folder = lab
    half, full = tools.answers(key, judge, questions=5), tools.answers(key, judge)
    assert post(server, half)[0] == 201
    assert post(server, half) == (409, "Your answers are here already. Thank you: there is nothing more to do.")
    assert post(server, full)[0] == 201
    assert post(server, half)[0] == 409
    other = tools.signed(key, full | {"comment": "once more"})
    assert post(server, other)[0] == 409
    assert len(answers_path(folder).read_text().splitlines()) == 2  # nothing was overwritten
    gathered = gather([answers_path(folder)], key)
    assert [answers.n_values for answers in gathered.answers] == [15]


def test_a_restarted_server_knows_its_listeners(lab, tools):
    server, key, folder = lab
    post(server, tools.answers(key, judge))
    again = started(folder)
    assert post(again, tools.answers(key, judge))[0] == 409
    assert post(again, tools.answers(key, judge, 1))[0] == 201
    again.shutdown()
    again.server_close()
    answers_path(folder).write_text(answers_path(folder).read_text() + "scribble\n")
    with pytest.raises(UserError, match="line 3, cannot be added to"):
        ListeningServer(folder, "127.0.0.1", 0)


def test_many_at_once_lose_nothing(lab, tools):
    server, key, folder = lab
    records = [tools.answers(key, judge, index) for index in range(48)]
    found = []
    threads = [threading.Thread(target=lambda r=record: found.append(post(server, r)[0])) for record in records]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [201] * 48
    assert len(gather([answers_path(folder)], key).answers) == 48


def test_bad_answers_are_refused_and_nothing_is_stored(lab, built, tools):
    server, key, folder = lab
    other = tools.answers(built["mushra"][1], judge)
    assert post(server, b"{")[0] == 400
    assert "belongs to another test" in post(server, other)[1]
    altered = tools.answers(key, judge) | {"comment": "x"}
    assert "was altered" in post(server, altered)[1]
    forged = tools.answers(key, lambda random, variant: 9)
    assert "does not offer" in post(server, forged)[1]
    record = tools.answers(key, judge)
    assert post(server, record, **{"Content-Type": "text/plain"})[0] == 415
    assert post(server, record, **{"Content-Length": "x"})[0] == 411
    assert not answers_path(folder).exists()


def test_a_hundred_megabytes_are_refused_before_they_are_read(lab):
    server, _, folder = lab
    with socket.create_connection(server.server_address[:2], timeout=20) as connection:
        head = f"POST /answers HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {100_000_000}\r\n\r\n"
        connection.sendall(head.encode())
        reply = b""  # it answers although not a byte of the body was sent
        while chunk := connection.recv(65536):
            reply += chunk
    assert reply.startswith(b"HTTP/1.0 413 ")
    assert f"at most {MAX_BYTES:,} bytes, not 100,000,000".encode() in reply
    assert not answers_path(folder).exists()


def test_a_client_that_sends_all_the_same_still_reads_the_refusal(lab):
    server, _, _ = lab
    status, message = post(server, b"x" * (MAX_BYTES + 1))
    assert status == 413
    assert "Nothing was read" in message


def test_a_broken_off_upload_is_no_answer(lab):
    server, _, folder = lab
    with socket.create_connection(server.server_address[:2], timeout=20) as connection:
        connection.sendall(
            b"POST /answers HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 999\r\n\r\n{"
        )
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(65536).startswith(b"HTTP/1.0 400 ")
    assert not answers_path(folder).exists()


def test_a_hostile_name_is_stored_as_it_is_and_said_harmlessly(built, tools, tmp_path):
    folder, key = built["rating"]
    shutil.copytree(folder, tmp_path / "test")
    said = []
    server = started(tmp_path / "test", said.append)  # without the key: answers are taken in unsigned
    assert not server.is_signing
    name = "\x1b[2J</script>=1+1"
    assert post(server, tools.answers(key, judge, name=name))[0] == 201
    server.shutdown()
    server.server_close()
    (answers,) = gather([answers_path(tmp_path / "test")], key).answers
    assert (answers.name, answers.received) == (name, False)
    assert "\x1b" not in said[0]
    assert "simulated listener" in said[0]


def test_a_folder_may_be_the_one_where_one_stands(built, tmp_path, monkeypatch):
    folder, _ = built["rating"]
    shutil.copytree(folder, tmp_path / "test")
    shutil.copy(key_path(folder), tmp_path / "test.key.json")
    monkeypatch.chdir(tmp_path / "test")
    with ListeningServer(".", "127.0.0.1", 0) as server:
        assert server.is_signing
    assert answers_path(".") == tmp_path.resolve() / "test.answers.jsonl"


def test_mistakes_are_said(built, tmp_path):
    with pytest.raises(UserError, match="holds no listening test"):
        ListeningServer(tmp_path, "127.0.0.1", 0)
    folder, _ = built["rating"]
    shutil.copytree(folder, tmp_path / "test")
    shutil.copy(key_path(built["abx"][0]), tmp_path / "test.key.json")
    with pytest.raises(UserError, match="the key of another test"):
        ListeningServer(tmp_path / "test", "127.0.0.1", 0)
    assert isinstance(TestKey.read(tmp_path / "test.key.json"), TestKey)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UserError, match="Nothing can be served at"):
            ListeningServer(folder, "127.0.0.1", taken.getsockname()[1])
