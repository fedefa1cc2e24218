"""Builds a listening test: a folder for listeners, and beside it the key that says which file is which."""

import base64
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audioptq.errors import UserError
from audioptq.files.artifacts import write_text
from audioptq.listen.key import TestKey, new_secret, token
from audioptq.listen.page.render import render
from audioptq.listen.plan import HEAR_SECONDS, RATING, anchors_for, public_plan, questions_of
from audioptq.listen.stimuli.anchors import ANCHORS_HZ
from audioptq.listen.stimuli.choose import check_prompts, choose_prompts, choose_recipes
from audioptq.listen.stimuli.finished_run import BASELINE, open_run
from audioptq.listen.stimuli.prepare import flac, prepare_clips

DEFAULT_REPEATS = {"rating": 1, "mushra": 1, "abx": 3}
DEFAULT_PROMPTS = 5
PLAN_STARTS, PLAN_ENDS = '<script type="application/json" id="plan">', "</script>"
SAME_TIME = 946_684_800  # 2000-01-01, which zip files can hold


@dataclass(frozen=True)
class TestSettings:
    """What a test is built from; what is None is chosen.

    Attributes:
        mode: `rating`, `mushra` or `abx`.
        recipes: Beside full precision.
        prompts: Ids.
        n_prompts: How many to choose where `prompts` is empty.
        repeats: How often each question is asked.
        seed: Of the choice of prompts.
        title: Shown to listeners: it must not name a recipe.
        model: Needed if the run has several.
        noise_seed: Seed of the clips.
    """

    __test__ = False

    mode: str = RATING
    recipes: Sequence[str] = ()
    prompts: Sequence[str] = ()
    n_prompts: int = DEFAULT_PROMPTS
    repeats: int | None = None
    seed: int = 0
    title: str = "Listening test"
    model: str | None = None
    noise_seed: int | None = None


def key_path(folder: str | Path) -> Path:
    """Where the key of a folder lies: beside it, so that handing the folder out does not hand out the key."""
    return beside(folder, ".key.json")


def beside(folder: str | Path, ending: str) -> Path:
    """A file beside a folder with the folder's name and an ending; the folder may be given as `.`."""
    path = Path(folder)
    path = path if path.name not in ("", "..") else path.resolve()
    return path.with_name(f"{path.name}{ending}")


def build_test(
    results: str | Path, folder: str | Path, settings: TestSettings, say: Callable[[str], object] = print
) -> TestKey:
    """Builds a listening test from a finished run.

    Args:
        results: The config's `results`.
        folder: To make; its key goes to `key_path(folder)`.
        settings: What is asked about, and how.
        say: Called with each fact that the one who builds should know.

    Raises:
        UserError: If the folder or its key is there already, or the run lacks what is asked for.
        DamagedArtifactError: If a clip or a table of the run is damaged.
    """
    folder = Path(folder)
    for there in (folder, key_path(folder)):
        if there.exists():
            raise UserError(
                f"{there} exists already. Answers fit only the test that they were given in: name another folder, or remove "
                "this one and its key if nobody has answered yet."
            )
    run = open_run(results, settings.recipes, settings.model, settings.noise_seed)
    recipes = [BASELINE, *(dict.fromkeys(r for r in settings.recipes or choose_recipes(run) if r != BASELINE))]
    if len(recipes) == 1:
        raise UserError(f"There is nothing to compare {BASELINE} with: name another recipe with --recipes.")
    if settings.prompts:
        prompts = check_prompts(run, recipes, settings.prompts)
    else:
        prompts = choose_prompts(run, recipes, settings.n_prompts, settings.seed)
    rates = {int(run.clips[BASELINE][clip_id]["sample_rate"]) for clip_id in prompts}
    anchors, left_out = anchors_for(settings.mode, min(rates))
    for name in left_out:
        say(f"{name} is left out: {min(rates)} Hz holds nothing above {ANCHORS_HZ[name]:g} Hz to take away.")
    unusable = {recipe: len(run.unusable(recipe)) for recipe in recipes}
    for recipe, n in unusable.items():
        if n:
            say(
                f"{recipe}: {n} of {len(run.clips[recipe])} clips are silent or not finite. Nobody is asked about them."
            )
    repeats = settings.repeats or DEFAULT_REPEATS[settings.mode]
    questions = questions_of(settings.mode, prompts, recipes, repeats, anchors)
    secret = new_secret()
    captions = run.prompts.set_index("clip_id")["caption"].loc[prompts].astype(str).to_dict()
    plan, slots = public_plan(settings.mode, questions, lambda name: token(secret, name), captions)
    facts = {
        "model": run.model,
        "noise_seed": run.seed,
        "seed": settings.seed,
        "repeats": repeats,
        "title": settings.title,
        "unusable_clips": unusable,
        "clips_of_the_run": len(run.clips[BASELINE]),
        "anchors": anchors,
    }
    clips, audio = prepare_clips(run, prompts, recipes, anchors, slots)
    key = TestKey(token(secret, "test")[:12], secret, settings.mode, recipes, plan, clips, captions, facts)
    _write(key, audio, folder)
    say(f"{folder}: {len(plan)} questions over {len(prompts)} prompts, {_megabytes(folder)}. Hand out this folder.")
    say(f"{key_path(folder)}: the key. Keep it to yourself until all have answered.")
    return key


def _write(key: TestKey, audio: Mapping[str, tuple[NDArray[np.float64], int]], folder: Path) -> None:
    """Writes the key, then the folder under another name, which it gets once it is whole."""
    key.write(key_path(folder))
    unfinished = folder.with_name(f".{folder.name}.{os.getpid()}.building")
    try:
        (unfinished / "clips").mkdir(parents=True)
        for name in sorted(audio):
            content = base64.b64encode(flac(*audio[name])).decode("ascii")
            write_text(unfinished / "clips" / f"{name}.js", f"listenClip({json.dumps(name)}, {json.dumps(content)});\n")
        write_text(unfinished / "index.html", render(public_page(key)))
        for path in (*unfinished.rglob("*"), unfinished):
            os.utime(path, (SAME_TIME, SAME_TIME))  # the times of files would tell in which order they were made
        unfinished.rename(folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        key_path(folder).unlink(missing_ok=True)
        raise


def public_page(key: TestKey) -> dict[str, Any]:
    """What the page may know: questions, tokens, the stamp; no recipe."""
    return {
        "test": key.test,
        "stamp": key.stamp,
        "mode": key.mode,
        "title": key.facts["title"],
        "hear_seconds": 0 if key.mode == RATING else HEAR_SECONDS,
        "sample_rate": max(clip["sample_rate"] for clip in key.clips.values()),
        "questions": key.questions,
    }


def read_plan(folder: str | Path) -> dict[str, Any]:
    """What the page of a folder knows of its test.

    Raises:
        UserError: If the folder holds no page of a listening test.
    """
    page = Path(folder) / "index.html"
    try:
        text = page.read_text(encoding="utf-8")
        plan: dict[str, Any] = json.loads(text[text.index(PLAN_STARTS) + len(PLAN_STARTS) :].partition(PLAN_ENDS)[0])
        plan["stamp"], plan["questions"]
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"{folder} holds no listening test ({page} is missing, or was not written by `audioptq listen build`)."
        ) from error
    return plan


def _megabytes(folder: Path) -> str:
    return f"{sum(path.stat().st_size for path in folder.rglob('*') if path.is_file()) / 1e6:.1f} MB"
