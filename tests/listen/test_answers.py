"""Files of answers, read with suspicion: each fault is a sentence, and what is right is counted."""

import json

import pytest

from audioptq.listen.analyse.judgements import gather, table_of
from audioptq.listen.answers.file import MAX_BYTES, Answers, AnswersError, check, check_against, parse, read_answers


def judge(random, variant):
    return random.randint(1, 5)


@pytest.fixture
def rating(built, tools):
    _, key = built["rating"]
    return key, tools.answers(key, judge)


def refusal(path, key):
    (found,) = read_answers(path, key)
    assert isinstance(found, AnswersError)
    return str(found)


def test_what_the_page_writes_is_taken(rating, tools, tmp_path):
    key, record = rating
    (path,) = tools.save(tmp_path, record)
    (found,) = read_answers(path, key)
    assert isinstance(found, Answers)
    assert (found.listener, found.name, found.n_values, found.received) == ("0" * 16, "simulated 0", 15, False)


def alter(change):
    def altered(record):
        record = json.loads(json.dumps(record))
        change(record)
        return record

    return altered


def first_token(record):
    return next(iter(record["answers"][0]["values"]))


ALTERED = {
    "a rating": alter(
        lambda r: r["answers"][0]["values"].update({first_token(r): 5 - r["answers"][0]["values"][first_token(r)]})
    ),
    "a name": alter(lambda r: r["listener"].update(name="somebody else")),
    "simulated": alter(lambda r: r.update(simulated=False)),
    "an answer taken away": alter(lambda r: r["answers"].pop()),
    "a further field": alter(lambda r: r.update(note="x")),
    "no checksum": alter(lambda r: r.pop("checksum")),
    "a strange checksum": alter(lambda r: r.update(checksum=["é", {}])),
}


@pytest.mark.parametrize("what", ALTERED)
def test_altered_answers_are_found(rating, tools, tmp_path, what):
    key, record = rating
    (path,) = tools.save(tmp_path, ALTERED[what](record))
    assert "was altered after the listener saved it" in refusal(path, key)


def test_answers_of_another_test_are_found(rating, built, tools, tmp_path):
    _, record = rating
    (path,) = tools.save(tmp_path, record)
    other = built["mushra"][1]
    assert f"belongs to another test ('{record['test']}')" in refusal(path, other)


# A checksum that fits, as one could make who reads the page's script: what the test does not offer is refused all the same.
FORGED = {
    "a rating of 6": alter(lambda r: r["answers"][0]["values"].update({first_token(r): 6})),
    "a rating of true": alter(lambda r: r["answers"][0]["values"].update({first_token(r): True})),
    "a text": alter(lambda r: r["answers"][0]["values"].update({first_token(r): "=1+1"})),
    "another clip": alter(lambda r: r["answers"][0].update(values={"feed" * 5: 3})),
    "no clip": alter(lambda r: r["answers"][0].update(values={})),
    "no question": alter(lambda r: r["answers"][0].update(question="feed" * 5)),
    "twice": alter(lambda r: r["answers"].append(r["answers"][0])),
    "no object": alter(lambda r: r["answers"].append(7)),
    "an endless name": alter(lambda r: r["listener"].update(name="x" * 81)),
    "an endless comment": alter(lambda r: r.update(comment="x" * 2001)),
    "a name of numbers": alter(lambda r: r["listener"].update(name=7)),
    "no id": alter(lambda r: r["listener"].update(id="")),
}


@pytest.mark.parametrize("what", FORGED)
def test_forged_answers_are_refused(rating, tools, tmp_path, what):
    key, record = rating
    (path,) = tools.save(tmp_path, tools.signed(key, FORGED[what](record)))
    assert refusal(path, key).startswith(str(path))


def test_a_forged_abx_is_refused(built, tools):
    _, key = built["abx"]
    record = tools.answers(key, lambda random, variant: True)
    check_against(check(record, key.stamp), key)
    for change in ({"choice": "c"}, {"x": record["answers"][0]["a"]}, {"a": record["answers"][0]["b"]}):
        forged = json.loads(json.dumps(record))
        forged["answers"][0] |= change
        with pytest.raises(AnswersError, match="does not offer"):
            check_against(check(tools.signed(key, forged), key.stamp), key)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "no file of answers"),
        (b"\xff\xfe", "no file of answers"),
        (b"[]", "no file of answers of a listening test"),
        (b'{"format": "audioptq-listening-answers"}', "of version None"),
        (b'{"format": "audioptq-listening-answers", "version": 1}', "has no 'test'"),
        (b'{"a": 1.5}', "holds the number 1.5"),
        (b'{"a": NaN}', "holds the number NaN"),
        (b"[" * 100_000, "no file of answers"),
        (b'{"a": ' + b"9" * 5000 + b"}", "no file of answers"),
        (b'{"a": "\\ud800"}', "no file of answers"),
        (b" " * (MAX_BYTES + 1), "too large"),
    ],
    ids=[
        "empty",
        "no text",
        "list",
        "version",
        "fields",
        "fraction",
        "nan",
        "deep",
        "long number",
        "half a pair",
        "huge",
    ],
)
def test_what_is_no_file_of_answers_is_said(built, tmp_path, content, text):
    path = tmp_path / "answers.json"
    path.write_bytes(content)
    assert text in refusal(path, built["rating"][1])
    with pytest.raises(AnswersError):
        parse(content)


def test_a_bad_line_does_not_hide_the_next(built, tools, tmp_path):
    key = built["rating"][1]
    lines = [json.dumps(tools.answers(key, judge, index)).encode() for index in range(2)]
    path = tmp_path / "all.jsonl"
    path.write_bytes(b"\n".join([lines[0], b"{broken", b"x" * (2 * MAX_BYTES + 5), b"", lines[1]]))
    found = list(read_answers(path, key))
    assert [isinstance(one, Answers) for one in found] == [True, False, False, True]
    assert "line 3" in str(found[2])
    assert "too large" in str(found[2])


def test_a_folder_that_is_not_there_is_said(built, tmp_path):
    assert "cannot be read" in refusal(tmp_path / "absent.json", built["rating"][1])


def test_half_an_answer_counts(built, tools, tmp_path):
    key = built["rating"][1]
    gathered = gather(tools.save(tmp_path, tools.answers(key, judge, questions=7)), key)
    table = table_of(gathered.answers, key)
    assert len(table) == 7
    assert not table["complete"].any()


def test_of_several_submissions_the_fullest_counts_and_none_is_lost(built, tools, tmp_path):
    key = built["rating"][1]
    full, half = tools.answers(key, judge), tools.answers(key, judge, questions=7)
    other = tools.signed(key, full | {"comment": "later", "saved": "2026-01-02T00:00:00.000Z"})
    gathered = gather(
        [
            *tools.save(tmp_path / "a", half, full, full, other),
            *tools.save(tmp_path / "b", tools.answers(key, judge, 1)),
        ],
        key,
    )
    assert [(answers.listener[-1], answers.record["comment"]) for answers in gathered.answers] == [
        ("0", "later"),
        ("1", ""),
    ]
    why = [entry["why"] for entry in gathered.set_aside]
    assert len(why) == 3
    assert sum("the same answers" in text for text in why) == 1
    assert sum("7 judgements, of which" in text for text in why) == 1
    assert sum("other answers of the same listener" in text for text in why) == 1


def test_values_in_the_table_are_the_listeners(built, tools):
    key = built["rating"][1]
    by_variant = {"fp32": 5, "w8a8_sqs": 3, "w8a8_sqd_lora": 1}
    record = tools.answers(key, lambda random, variant: by_variant[variant], name=tools.hostile[:80])
    table = table_of([Answers(check(record, key.stamp))], key)
    assert len(table) == 15
    assert (table["value"] == table["variant"].map(by_variant)).all()
    assert (table["caption"] == table["clip_id"].map(key.prompts)).all()
    assert set(table["name"]) == {tools.hostile[:80]}
    assert table["simulated"].all()


def test_an_abx_is_right_if_the_chosen_clip_is_x(built, tools):
    key = built["abx"][1]
    record = tools.answers(key, lambda random, variant: variant == "w8a8_sqs")
    table = table_of([Answers(check(record, key.stamp))], key)
    assert len(table) == 20
    assert (table["value"] == (table["variant"] == "w8a8_sqs")).all()
