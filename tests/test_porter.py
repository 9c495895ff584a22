"""The stemmer, on the examples that illustrate each step of the published algorithm."""

import pytest

from nearfar.porter import stem

STEPS = {
    "1a": "caresses caress, ponies poni, ties ti, caress caress, cats cat",
    "1b": "feed feed, agreed agre, plastered plaster, bled bled, motoring motor, sing sing",
    "1b after": "conflated conflat, troubled troubl, sized size, hopping hop, tanned tan, falling fall, hissing hiss, "
    "fizzed fizz, failing fail, filing file",
    "1c": "happy happi, sky sky",
    "2": "relational relat, conditional condit, rational ration, valenci valenc, digitizer digit, differentli differ, "
    "vileli vile, analogousli analog, vietnamization vietnam, predication predic, operator oper, feudalism feudal, "
    "decisiveness decis, hopefulness hope, callousness callous, formaliti formal, sensitiviti sensit, "
    "sensibiliti sensibl",
    "3": "triplicate triplic, formative form, formalize formal, electriciti electr, electrical electr, hopeful hope, "
    "goodness good",
    "4": "revival reviv, allowance allow, inference infer, airliner airlin, adjustable adjust, defensible defens, "
    "irritant irrit, replacement replac, adjustment adjust, dependent depend, adoption adopt, communism commun, "
    "activate activ, homologous homolog, effective effect, bowdlerize bowdler",
    "5": "probate probat, rate rate, cease ceas, controll control, roll roll",
    "no word": "is is, v2 v2, 2024 2024, café café, ions ion",
}


@pytest.mark.parametrize("step", STEPS)
def test_published_examples(step: str) -> None:
    for pair in STEPS[step].split(", "):
        word, expected = pair.split()
        assert stem(word) == expected, word


def test_forms_of_a_word_meet() -> None:
    assert len({stem(word) for word in ("connect", "connected", "connecting", "connection", "connections")}) == 1
