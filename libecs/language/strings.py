"""What the built-in functions do to strings. Places and lengths count characters, from 0 on."""

from __future__ import annotations

import base64
import binascii

from libecs.language.values import MAX_LIST, MAX_TEXT, Value, fault

SPACE = " \t\n\v\f\r\x85\xa0"


def trim(text: str, characters: str = SPACE) -> str:
    """Remove white space, or these characters, at both ends."""
    return text.strip(characters) if characters else text


def split(text: str, separator: str, most: int = -1) -> list[Value]:
    """Cut at each `separator`, into at most `most` parts; an empty separator cuts between all characters."""
    return list(_parts(text, separator, most))


def split_after(text: str, separator: str, most: int = -1) -> list[Value]:
    """Cut behind each `separator`, which stays with the part before it."""
    parts = _parts(text, separator, most)
    return [*(part + separator for part in parts[:-1]), *parts[-1:]] if separator else list(parts)


def _parts(text: str, separator: str, most: int) -> list[str]:
    if most == 0:
        return []
    if (text.count(separator) if separator else len(text)) > MAX_LIST and not 0 < most <= MAX_LIST:
        raise fault(f"the text would have more than {MAX_LIST} parts")
    if separator:
        return text.split(separator, most - 1) if most > 0 else text.split(separator)
    if 0 < most < len(text):
        return [*text[: most - 1], text[most - 1 :]]
    return list(text)


def replace(text: str, old: str, new: str, most: int = -1) -> str:
    """Put `new` in the place of `old`, everywhere or `most` times from the left."""
    times = text.count(old)
    if most >= 0:
        times = min(times, most)
    _check_size(len(text) + times * (len(new) - len(old)))
    return text.replace(old, new, times)


def repeat(text: str, times: int) -> str:
    """Return the text `times` times."""
    if times < 0:
        raise fault(f"repeat can't repeat {times} times")
    _check_size(len(text) * times)
    return text * times if text else ""


def index_of(text: str, part: str) -> int:
    """Return where `part` stands first, -1 if nowhere."""
    return text.find(part)


def last_index_of(text: str, part: str) -> int:
    """Return where `part` stands last, -1 if nowhere."""
    return text.rfind(part)


def to_base64(text: str) -> str:
    """Return the UTF-8 bytes of a text in Base64."""
    return base64.b64encode(text.encode()).decode()


def from_base64(text: str) -> str:
    """Return the text that Base64 says."""
    try:
        return base64.b64decode(text.encode("ascii"), validate=True).decode()
    except (binascii.Error, UnicodeError):
        raise fault("this is no Base64 of a UTF-8 text") from None


def _check_size(size: int) -> None:
    if size > MAX_TEXT:
        raise fault(f"the string would have {size} characters, more than {MAX_TEXT}")
