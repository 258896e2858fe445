"""The one table of what each answer to a write means."""

from typing import get_args

import pytest

from curation.cluster.answers import Conflict, Created, Exists, Gone, Refused, Throttled, Unknown, Written
from curation.cluster.meaning import TABLE, Answer, Fate, Meaning, meaning

OBJ = {"metadata": {"name": "x"}}
OBJECTION = Refused(403, "Forbidden", "quota")


def test_every_answer_to_a_write_or_a_creation_is_in_the_table_and_nothing_else() -> None:
    assert set(TABLE) == set(get_args(Answer))


@pytest.mark.parametrize(
    ("answer", "meant"),
    [
        (Written(OBJ), Meaning(Fate.LANDED, obj=OBJ)),
        (Created(OBJ), Meaning(Fate.LANDED, obj=OBJ)),
        (Conflict(), Meaning(Fate.UNKNOWN, overtaken=True)),
        (Exists(), Meaning(Fate.UNKNOWN, overtaken=True)),
        (Unknown("reset"), Meaning(Fate.UNKNOWN, overtaken=True, lost="reset")),
        (Gone(), Meaning(Fate.NOT_LANDED, overtaken=True)),
        (OBJECTION, Meaning(Fate.NOT_LANDED, overtaken=True, objection=OBJECTION)),
        (Throttled(3.0), Meaning(Fate.NOT_LANDED, wait=3.0)),
    ],
)
def test_an_answer_means(answer: Answer, meant: Meaning) -> None:
    assert meaning(answer) == meant


def test_only_an_answer_that_holds_the_object_says_that_the_write_has_landed() -> None:
    answers: list[Answer] = [Written(OBJ), Created(OBJ), Conflict(), Exists(), Unknown("x"), Gone(), OBJECTION]
    for answer in (*answers, Throttled(1.0)):
        meant = meaning(answer)
        assert (meant.fate is Fate.LANDED) == (meant.obj is not None)
        assert meant.fate is not Fate.UNKNOWN or meant.overtaken, "else nothing could tell"
