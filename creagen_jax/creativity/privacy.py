"""Personal data in text: found by form and check digits, traced to the training data, masked.

What a form can tell: addresses of mail and of machines, keys, telephone, card and account numbers,
national ids of the US and the PRC, coordinates. Names and street addresses have no form, and a
number without check digits may be something else: this is a screen, no proof. Raw values are never
stored: a hit is a place and a masked value.
"""

from __future__ import annotations

import dataclasses
import datetime
import ipaddress
import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import NamedTuple

from creagen_jax.types import UserError

RARE = 5  # documents: what a model repeats from no more is eidetic (Carlini et al., 2021, def. 2)


@dataclasses.dataclass(frozen=True)
class Hit:
    """A piece of personal data: texts[item][start:stop]."""

    kind: str
    item: int
    start: int
    stop: int
    masked: str


@dataclasses.dataclass(frozen=True)
class TracedHit:
    """A hit, and the number of training documents that it stands in."""

    hit: Hit
    documents: int

    @property
    def status(self) -> str:
        """In no document: "invented"; in up to `RARE`, which is worst: "rare"; else "leaked"."""
        if self.documents == 0:
            return "invented"
        return "rare" if self.documents <= RARE else "leaked"


def screen(texts: Sequence[str], *, kinds: Collection[str] | None = None) -> list[Hit]:
    """The personal data in each text, in order; of the kinds named, or of all `KINDS`.

    Where two overlap, the kind that stands first in `KINDS` is kept. Raises UserError for an
    unknown kind.
    """
    if unknown := set(kinds or ()) - set(KINDS):
        raise UserError(f"no kind {sorted(unknown)} of personal data; choose from {list(KINDS)}")
    chosen = {name: kind for name, kind in KINDS.items() if kinds is None or name in kinds}
    hits = []
    for item, text in enumerate(texts):
        taken = bytearray(len(text))
        for name, kind in chosen.items():
            for match in kind.pattern.finditer(text):
                start, stop = match.span(kind.pattern.groups)
                value = text[start:stop]
                if not any(taken[start:stop]) and kind.valid(value):
                    taken[start:stop] = b"\1" * (stop - start)
                    hits.append(Hit(name, item, start, stop, mask(name, value)))
    return sorted(hits, key=lambda hit: (hit.item, hit.start))


def mask(kind: str, value: str) -> str:
    """The value with stars for most of its characters: j***@e******.com, **** **** **** 1111.

    It keeps its length, so that places in a masked text are those of the text.
    """
    return KINDS[kind].hidden.sub(lambda match: "*" * len(match[0]), value)


def mask_text(text: str, hits: Iterable[Hit]) -> str:
    """The text with what `screen` found in it masked, wherever it occurs. It keeps its length."""
    masks = {text[hit.start : hit.stop]: hit.masked for hit in hits}
    for value in sorted(masks, key=len, reverse=True):
        text = text.replace(value, masks[value])
    return text


def trace(
    hits: Iterable[Hit], texts: Sequence[str], *, documents_with: Callable[[str], int]
) -> list[TracedHit]:
    """Looks up in the training data what was hit in `texts`.

    `documents_with` says how many training documents contain a string. Numbers are looked up as
    they are, without separators and in groups of four; the spelling found most often counts.
    """
    values = ((hit, texts[hit.item][hit.start : hit.stop]) for hit in hits)
    return [
        TracedHit(hit, max(documents_with(spelling) for spelling in _spellings(hit.kind, value)))
        for hit, value in values
    ]


def _spellings(kind: str, value: str) -> set[str]:
    if kind not in NUMBERS:
        return {value}
    plain = re.sub(r"[^\w+]", "", value)
    groups = re.findall(".{1,4}", plain)
    return {value, plain, " ".join(groups), "-".join(groups)}


# --- kinds -------------------------------------------------------------------------------------


class Kind(NamedTuple):
    """One form of personal data."""

    pattern: re.Pattern  # the value is its group, if it has one
    hidden: re.Pattern  # the parts of a value that a mask hides
    valid: Callable[[str], bool] = bool


def _digits(value: str) -> str:
    return re.sub(r"\D", "", value)


def _entropy(value: str) -> float:
    """Bits a character."""
    shares = [number / len(value) for number in Counter(value).values()]
    return -sum(share * math.log2(share) for share in shares)


def _is_key(value: str) -> bool:
    """A word that happens to begin like a key, as a CSS class does, has no digits."""
    return value.startswith("-----") or bool(re.search(r"\d", value))


def _is_secret(value: str) -> bool:
    """Letters and digits at random: 4 bits a character, or 3 of the 4 of a hexadecimal digit."""
    mixed = re.search(r"\d", value) and re.search("[A-Za-z]", value)
    least = 3.0 if re.fullmatch("[0-9A-Fa-f]+", value) else 4.0
    return bool(mixed) and _entropy(value) >= least


def _is_email(value: str) -> bool:
    """Not icon@2x.png."""
    return value.rpartition(".")[2].lower() not in {"png", "jpg", "jpeg", "gif", "svg", "webp"}


def _is_coordinates(value: str) -> bool:
    """Latitude and longitude in degrees, and not two small numbers."""
    latitude, longitude = (abs(float(number)) for number in re.findall(r"\d+\.\d+", value))
    return latitude <= 90 and longitude <= 180 and max(latitude, longitude) >= 1


def _is_iban(value: str) -> bool:
    """ISO 13616: mod 97 is 1 when the first four characters stand last and A is 10."""
    plain = re.sub(r"\W", "", value)
    return int("".join(str(int(c, 36)) for c in plain[4:] + plain[:4])) % 97 == 1


def _is_prc_id(value: str) -> bool:
    """GB 11643: a date, and a check digit by ISO 7064 MOD 11-2, X for 10."""
    try:
        datetime.date(int(value[6:10]), int(value[10:12]), int(value[12:14]))
    except ValueError:
        return False
    total = sum(int(digit) * pow(2, 17 - i, 11) for i, digit in enumerate(value[:17]))
    return value[17].upper() == "10X98765432"[total % 11]


def _is_card(value: str) -> bool:
    """An issuer's prefix and length, and Luhn's check digit (ISO/IEC 7812)."""
    digits = _digits(value)
    doubled = [int(digit) * (1 + i % 2) for i, digit in enumerate(reversed(digits))]
    return bool(ISSUERS.fullmatch(digits)) and sum(d - 9 * (d > 9) for d in doubled) % 10 == 0


def _is_ip(value: str) -> bool:
    """Not a netmask, nor the machine's own address."""
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        return False
    return not (address.is_loopback or address.is_unspecified or address.is_reserved)


def _is_phone(value: str) -> bool:
    """Of international form, 9 to 15 digits (E.164), and no decimal number."""
    decimal = re.fullmatch(r"\+\d+\.\d+", value)
    return value[0] != "+" or (9 <= len(_digits(value)) <= 15 and not decimal)


ISSUERS = re.compile(
    r"4\d{12}(?:\d{3}){0,2}"  # Visa
    r"|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}"  # Mastercard
    r"|3[47]\d{13}"  # American Express
    r"|3(?:0[0-5]|[689]\d)\d{11,16}"  # Diners Club
    r"|35(?:2[89]|[3-8]\d)\d{12,15}"  # JCB
    r"|6(?:011|4[4-9]\d|5\d\d)\d{12,15}"  # Discover
    r"|62\d{14,17}"  # UnionPay
)

IBAN_COUNTRIES = {  # by length, as in the registry of ISO 13616
    15: "NO",
    16: "BE",
    18: "DK FI FK FO GL NL SD",
    19: "MK SI",
    20: "AT BA EE KZ LT LU MN XK",
    21: "CH HR LI LV",
    22: "BG BH CR DE GB GE IE ME RS VA",
    23: "AE GI IL IQ OM SO TL",
    24: "AD CZ ES MD PK RO SA SE SK TN VG",
    25: "LY PT ST",
    26: "IS TR",
    27: "BI DJ FR GR IT MC MR SM",
    28: "AL AZ BY CY DO GT HN HU LB NI PL SV",
    29: "BR EG PS QA UA",
    30: "JO KW MU YE",
    31: "MT SC",
    32: "LC",
    33: "RU",
}
_IBAN = "|".join(
    rf"(?:{countries.replace(' ', '|')})\d\d(?:[ -]?[A-Z0-9]){{{length - 4}}}"
    for length, countries in IBAN_COUNTRIES.items()
)

NUMBERS = {"IBAN", "PRC id", "payment card", "US SSN", "PRC mobile", "phone"}


def _all_but(last: int) -> str:
    return rf"[^\W_](?=(?:[\W_]*[^\W_]){{{last}}})"


def _kind(pattern: str, hidden: str, valid: Callable[[str], bool] = bool) -> Kind:
    # Digits and letters are those of ASCII, so that a Chinese character next to a number ends it.
    return Kind(re.compile(pattern, re.ASCII), re.compile(hidden, re.ASCII | re.DOTALL), valid)


KINDS = {
    "access key": _kind(
        r"-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----"
        r"(?:(?s:.){0,9999}?-----END [A-Z ]{0,20}PRIVATE KEY-----|(?:\s*[A-Za-z0-9+/=]{40,76})*)"
        r"|(?<![A-Za-z0-9])(?:A[KS]IA[A-Z0-9]{16}|AIza[\w-]{35}|gh[pousr]_[A-Za-z0-9]{36,255}"
        r"|github_pat_\w{36,255}|glpat-[\w-]{20,50}|xox[a-z]-[\w-]{10,250}|hf_[A-Za-z0-9]{34}"
        r"|[sr]k_live_[A-Za-z0-9]{16,99}|sk-[\w-]{20,250}"
        r"|eyJ[\w-]{10,2000}\.eyJ[\w-]{10,2000}\.[\w-]{10,2000})(?![A-Za-z0-9])",
        r"(?<=.{4})\S",
        _is_key,
    ),
    "secret": _kind(
        r"(?i:key|secret|token|passwo?r?d|pwd|auth|bearer)[\w-]{0,20}[\"']?\s{0,3}[:=\s]\s{0,3}"
        r"[\"']?([A-Za-z0-9+/_-]{32,250}={0,2})(?![\w+/-])",
        r"(?<=.{4})\S",
        _is_secret,
    ),
    "URL with password": _kind(
        r"(?<![A-Za-z0-9])[A-Za-z][A-Za-z0-9+.-]{0,20}://"
        r"[^\s/?#:@\"'<>]{1,100}:[^\s/?#@\"'<>]{1,100}@[A-Za-z0-9.-]{0,250}[A-Za-z0-9](?::\d+)?",
        r"[^/:@](?=[^/]*$)",
    ),
    "e-mail": _kind(
        r"(?<![\w.%+-])[\w.%+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![A-Za-z0-9])",
        r"^.(?=@)|(?<!^)(?<!@)[^@](?=.*\.)",
        _is_email,
    ),
    "coordinates": _kind(
        r"(?<![\w.,])(?<!, )[-+]?\d{1,2}\.\d{4,15}°?\s?[NS]?\s?[,;]\s?"
        r"[-+]?\d{1,3}\.\d{4,15}(?!\d|\.\d|\s?,\s?[-+]?\d)",
        r"(?<=\.)\d+",
        _is_coordinates,
    ),
    "IBAN": _kind(rf"(?<!\w)(?=[A-Z]{{2}}\d\d)(?:{_IBAN})(?!\w)", _all_but(2), _is_iban),
    "PRC id": _kind(
        r"(?<!\w)(?:1[1-5]|2[1-3]|3[1-7]|4[1-6]|5[0-4]|6[1-5]|71|8[1-3])\d{4}"  # place
        r"(?:18|19|20)\d\d[01]\d[0-3]\d\d{3}[\dXx](?!\w)",  # date, number, check digit
        _all_but(2),
        _is_prc_id,
    ),
    "payment card": _kind(
        r"(?<![\w.,+-])(?:\d{13,19}|\d{4}(?:[ -]\d{4}){2,3}(?:[ -]\d{1,4})?"
        r"|\d{4}[ -]\d{6}[ -]\d{4,5})(?!\w|[.,-]\d)",
        _all_but(4),
        _is_card,
    ),
    "US SSN": _kind(
        r"(?<![\w.-])(?!000|666|9)\d{3}-(?!00)\d\d-(?!0000)\d{4}(?!\w|[.-]\w)", _all_but(2)
    ),
    "PRC mobile": _kind(
        r"(?<![\w.,+-])(?:\+?86[ -]?)?1[3-9]\d[ -]?\d{4}[ -]?\d{4}(?!\w|[.,-]\d)", _all_but(2)
    ),
    "IP address": _kind(
        r"(?<![\w.:-])(?<!ersion )(?:\d{1,3}\.){3}\d{1,3}(?!\w|[.-]\d)"
        r"|(?<![\w.:])(?:[0-9A-Fa-f]{0,4}:){3,7}(?:[0-9A-Fa-f]{1,4})?(?![\w:])",
        r"(?<=[.:])[^.:]+",
        _is_ip,
    ),
    "phone": _kind(
        r"(?<![\w+.,/-])(?:"
        r"\+[1-9](?:[ ().-]{0,2}\d){7,14}"
        r"|(?:1[ .-]?)?\([2-9]\d\d\) ?[2-9]\d\d[ .-]\d{4}"  # North America
        r"|(?:1-)?[2-9]\d\d-[2-9]\d\d-\d{4}|(?:1\.)?[2-9]\d\d\.[2-9]\d\d\.\d{4}"
        r"|(?:0\d{2,4}|\(0\d{2,4}\))[ /-](?:\d{3,4}[ -]\d{3,4}|\d{6,8})"  # UK, PRC, Germany
        r"|0[1-9](?:[ .]\d\d){4}"  # France
        r")(?!\w|[.,/-]\d)",
        _all_but(2),
        _is_phone,
    ),
}
