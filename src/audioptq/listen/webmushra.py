"""Export of a listening test to webMUSHRA (Schoeffler et al., 2018): its configuration and WAV files, and none of its code."""

import base64
import html
import io
import json
from pathlib import Path
from typing import Any

import soundfile
import yaml

from audioptq.errors import UserError, damaged
from audioptq.files.artifacts import write_text
from audioptq.files.atomic import atomic_path
from audioptq.listen.build import key_path, read_plan
from audioptq.listen.key import TestKey
from audioptq.listen.plan import ABX, MUSHRA
from audioptq.listen.stimuli.finished_run import BASELINE

GRADES = ("Not at all", "A little", "Partly", "Well", "Completely")


def export(folder: str | Path, output: str | Path) -> Path:
    """Writes `configs/audioptq_<test>.yaml` and `configs/resources/audioptq_<test>/*.wav`, to be copied into webMUSHRA's folder.

    Clips keep their tokens as names, so that the key says which is which there, too. Captions are escaped: webMUSHRA shows
    them as HTML.

    Args:
        folder: Of `build_test`, with its key beside it.
        output: Folder to write into.

    Returns:
        The configuration.

    Raises:
        UserError: If the test is an ABX, for which webMUSHRA has no page with a hidden X, or the folder is damaged.
    """
    plan = read_plan(folder)
    if plan["mode"] == ABX:
        raise UserError(
            "webMUSHRA has no ABX page that hides which sound X is: its paired comparison shows an open reference. Build the test "
            "with --mode mushra or rating to export it."
        )
    key = TestKey.read(key_path(folder))
    if key.stamp != plan["stamp"]:
        raise UserError(f"{key_path(folder)} is the key of another test than {folder}.")
    name = f"audioptq_{plan['test']}"
    resources = Path(output) / "configs" / "resources" / name
    if plan["mode"] == MUSHRA:
        # webMUSHRA adds a hidden reference of its own.
        for question in plan["questions"]:
            question["rated"] = [token for token in question["rated"] if key.clips[token]["variant"] != BASELINE]
    tokens = {token for question in plan["questions"] for token in (*question["rated"], *question.get("reference", ()))}
    for token in sorted(tokens):
        audio, rate = _read(Path(folder) / "clips" / f"{token}.js", token)
        with atomic_path(resources / f"{token}.wav") as temporary:
            soundfile.write(temporary, audio, rate, format="WAV", subtype="PCM_16")
    path = Path(output) / "configs" / f"{name}.yaml"
    write_text(path, yaml.safe_dump(_config(plan, name), sort_keys=False, allow_unicode=True))
    return path


def _config(plan: dict[str, Any], name: str) -> dict[str, Any]:
    make = _mushra_page if plan["mode"] == MUSHRA else _rating_page
    files = f"configs/resources/{name}"
    return {
        "testname": plan["title"],
        "testId": name,
        "bufferSize": 2048,
        "stopOnErrors": True,
        "showButtonPreviousPage": True,
        "remoteService": "service/write.php",
        "pages": [
            ["random", *(make(question, files) for question in plan["questions"])],
            {
                "type": "finish",
                "name": "Thank you",
                "content": "Your answers are sent.",
                "showResults": False,
                "writeResults": True,
            },
        ],
    }


def _mushra_page(question: dict[str, Any], files: str) -> dict[str, Any]:
    return {
        "type": "mushra",
        "id": question["id"],
        "name": "How close is each sound to the reference?",
        "content": html.escape(question["caption"]),
        "showWaveform": False,
        "enableLooping": True,
        "strict": False,
        "reference": f"{files}/{question['reference'][0]}.wav",
        "createAnchor35": False,
        "createAnchor70": False,
        "randomize": True,
        "showConditionNames": False,
        "stimuli": {token: f"{files}/{token}.wav" for token in question["rated"]},
    }


def _rating_page(question: dict[str, Any], files: str) -> dict[str, Any]:
    return {
        "type": "likert_single_stimulus",
        "id": question["id"],
        "name": "How well does the sound match the text?",
        "content": html.escape(question["caption"]),
        "mustRate": True,
        "mustPlayback": "ended",
        "stimuli": {token: f"{files}/{token}.wav" for token in question["rated"]},
        "response": [{"value": grade, "label": label} for grade, label in enumerate(GRADES, 1)],
    }


def _read(path: Path, token: str) -> tuple[Any, int]:
    """Audio `[samples, channels]` of a clip's script, and its sample rate."""
    try:
        text = path.read_text(encoding="ascii")
        content = json.loads("[" + text.removeprefix("listenClip(").removesuffix(");\n") + "]")
        audio, rate = soundfile.read(io.BytesIO(base64.b64decode(content[1], validate=True)), always_2d=True)
    except (OSError, ValueError, IndexError, RuntimeError) as error:
        raise damaged(path, error, "Build the test anew, or take a whole copy of its folder.") from error
    return audio, int(rate)
