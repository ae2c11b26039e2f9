"""Names: of users, and of those who are attached; what is one, and how one is made up."""

import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import Final

from backchat.errors import BadUserName, InvalidParams

OWNER: Final = "local"
"""The user who comes in with the operator's token, or where nobody needs one."""
_USER: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}", re.ASCII)

MOST_NAME: Final = 40
"""The most characters of a name."""

_JOINERS: Final = "\u200c\u200d"
"""Persian, Hindi and families of emoji are written with these; all other characters that cannot be seen could make one
name look like another."""

_FILLERS: Final = " \u115f\u1160\u2800\u3164\uffa0"

_ADJECTIVES: Final = (
    "amber", "ample", "azure", "bold", "brave", "brief", "bright", "brisk", "calm", "candid", "cheery", "civil",
    "clear", "clever", "coral", "cosy", "crimson", "crisp", "curious", "deft", "dusky", "eager", "early", "fair",
    "fleet", "fond", "frank", "gentle", "glad", "golden", "green", "hardy", "hazel", "honest", "humble", "indigo",
    "ivory", "jolly", "keen", "kind", "lively", "lucky", "lunar", "mellow", "merry", "mild", "misty", "modest",
    "nimble", "noble", "olive", "patient", "placid", "plucky", "polite", "proud", "quick", "quiet", "rapid", "rosy",
    "ruby", "russet", "sage", "scarlet", "serene", "silent", "silver", "smooth", "snowy", "solar", "spry", "steady",
    "still", "subtle", "sunny", "swift", "tawny", "tender", "tidy", "violet", "vivid", "warm", "wise", "witty",
)  # fmt: skip
_ANIMALS: Final = (
    "alpaca", "badger", "beaver", "bison", "bobcat", "buzzard", "camel", "caribou", "cheetah", "chough", "cicada",
    "condor", "coot", "crane", "cricket", "curlew", "dingo", "dolphin", "dormouse", "egret", "eland", "ermine",
    "falcon", "ferret", "finch", "gannet", "gazelle", "gecko", "gibbon", "grebe", "grouse", "gull", "hare",
    "hedgehog", "heron", "hoopoe", "ibex", "ibis", "iguana", "jackdaw", "jerboa", "kestrel", "kiwi", "koala",
    "lapwing", "lark", "lemur", "linnet", "llama", "lynx", "magpie", "manatee", "marmot", "marten", "mole", "moose",
    "narwhal", "newt", "ocelot", "okapi", "oriole", "osprey", "otter", "owl", "panda", "petrel", "pigeon", "pika",
    "plover", "puffin", "quail", "rabbit", "raven", "robin", "seal", "shrew", "skink", "sparrow", "stoat", "stork",
    "swallow", "swan", "tapir", "tern", "thrush", "toucan", "turtle", "vole", "walrus", "weasel", "wombat", "wren",
)  # fmt: skip


def check_user_name(name: str) -> None:
    """Raises BadUserName."""
    if not _USER.fullmatch(name):
        raise BadUserName(name)


def checked_name(name: str) -> str:
    """A name that somebody gave, with its white space collapsed. Raises InvalidParams unless it has 1 to MOST_NAME
    characters, which can be seen."""
    collapsed = " ".join(name.split())
    if not 0 < len(collapsed) <= MOST_NAME:
        raise InvalidParams(f"A name takes 1 to {MOST_NAME} characters.")
    visible = collapsed.translate(dict.fromkeys(map(ord, _JOINERS)))
    # U+FFFD stands where a query was no UTF-8.
    if not visible.isprintable() or "\ufffd" in visible or all(map(_is_blank, visible)):
        raise InvalidParams("A name takes characters that can be seen.")
    return collapsed


def _is_blank(character: str) -> bool:
    """Whether a printable character leaves no mark of its own: fillers, the empty Braille cell, what combines."""
    return character in _FILLERS or unicodedata.category(character) in ("Mn", "Me")


def made_up_name(choose: Callable[[Sequence[str]], str]) -> str:
    """A name for somebody who gave none, like `amber heron`. `choose` picks one of some words."""
    return f"{choose(_ADJECTIVES)} {choose(_ANIMALS)}"
