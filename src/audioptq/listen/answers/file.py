"""The file of answers that a listener hands in, read with the suspicion that a file from anyone deserves."""

import hmac
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from audioptq.errors import UserError
from audioptq.listen.key import TestKey, sign
from audioptq.listen.plan import ABX, MUSHRA

FORMAT, VERSION = "audioptq-listening-answers", 1
# A test of a hundred questions with twelve clips each is 200 kB.
MAX_BYTES = 4_000_000
MAX_NAME, MAX_COMMENT = 80, 2000
FIELDS = {
    "test": str,
    "stamp": str,
    "mode": str,
    "listener": dict,
    "simulated": bool,
    "started": str,
    "saved": str,
    "complete": bool,
    "comment": str,
    "order": list,
    "answers": list,
}


class AnswersError(UserError):
    """Answers that cannot be counted; the text says why, in a sentence for whoever collects them."""


@dataclass(frozen=True)
class Answers:
    """What one listener handed in.

    Attributes:
        record: As it came, without the checksum and the server's receipt.
        source: The file it came in, with the line where a file holds several.
        received: Whether a server of this test's key signed for it.
    """

    record: Mapping[str, Any]
    source: str = ""
    received: bool = False

    @property
    def listener(self) -> str:
        """The listener's id, which the page drew at random."""
        return str(self.record["listener"]["id"])

    @property
    def name(self) -> str:
        """What the listener called themselves: anything at all."""
        return str(self.record["listener"]["name"])

    @property
    def n_values(self) -> int:
        """How many single judgements it holds."""
        return sum(len(answer.get("values", ("choice",))) for answer in self.record["answers"])

    def same_as(self, other: "Answers") -> bool:
        """Whether both hold the same judgements and comment, whenever they were saved."""
        return all(self.record[name] == other.record[name] for name in ("answers", "comment", "listener"))


def canonical(record: Any) -> str:
    """The one text of a record that checksums are made of: keys sorted, no blanks, as the page writes it."""
    return json.dumps(record, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def parse(content: bytes | str, source: str = "the answers") -> dict[str, Any]:
    """JSON of answers as it came, with its form checked and nothing else.

    Raises:
        AnswersError: If it is too large, no JSON, no answers, or holds a number that is not whole.
    """
    if len(content) > MAX_BYTES:
        raise AnswersError(f"{source} is too large for answers, which have at most {MAX_BYTES:,} bytes.")
    try:
        record = json.loads(content, parse_float=_no_float, parse_constant=_no_float)
        canonical(record).encode()  # half a surrogate pair fits no checksum
    except (ValueError, RecursionError) as error:
        raise AnswersError(f"{source} is no file of answers: {error or 'it is nested too deeply'}.") from error
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise AnswersError(f"{source} is no file of answers of a listening test.")
    if record.get("version") != VERSION:
        raise AnswersError(
            f"{source} is of version {record.get('version')!r}, which this version of audioptq does not know."
        )
    for name, kind in FIELDS.items():
        if not isinstance(record.get(name), kind):
            raise AnswersError(f"{source} has no {name!r}, or not as the page writes it: it was altered.")
    return record


def check(record: Mapping[str, Any], stamp: str, source: str = "the answers") -> dict[str, Any]:
    """Checks that answers belong to a test and are as the page wrote them; returns them without checksum and receipt.

    Args:
        record: Of `parse`.
        stamp: Of the test.
        source: For the error.

    Raises:
        AnswersError: If they belong to another test or were altered.
    """
    if not hmac.compare_digest(str(record["stamp"]).encode(), stamp.encode()):
        raise AnswersError(
            f"{source} belongs to another test ({record['test'][:20]!r}): analyse it with that test's key."
        )
    body = {name: value for name, value in record.items() if name not in ("checksum", "receipt")}
    if not hmac.compare_digest(str(record.get("checksum")).encode(), sign(stamp, canonical(body)).encode()):
        raise AnswersError(
            f"{source} was altered after the listener saved it: its checksum does not fit. Ask for the original."
        )
    listener = body["listener"]
    texts = [(listener.get("id"), MAX_NAME), (listener.get("name"), MAX_NAME), (body["comment"], MAX_COMMENT)]
    if any(not isinstance(text, str) or len(text) > longest for text, longest in texts) or not listener["id"]:
        raise AnswersError(f"{source} has a name or a comment as the page does not write them.")
    return body


def check_against(body: Mapping[str, Any], key: TestKey, source: str = "the answers") -> None:
    """Checks every judgement against the key's questions.

    Raises:
        AnswersError: If a question, a clip or a value is none of the test, or a question is answered twice.
    """
    seen = set()
    for answer in body["answers"]:
        name = str(answer.get("question")) if isinstance(answer, dict) else ""
        if not name or name in seen:
            raise AnswersError(f"{source} answers a question twice, or not as the page does.")
        seen.add(name)
        try:
            question = key.question(name)
        except KeyError:
            raise AnswersError(f"{source} answers a question that the test does not ask.") from None
        if not (_fits_abx(answer, question) if key.mode == ABX else _fits_rating(answer, question, key.mode)):
            raise AnswersError(
                f"{source} holds a judgement that the page does not offer, or of a clip that the test does not play."
            )


def _fits_abx(answer: Mapping[str, Any], question: Mapping[str, Any]) -> bool:
    pair = sorted(str(answer.get(place)) for place in ("a", "b"))
    return pair == question["pair"] and answer.get("x") in question["x"] and answer.get("choice") in ("a", "b")


def _fits_rating(answer: Mapping[str, Any], question: Mapping[str, Any], mode: str) -> bool:
    values, (low, high) = answer.get("values"), (0, 100) if mode == MUSHRA else (1, 5)
    if not isinstance(values, dict) or not values or not set(values) <= set(question["rated"]):
        return False
    return all(type(value) is int and low <= value <= high for value in values.values())


def read_answers(path: str | Path, key: TestKey) -> Iterator[Answers | AnswersError]:
    """Answers of a file: one listener's, or a server's file with a line for each (`.jsonl`). What cannot be counted is its error."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            if path.suffix != ".jsonl":
                yield _checked(file.read(MAX_BYTES + 1), str(path), key)
                return
            for number, line in enumerate(_lines(file), 1):
                if line.strip():
                    yield _checked(line, f"{path}, line {number}", key)
    except OSError as error:
        yield AnswersError(f"{path} cannot be read: {error.strerror}.")


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Lines of a file; of one that is too long for answers, only so much as shows it."""
    while line := file.readline(MAX_BYTES + 1):
        part = line
        while not part.endswith(b"\n") and (part := file.readline(MAX_BYTES)):
            pass
        yield line


def _checked(content: bytes, source: str, key: TestKey) -> Answers | AnswersError:
    try:
        record = parse(content, source)
        body = check(record, key.stamp, source)
        check_against(body, key, source)
    except AnswersError as error:
        return error
    receipt = str(record.get("receipt", ""))
    received = hmac.compare_digest(receipt.encode(), key.receipt(canonical(body)).encode())
    if receipt and not received:
        return AnswersError(f"{source} was altered after the server took it in: its receipt does not fit.")
    return Answers(body, source, received)


def _no_float(text: str) -> float:
    raise ValueError(f"it holds the number {text[:20]}, and answers hold whole numbers alone")
