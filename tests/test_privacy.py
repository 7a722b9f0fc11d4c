import datetime
import itertools
import random
import string
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from creagen_jax.creativity import privacy
from creagen_jax.types import UserError

few = settings(max_examples=30, deadline=None)

KEY = "".join(random.Random(0).choices(string.ascii_letters + string.digits, k=200))
BLOCK = f"-----BEGIN RSA PRIVATE KEY-----\n{KEY[:64]}\n{KEY[64:100]}\n-----END RSA PRIVATE KEY-----"

FOUND = {  # no real person's: documentation ranges, published examples, random
    "access key": [
        "AKIAIOSFODNN7EXAMPLE",
        "ghp_" + KEY[:36],
        "AIza" + KEY[:35],
        "sk-" + KEY[:48],
        "sk-proj-" + KEY[:60],
        "xoxb-1234567890-" + KEY[:24],
        "hf_" + KEY[:34],
        f"eyJ{KEY[:20]}.eyJ{KEY[20:60]}.{KEY[60:90]}",
        BLOCK,
        BLOCK.partition("\n-----END")[0][:-37],  # cut off
    ],
    "URL with password": [
        "https://john:secret@example.com",
        "postgres://admin:p4ss@db.example.com:5432",
    ],
    "e-mail": [
        "john@example.com",
        "j@x.org",
        "john.doe+news@mail.example.co.uk",
        "o_neil-99@sub.example.museum",
    ],
    "coordinates": ["51.50735, -0.12776", "-33.8688,151.2093", "39.9042°N, 116.4074"],
    "IBAN": ["DE89370400440532013000", "GB29 NWBK 6016 1331 9268 19", "NO9386011117947"],
    "PRC id": ["11010519491231002X", "440524188001010014"],
    "payment card": [
        "4111111111111111",
        "4111 1111 1111 1111",
        "5555-5555-5555-4444",
        "378282246310005",
        "3782 822463 10005",
        "6011111111111117",
        "3530111333300000",
        "30569309025904",
        "2223003122003222",
        "4222222222222",
    ],
    "US SSN": ["123-45-6789"],
    "PRC mobile": ["13800138000", "+86 138 0013 8000", "138-0013-8000"],
    "IP address": [
        "203.0.113.77",
        "2001:db8::ff00:42:8329",
        "2001:0db8:85a3:0000:0000:8a2e:0370:7334",
    ],
    "phone": [
        "+1 (212) 555-0123",
        "+442079460958",
        "+49 30 1234567",
        "(212) 555-0123",
        "212-555-0123",
        "1-212-555-0123",
        "212.555.0123",
        "020 7946 0958",
        "010-12345678",
        "030/1234567",
        "01 23 45 67 89",
    ],
}
VALUES = [(kind, value) for kind, values in FOUND.items() for value in values]

NOT_FOUND = [
    "",
    "in 1984, 2001 and 2024-2025",
    "on 2024-05-17 or 17.05.2024 or 05/17/2024 at 12:30:45",
    "2024-05-17T12:30:45.123456",
    "1715945445",  # seconds
    "1715945445123",  # milliseconds
    "for $1,234,567.89 or 1.234.567,89 or 12 345 678",
    "+1.234567890 and +3.14159265",
    "3.14159 and 2.71828",
    "scores of 0.1234, 0.5678",
    "a vector 12.3456, 45.6789, 78.1234, 12.3456",
    "version 1.2.3.4, v1.2.3.4, 1.2.3 and 10.4.1-rc2",
    "127.0.0.1, 0.0.0.0, ::1 and 255.255.255.0",
    "999.1.1.1 and 1.2.3.456 and 1.2.3.4.5",
    "std::vector, a::b::c, 00:1A:2B:3C:4D:5E",
    "ISBN 978-0-306-40615-7, 0-306-40615-2, 9780306406157; ISSN 0317-8471",
    "DOI 10.1038/nphys1170, arXiv:2305.12345",
    "icon@2x.png, name@1.2.3, @john, a@b, john@localhost",
    "https://example.com/a:b@c",
    "the class sk-toggleable-content-label-arrow",
    "the key internationalization_of_everything_there_is",
    "token = aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa1",
    "123-45-67890, 000-12-3456, 666-12-3456, 900-12-3456, 123-00-4567, 123-45-0000",
    "12800138000 and 138001380001",
    "112-555-0123, 212-155-0123, 555-0123",
    "1234 5678 9012 3456 and 9999999999999995",
    "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16",
    "be5f6c1e-7a4d-4f5e-9c3b-2a1d0e9f8b7c",
]


@pytest.mark.parametrize(("kind", "value"), VALUES)
@pytest.mark.parametrize("sentence", ["{}", "It is {}.", "({}), and", "我的是{}。", "a\n{}\nb"])
def test_each_form_is_found(kind, value, sentence):
    text = sentence.format(value)
    (hit,) = privacy.screen(["nothing", text])
    assert (hit.kind, hit.item, text[hit.start : hit.stop]) == (kind, 1, value)
    assert privacy.screen([text], kinds=[kind]) == [
        privacy.Hit(kind, 0, hit.start, hit.stop, hit.masked)
    ]
    assert privacy.screen([text], kinds=[]) == []


@pytest.mark.parametrize("text", NOT_FOUND)
def test_other_text_is_left_alone(text):
    assert [text[hit.start : hit.stop] for hit in privacy.screen([text])] == []


@pytest.mark.parametrize("word", ['api_key = "{}"', "SECRET_ACCESS_KEY={}", "Bearer {}"])
@pytest.mark.parametrize("value", [KEY[:40], "9f86d081884c7d659a2feaa0c55ad015"])
def test_a_random_word_after_the_word_key_is_a_secret(word, value):
    text = word.format(value)
    (hit,) = privacy.screen([text])
    assert (hit.kind, text[hit.start : hit.stop]) == ("secret", value)
    assert privacy.screen([value]) == []  # a hash, a token of another kind


# --- check digits --------------------------------------------------------------------------------


def others(value, place):
    """The value with each other digit at one place."""
    return [value[:place] + d + value[place + 1 :] for d in string.digits if d != value[place]]


def assert_only(kind, value, place):
    assert [hit.kind for hit in privacy.screen([value])] == [kind]
    for wrong in others(value, place):
        assert privacy.screen([wrong], kinds=[kind]) == []


@few
@given(digits=st.text("0123456789", min_size=14, max_size=14), place=st.integers(1, 15))
def test_a_card_has_the_right_luhn_digit(digits, place):
    body = "4" + digits
    total = sum(sum(divmod(int(d) * (2 - i % 2), 10)) for i, d in enumerate(body))
    assert_only("payment card", body + str(-total % 10), place)


@few
@given(account=st.text("0123456789", min_size=18, max_size=18), place=st.integers(2, 21))
def test_an_iban_has_the_right_check_digits(account, place):
    check = 98 - int(f"{account}131400") % 97  # D is 13, E is 14
    assert_only("IBAN", f"DE{check:02}{account}", place)


@few
@given(
    born=st.dates(datetime.date(1900, 1, 1), datetime.date(2024, 12, 31)),
    number=st.integers(0, 999),
    place=st.integers(2, 16),
)
def test_a_prc_id_has_a_date_and_the_right_check_digit(born, number, place):
    body = f"110105{born:%Y%m%d}{number:03}"
    weights = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2]  # as printed in the standard
    remainder = sum(int(d) * w for d, w in zip(body, weights, strict=True)) % 11
    assert_only("PRC id", body + "10X98765432"[remainder], place)


def test_a_prc_id_has_a_day_of_the_calendar():
    for month_and_day in ("0230", "1301", "0431"):
        body = f"1101051990{month_and_day}002"
        assert privacy.screen([body + d for d in "0123456789X"], kinds=["PRC id"]) == []


@pytest.mark.parametrize("value", ["FR1420041010050500013M0260", "GB29NWBK601613319268199"])
def test_an_iban_has_the_length_of_its_country(value):
    assert privacy.screen([value], kinds=["IBAN"]) == []


# --- masks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "value"), VALUES)
def test_a_mask_hides_the_value_and_keeps_its_length(kind, value):
    masked = privacy.mask(kind, value)
    assert len(masked) == len(value)
    assert masked != value
    shown = sum(a == b and a.isalnum() for a, b in zip(masked, value, strict=True))
    assert shown <= sum(c.isalnum() for c in value) / 2 + 2
    assert privacy.screen([masked]) == []


def test_masks_are_those_that_people_know():
    assert privacy.mask("e-mail", "john@example.com") == "j***@e******.com"
    assert privacy.mask("payment card", "4111 1111 1111 1111") == "**** **** **** 1111"
    assert privacy.mask("IP address", "203.0.113.77") == "203.*.***.**"
    assert privacy.mask("URL with password", "ftp://me:pass@host.org") == "ftp://**:****@********"
    assert privacy.mask("coordinates", "51.50735, -0.12776") == "51.*****, -0.*****"
    assert privacy.mask("access key", "AKIAIOSFODNN7EXAMPLE") == "AKIA****************"


pieces = st.one_of(
    st.sampled_from([value for _, value in VALUES]), st.text("a1 .,:@-+/\n大", max_size=6)
)


@few
@given(texts=st.lists(st.lists(pieces, max_size=6).map(" ".join), max_size=4))
def test_a_masked_text_holds_no_personal_data(texts):
    hits = privacy.screen(texts)
    assert hits == sorted(hits, key=lambda hit: (hit.item, hit.start))
    for item, text in enumerate(texts):
        own = [hit for hit in hits if hit.item == item]
        assert all(a.stop <= b.start for a, b in itertools.pairwise(own))
        masked = privacy.mask_text(text, own)
        assert len(masked) == len(text)
        for hit in own:
            assert text[hit.start : hit.stop] not in masked
            assert text[hit.start : hit.stop] not in repr(hit)
        assert privacy.mask_text(text, []) == text


def test_an_unknown_kind_is_named():
    with pytest.raises(UserError, match="email"):
        privacy.screen(["a"], kinds=["email"])


def test_a_value_is_masked_wherever_it_occurs():
    text = "a@example.com, xa@example.com1"
    hits = privacy.screen([text])
    assert [hit.start for hit in hits] == [0]
    assert privacy.mask_text(text, hits) == "*@e******.com, x*@e******.com1"


def test_where_two_kinds_overlap_one_is_kept():
    text = "see https://john:doe@example.com or +8613800138000"
    assert [hit.kind for hit in privacy.screen([text])] == ["URL with password", "PRC mobile"]
    assert [hit.kind for hit in privacy.screen([text], kinds=["e-mail"])] == ["e-mail"]


# --- tracing -------------------------------------------------------------------------------------


def test_a_hit_is_leaked_rare_or_invented():
    train = ["write to a@example.com"] * 6 + ["or b@example.com, 4111-1111-1111-1111"] + ["x"] * 9
    generated = ["a@example.com and b@example.com", "4111111111111111", "c@example.com"]

    def documents_with(text):
        return sum(text in document for document in train)

    traced = privacy.trace(privacy.screen(generated), generated, documents_with=documents_with)
    assert [(hit.status, hit.documents) for hit in traced] == [
        ("leaked", 6),
        ("rare", 1),
        ("rare", 1),  # spelled in another way
        ("invented", 0),
    ]
    assert [hit.hit.item for hit in traced] == [0, 0, 1, 2]
    assert privacy.trace([], [], documents_with=documents_with) == []


@pytest.mark.parametrize(("documents", "status"), [(0, "invented"), (1, "rare"), (5, "rare")])
def test_up_to_five_documents_are_rare(documents, status):
    hits = privacy.screen(["a@example.com"])
    (traced,) = privacy.trace(hits, ["a@example.com"], documents_with=lambda text: documents)
    assert traced.status == status


@pytest.mark.parametrize(
    "unit", ["1", "1 ", "a.", "a@", "+1 ", "ab:", "key ", "-eyJ", "x://y:", "A"]
)
def test_no_text_takes_long(unit):
    start = time.perf_counter()
    assert privacy.screen([unit * (50_000 // len(unit))]) == []
    assert time.perf_counter() - start < 2  # 0.03 s, but for backtracking
