"""The sealed key of a listening test: which file is which variant, and the secret that answers are checked by."""

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from audioptq.errors import DamagedArtifactError, UserError, damaged
from audioptq.files.artifacts import read_json, write_json
from audioptq.listen.plan import MODES

FORMAT, VERSION = "audioptq-listening-key", 1
TOKEN_DIGITS = 20
FIELDS = ("test", "secret", "mode", "questions", "clips", "prompts", "recipes", "facts")


@dataclass(frozen=True)
class TestKey:
    """What the one who runs a listening test keeps, and no listener sees.

    Attributes:
        test: Id of the test, which page and answers carry.
        secret: Hex; tokens, stamp and receipts are made from it.
        mode: `rating`, `mushra` or `abx`.
        recipes: Compared recipes, full precision first.
        questions: As the page has them: id, caption, tokens by place.
        clips: By token: `clip_id`, `variant`, `role`, loudness and level change.
        prompts: Captions by clip id.
        facts: How the test was made: run, seeds, prompts that could not be asked about, repeats.
    """

    __test__ = False  # no test case, whatever pytest thinks of the name

    test: str
    secret: str
    mode: str
    recipes: list[str]
    questions: list[dict[str, Any]]
    clips: dict[str, dict[str, Any]]
    prompts: dict[str, str]
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def stamp(self) -> str:
        """What the page copies into the answers: they belong to this key, and to no other test."""
        return sign(self.secret, f"stamp {self.test}")

    def receipt(self, body: str) -> str:
        """The signature that `listen serve` adds to answers as they come in; only who has the key can make it."""
        return sign(self.secret, f"receipt {body}")

    def question(self, name: str) -> dict[str, Any]:
        """A question by its id.

        Raises:
            KeyError: If the test has none of that id.
        """
        return {question["id"]: question for question in self.questions}[name]

    def write(self, path: str | Path) -> None:
        """Writes the key with a checksum of the file in it, readable by its owner alone."""
        record = {name: getattr(self, name) for name in FIELDS}
        write_json(path, {"format": FORMAT, "version": VERSION, **record})
        Path(path).chmod(0o600)

    @classmethod
    def read(cls, path: str | Path) -> "TestKey":
        """Reads a key.

        Raises:
            DamagedArtifactError: If the file is missing or altered.
            UserError: If it is no key, or one of a later version.
        """
        cure = "Take the file that `audioptq listen build` wrote beside the folder, unaltered."
        try:
            record = read_json(path)
        except DamagedArtifactError as error:
            raise damaged(
                path, f"it is missing, altered, or no key of a listening test ({_reason(error)})", cure
            ) from error
        if not isinstance(record, Mapping) or record.get("format") != FORMAT:
            raise UserError(f"{path} is no key of a listening test. {cure}")
        if record.get("version") != VERSION or record.get("mode") not in MODES:
            raise UserError(
                f"{path} is a key of version {record.get('version')!r} and mode {record.get('mode')!r}, which this version of "
                "audioptq does not know. Analyse it with the version that built the test."
            )
        return cls(**{name: record[name] for name in FIELDS})


def new_secret() -> str:
    """A secret that nobody can guess, not even from the seed of the test."""
    return secrets.token_hex(32)


def sign(secret: str, text: str) -> str:
    """HMAC-SHA-256 (hex) of a text; `secret` is taken as ASCII, as the page takes the stamp."""
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()


def token(secret: str, name: str) -> str:
    """A name for a file or a question that tells nothing of what it stands for."""
    return sign(secret, f"token {name}")[:TOKEN_DIGITS]


def _reason(error: Exception) -> str:
    """The first clause of an error's text, without the cure for files of the workflow."""
    return str(error).partition(": ")[2].partition(". ")[0] or str(error)
