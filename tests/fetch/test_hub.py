"""A model of the hub stays at the commit that was first seen, and every refusal of the hub has its sentence."""

import json
import os

import numpy as np
import pytest
from hub_server import Fault

from audioptq.errors import DamagedArtifactError, UserError
from audioptq.fetch import offline
from audioptq.fetch.check import check_files
from audioptq.fetch.hub import check_access, fetch_model
from audioptq.fetch.weights import WeightsEntry

PIECE_BYTES = 1 << 16  # as conftest.py has it
REPO = "acme/sound"
PAGE = f"https://huggingface.co/{REPO}"
WEIGHTS = np.random.default_rng(6).bytes(200_000)
FILES = {
    "model_config.json": b'{"model_type": "diffusion_cond"}',
    "model.safetensors": WEIGHTS,
    "README.md": b"# Sound",
}


def disk_with(monkeypatch, free):
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": free}))


def test_a_gated_model_comes_with_a_token_and_its_commit_is_recorded(server, tmp_path, monkeypatch):
    commit = server.publish(REPO, FILES, gated=True)
    server.grant("hf_good", REPO)
    monkeypatch.setenv("HF_TOKEN", "hf_good")
    check_access(REPO, "main", tmp_path)
    model = fetch_model(REPO, "main", tmp_path)
    assert model.commit == commit
    assert model.config.read_bytes() == FILES["model_config.json"]
    assert model.weights.read_bytes() == WEIGHTS
    record = json.loads((tmp_path / "revision.json").read_text())
    assert (record["repo"], record["revision"], record["commit"]) == (REPO, "main", commit)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "model.safetensors",
        "model_config.json",
        "revision.json",
    ]


def test_a_whole_folder_needs_no_hub(server, tmp_path, monkeypatch):
    commit = server.publish(REPO, FILES)
    first = fetch_model(REPO, "main", tmp_path)
    server.publish(REPO, FILES | {"README.md": b"# Louder"})
    n_requests = len(server.requests)
    monkeypatch.setenv("AUDIOPTQ_OFFLINE", "1")
    check_access(REPO, "main", tmp_path)
    assert fetch_model(REPO, "main", tmp_path) == first
    assert fetch_model(REPO, commit, tmp_path) == first  # by its commit it is the same model
    assert len(server.requests) == n_requests


def test_weights_resume_at_the_pinned_commit(server, tmp_path):
    commit = server.publish(REPO, FILES)
    server.faults["model.safetensors"] = [Fault(drop_after=2 * PIECE_BYTES), Fault(status=502, times=-1)]
    with pytest.raises(UserError, match="502"):
        fetch_model(REPO, "main", tmp_path)
    server.faults.clear()
    assert fetch_model(REPO, "main", tmp_path).weights.read_bytes() == WEIGHTS
    asked = server.asked("model.safetensors")
    assert asked[-1].headers["Range"] == f"bytes={2 * PIECE_BYTES}-"
    assert asked[-1].status == 206
    resolved = [request.path for request in server.requests if "/resolve/" in request.path]
    assert resolved
    assert all(f"/resolve/{commit}/" in path for path in resolved)


def test_a_revision_that_moved_is_refused_until_the_folder_goes(server, tmp_path):
    folder = tmp_path / "sound"
    old = server.publish(REPO, FILES)
    fetch_model(REPO, "main", folder)
    (folder / "model.safetensors").unlink()  # as Snakemake does before it runs a rule again
    new = server.publish(REPO, FILES | {"model.safetensors": WEIGHTS[::-1]})
    for call in (check_access, fetch_model):
        with pytest.raises(UserError, match="Results of the two are not comparable") as caught:
            call(REPO, "main", folder)
        assert all(piece in str(caught.value) for piece in (old, new, str(folder)))
    assert fetch_model(REPO, old, folder).weights.read_bytes() == WEIGHTS  # the way out that the text names
    for path in folder.iterdir():
        path.unlink()
    assert fetch_model(REPO, "main", folder).commit == new


def test_a_folder_of_another_model_is_refused(server, tmp_path):
    server.publish(REPO, FILES)
    fetch_model(REPO, "main", tmp_path)
    for repo, revision, weights in (("acme/other", "main", None), (REPO, "v2", None), (REPO, "main", "model.ckpt")):
        with pytest.raises(UserError, match=f"holds model_config.json, model.safetensors of {REPO} at main"):
            fetch_model(repo, revision, tmp_path, weights)


def test_a_checkpoint_is_taken_where_there_are_no_safetensors(server, tmp_path):
    server.publish(REPO, {"model_config.json": b"{}", "model.ckpt": WEIGHTS})
    assert fetch_model(REPO, "main", tmp_path / "a").weights.name == "model.ckpt"
    with pytest.raises(UserError, match=r"has no model\.safetensors.*It has model\.ckpt, model_config\.json"):
        fetch_model(REPO, "main", tmp_path / "b", "model.safetensors")


def test_damage_after_the_download_is_named(server, tmp_path):
    server.publish(REPO, FILES)
    path = fetch_model(REPO, "main", tmp_path).weights
    path.write_bytes(WEIGHTS[::-1])
    with pytest.raises(
        DamagedArtifactError, match=r"model\.safetensors cannot be used: it is not the file of acme/sound"
    ):
        fetch_model(REPO, "main", tmp_path)
    (tmp_path / "revision.json").write_text("[]")
    with pytest.raises(DamagedArtifactError, match=r"revision\.json cannot be used: it is not the record"):
        fetch_model(REPO, "main", tmp_path)


def test_gated_without_a_token(server, tmp_path):
    server.publish(REPO, FILES, gated=True)
    with pytest.raises(UserError, match="there is no token here") as caught:
        check_access(REPO, "main", tmp_path)
    assert PAGE in str(caught.value)
    assert "`hf auth login`" in str(caught.value)


def test_a_token_that_the_hub_does_not_know(server, tmp_path, monkeypatch):
    server.publish(REPO, FILES, gated=True)
    monkeypatch.setenv("HF_TOKEN", "hf_expired")
    with pytest.raises(UserError, match=r"in the variable HF_TOKEN .* expired or is wrong\. Set HF_TOKEN") as caught:
        check_access(REPO, "main", tmp_path)
    assert "Invalid credentials" in str(caught.value)  # the hub's own words
    monkeypatch.delenv("HF_TOKEN")
    token_file = tmp_path / "token"
    token_file.write_text("hf_expired")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(token_file))
    with pytest.raises(UserError, match=r"of the last login .* Run `hf auth login` with a new one"):
        check_access(REPO, "main", tmp_path)


def test_a_licence_that_was_not_accepted(server, tmp_path, monkeypatch):
    server.publish(REPO, FILES, gated=True)
    server.grant("hf_other")
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    with pytest.raises(UserError, match="licence is not accepted") as caught:
        check_access(REPO, "main", tmp_path)
    assert PAGE in str(caught.value)
    assert "Access to model acme/sound is restricted" in str(caught.value)


def test_what_is_not_there_is_named(server, tmp_path, monkeypatch):
    server.publish(REPO, FILES)
    with pytest.raises(UserError, match="does not have the revision v9"):
        check_access(REPO, "v9", tmp_path)
    with pytest.raises(UserError, match="acme/absent does not exist, is private, or needs a login"):
        check_access("acme/absent", "main", tmp_path)
    server.grant("hf_good")
    monkeypatch.setenv("HF_TOKEN", "hf_good")
    with pytest.raises(UserError, match="There is no repository acme/absent"):
        check_access("acme/absent", "main", tmp_path)
    with pytest.raises(UserError, match="Write it as owner/name"):
        check_access("a/b/c", "main", tmp_path)


def test_a_hub_out_of_reach(server, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"hub at http://127\.0\.0\.1:9 cannot be reached"):
        check_access(REPO, "main", tmp_path)


def test_a_slow_hub_is_not_waited_for(server, tmp_path, monkeypatch):
    server.publish(REPO, FILES)
    server.faults["revision/main"] = [Fault(seconds=0.5)]
    monkeypatch.setattr("audioptq.fetch.hub_files.TIMEOUT_SECONDS", 0.1)
    with pytest.raises(UserError, match=r"cannot be reached.*Timeout"):
        check_access(REPO, "main", tmp_path)


def test_a_portal_that_answers_for_the_hub(server, tmp_path):
    server.serve(f"api/models/{REPO}/revision/main", b"<html>please log in to the wifi</html>")
    with pytest.raises(UserError, match="cannot be reached"):
        check_access(REPO, "main", tmp_path)


def test_a_disk_too_small_counts_what_has_come(server, tmp_path, monkeypatch):
    server.publish(REPO, FILES)
    disk_with(monkeypatch, 150_000)
    with pytest.raises(UserError, match=r"Not enough disk for acme/sound: 200 kB .* 150 kB free"):
        check_access(REPO, "main", tmp_path)
    (tmp_path / "model.safetensors.part").write_bytes(WEIGHTS[:100_000])
    check_access(REPO, "main", tmp_path)


def test_offline_mode_is_lifted_for_the_hub_alone_and_put_back(server, tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    server.publish(REPO, FILES)
    fetch_model(REPO, "main", tmp_path)
    assert constants.HF_HUB_OFFLINE is True
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    with pytest.raises(ValueError, match="x"), offline.hub_online():
        raise ValueError("x")
    assert constants.HF_HUB_OFFLINE is True


def test_offline_by_the_users_wish(server, tmp_path, monkeypatch):
    server.publish(REPO, FILES)
    monkeypatch.setenv("AUDIOPTQ_OFFLINE", "1")
    for call in (check_access, fetch_model):
        with pytest.raises(UserError, match=f"AUDIOPTQ_OFFLINE is set.*{PAGE}") as caught:
            call(REPO, "main", tmp_path)
        assert str(tmp_path / "model.safetensors") in str(caught.value)
    assert server.requests == []


def rows(server):
    """A file of known size on the web, one of unknown size, and one on the hub."""
    server.publish("acme/nets", {"net.pt": WEIGHTS})
    known = WeightsEntry("known", "known.pt", server.serve("known.pt", WEIGHTS), len(WEIGHTS), "", "", "https://a.org")
    unknown = WeightsEntry("unknown", "unknown.pt", server.serve("unknown.pt", WEIGHTS), None, "", "", "https://b.org")
    hub = WeightsEntry("hub", "hub.pt", "hf://acme/nets/net.pt@main", None, "", "", "https://c.org")
    return [known, unknown, hub]


def test_files_that_are_absent_are_added_up(server, tmp_path, monkeypatch):
    entries = rows(server)
    disk_with(monkeypatch, 550_000)
    with pytest.raises(UserError, match="Not enough disk for known, unknown, hub: 600 kB"):
        check_files(entries, tmp_path)
    assert {request.method for request in server.requests} == {"HEAD"}
    (tmp_path / "known.pt").write_bytes(b"here")
    check_files(entries, tmp_path)
    n_requests = len(server.requests)
    check_files(entries[:1], tmp_path)
    assert len(server.requests) == n_requests


def test_hosts_and_files_that_are_gone_are_named(server, tmp_path, monkeypatch):
    gone = WeightsEntry("gone", "gone.pt", f"{server.url}/gone.pt", None, "", "", "https://a.org/gone")
    with pytest.raises(UserError, match=r"answered 404\. Take gone from https://a\.org/gone"):
        check_files([gone], tmp_path)
    away = WeightsEntry("away", "away.pt", "http://127.0.0.1:9/away.pt", 12, "", "", "https://a.org/away")
    with pytest.raises(UserError, match=r"cannot be reached .*take the file from https://a\.org/away"):
        check_files([away], tmp_path)
    server.faults["known.pt"] = [Fault(status=503, method="HEAD")]
    check_files(rows(server)[:1], tmp_path)  # a busy host is not a reason to stop
    monkeypatch.setenv("AUDIOPTQ_OFFLINE", "1")
    with pytest.raises(UserError, match=r"gone\.pt.*away\.pt"):
        check_files([gone, away], tmp_path)
