"""Answers as a lab collects them: one file, a line for each listener, to which lines are only ever added."""

import json
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from audioptq.errors import UserError
from audioptq.listen.answers.file import Answers, AnswersError, canonical, check, check_against, parse
from audioptq.listen.key import TestKey, sign

MAX_SUBMISSIONS = 10_000


class DuplicateError(AnswersError):
    """The same listener's answers are there already."""


@dataclass
class Collection:
    """The file of collected answers of one test.

    Attributes:
        path: A line for each submission.
        stamp: Of the test.
        key: Of the test, if whoever serves has it: answers then get a receipt, and each judgement is checked as it comes in.
    """

    path: Path
    stamp: str
    key: TestKey | None = None
    _held: dict[str, Answers] = field(default_factory=dict)
    _count: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        """Reads what an earlier server has collected.

        Raises:
            UserError: If the file holds something else.
        """
        lines = self.path.read_bytes().splitlines() if self.path.exists() else []
        for number, line in enumerate(lines, 1):
            try:
                self._hold(Answers(check(parse(line), self.stamp)))
            except AnswersError as error:
                raise UserError(
                    f"{self.path}, line {number}, cannot be added to: {error} Move the file away; nothing in it is changed."
                ) from error

    def add(self, content: bytes) -> Answers:
        """Adds one listener's answers to the file, and returns once they are on the disk.

        Raises:
            DuplicateError: If the listener has handed in as much before.
            AnswersError: If they cannot be counted, or the file is full.
        """
        record = parse(content, "What you sent")
        body = check(record, self.stamp, "What you sent")
        if self.key is not None:
            check_against(body, self.key, "What you sent")
        answers = Answers(body)
        with self._lock:
            before = self._held.get(answers.listener)
            if before is not None and (answers.same_as(before) or answers.n_values <= before.n_values):
                raise DuplicateError("Your answers are here already. Thank you: there is nothing more to do.")
            if self._count >= MAX_SUBMISSIONS:
                raise AnswersError(f"The collection is full: {MAX_SUBMISSIONS:,} listeners are all that it takes.")
            self._append(self._signed(body))
            self._hold(answers)
        return answers

    def __len__(self) -> int:
        """How many listeners have handed in."""
        return len(self._held)

    def _hold(self, answers: Answers) -> None:
        before = self._held.get(answers.listener)
        if before is None or answers.n_values >= before.n_values:
            self._held[answers.listener] = answers
        self._count += 1

    def _signed(self, body: Mapping[str, Any]) -> bytes:
        text = canonical(body)
        record = {**body, "checksum": sign(self.stamp, text)}
        if self.key is not None:
            record["receipt"] = self.key.receipt(text)
        return json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"

    def _append(self, line: bytes) -> None:
        """One write at the end of the file: a line is there whole or not at all, whoever else writes."""
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            length = os.fstat(handle).st_size
            if os.write(handle, line) != len(line):
                os.ftruncate(handle, length)
                raise AnswersError("The disk of the server is full. Save your answers as a file.")
            os.fsync(handle)
        finally:
            os.close(handle)
