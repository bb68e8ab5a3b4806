"""The contractions that the official VQA evaluation repairs, keyed by their misspelt form.

The table leaves out the original's keys with capitals ("Im", "Ive", "Id've"), because the evaluation has already put
all words in lower case.
"""

from __future__ import annotations

_ONE = """
ain't aren't can't could've couldn't didn't doesn't don't hadn't hasn't haven't he'd he's how'd
how'll how's isn't it'd it'll ma'am mightn't might've mustn't must've needn't not've o'clock
oughtn't shan't should've shouldn't somebody'll somebody's someone'd someone'll someone's
something'd something'll that's there'd there're there's they'd they'll they're they've 'twas
wasn't we've weren't what'll what're what's what've when's where'd where's where've who'd who'll
who's who've why'll why're why's won't would've wouldn't y'all you'd you'll you're you've
"""
_TWO = """
couldn't've hadn't've he'd've it'd've mightn't've she'd've shouldn't've somebody'd've someone'd've
something'd've there'd've they'd've we'd've who'd've wouldn't've y'all'll you'd've
"""
_ODD = {
    "ow's'at": "'ow's'at",
    "'ows'at": "'ow's'at",
    "'ow'sat": "'ow's'at",
    "somebody'd": "somebodyd",  # sic
    "yall'd've": "y'all'd've",
    "y'alld've": "y'all'd've",
    "y'all'dve": "y'all'd've",
}


def _without(word: str, place: int) -> str:
    """Return the word without its first (0) or last (1) apostrophe."""
    index = word.index("'") if place == 0 else word.rindex("'")
    return word[:index] + word[index + 1 :]


CONTRACTIONS = {
    **{_without(word, 0): word for word in _ONE.split()},
    **{_without(word, place): word for word in _TWO.split() for place in (0, 1)},
    **_ODD,
}
