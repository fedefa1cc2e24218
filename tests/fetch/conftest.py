"""A hub of the test's own, and no trace of the machine's real one."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1]))

from hub_server import HubServer


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A local hub that the client is pointed at, without a token, without waiting between retries."""
    from huggingface_hub import constants

    from audioptq.fetch import resume

    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_OIDC_RESOURCE", "AUDIOPTQ_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setattr(resume.time, "sleep", lambda seconds: waits.append(seconds))
    waits = []
    with HubServer() as hub:
        hub.waits = waits
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub
