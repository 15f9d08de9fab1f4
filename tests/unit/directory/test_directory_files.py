"""LDIF and CSV: what comes out goes in again, and what is none is told with its line."""

import csv

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta.directory import ldif, records, table
from mta.directory.passwords import make_credentials
from mta.directory.records import BadRecords, Record, scram_keys_of, scram_text, take_in
from mta.directory.records import records as everything
from mta.directory.tables import directory_path
from mta.directory.writer import DirectoryWriter
from mta.errors import DataError
from tests.harness.directory import SMALL

TEXTS = st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=90).map(str.strip)
ADDRESSES = st.sampled_from(
    ["a@x.example", "käthe@x.example", '"b, c"@x.example', '"d \\" e"@x.example', "A+b=c@y.example"]
)
SECRET = make_credentials("secret")
SCRAM = scram_text(SECRET.scram)
PEOPLE = st.builds(
    Record,
    kind=st.just("person"),
    address=ADDRESSES,
    id=st.integers(0, (1 << 64) - 2),
    further=st.lists(ADDRESSES, max_size=3),
    display_name=TEXTS,
    given_name=TEXTS,
    surname=TEXTS,
    title=TEXTS,
    department=TEXTS,
    phone=TEXTS,
    created=st.integers(0, 1 << 52),
    argon2=st.sampled_from(["", SECRET.argon2]),
    scram=st.sampled_from(["", SCRAM]),
)
GROUPS = st.builds(
    Record,
    kind=st.sampled_from(["alias", "list"]),
    address=st.one_of(ADDRESSES, st.just("@x.example")),
    targets=st.lists(ADDRESSES, max_size=4),
)
RECORDS = st.lists(st.one_of(PEOPLE, GROUPS), max_size=5)


def lines(texts):
    """As a file gives them."""
    return "".join(texts).encode().splitlines(keepends=True)


def without_lines(given_records):
    for record in given_records:
        record.line = 0
    return given_records


@given(RECORDS)
def test_ldif_comes_back_as_it_went(given_records):
    written = lines(ldif.write(given_records))
    assert all(len(line.rstrip(b"\n")) <= ldif.WIDTH for line in written)
    assert all(line.isascii() for line in written)
    assert without_lines(list(ldif.parse(written))) == given_records
    crlf = [line.replace(b"\n", b"\r\n") for line in written]
    assert without_lines(list(ldif.parse(crlf))) == given_records


@given(RECORDS)
def test_csv_comes_back_as_it_went(given_records):
    written = "".join(table.write(given_records, secrets=True)).encode()
    assert without_lines(list(table.parse(written.splitlines(keepends=True)))) == given_records


def test_csv_without_secrets_has_none():
    text = "".join(table.write([Record(address="a@x.example", argon2=SECRET.argon2, scram=SCRAM)], secrets=False))
    assert "argon2" not in text
    assert "SCRAM" not in text


def one(text):
    [record] = ldif.parse(text.encode().splitlines(keepends=True))
    return record


def test_ldif_of_others_is_read():
    record = one(
        "# from an address book\nversion: 1\n\n"
        "dn: cn=Mark Minasi,mail=mark@minasi.example\n"
        "changetype: add\n"
        "objectclass: top\nobjectclass: person\nobjectClass: mozillaAbPersonAlpha\n"
        "givenName: Mark\nsn: Minasi\ncn: Mark\n  Minasi\n"
        "mail: mark@minasi.example\nmozillaSecondEmail: m@minasi.example\n"
        "cn;lang-de: Markus\n"
        "telephoneNumber: +1 555 0100\nmodifytimestamp: 0Z\njpegPhoto:: /9j/4AAQ\n"
        "# the end\n"
    )
    assert record == Record(
        address="mark@minasi.example",
        line=4,
        further=["m@minasi.example"],
        display_name="Mark Minasi",
        given_name="Mark",
        surname="Minasi",
        phone="+1 555 0100",
    )


def test_ldif_attributes_that_are_not_kept_may_be_of_any_size_and_anywhere():
    picture = "AAAA" * ldif.VALUE_LIMIT
    folded = "\n ".join(picture[at : at + 76] for at in range(0, len(picture), 76))
    record = one(
        "\ufeffversion: 1\n\n"
        "# " + "a long remark\n " * ldif.VALUE_LIMIT + "\n"
        f"dn: cn=a\nobjectClass: person\njpegPhoto:: {folded}\nphoto:: {picture}\n"
        "userCertificate;binary:: " + "AAAA" * 20_000 + "\naudio:< file:///music/hello.au\n"
        "mail: a@x.example\n"
    )
    assert (record.address, record.display_name) == ("a@x.example", "")


def test_ldif_entries_that_are_nobody_are_passed_over():
    text = (
        b"dn: ou=people,dc=x\nobjectClass: organizationalUnit\nou: people\n\n\n\n"
        b"dn: cn=a\nobjectClass: nisMailAlias\ncn: a@x.example\n"
    )
    assert [record.address for record in ldif.parse(text.splitlines(keepends=True))] == ["a@x.example"]


@pytest.mark.parametrize(
    ("value", "password", "argon2"),
    [
        ("userPassword: secret", "secret", ""),
        ("userPassword:: c2VjcmV0", "secret", ""),
        ("userPassword: {CLEARTEXT}secret", "secret", ""),
        ("userPassword: {ARGON2}$argon2id$x", "", "$argon2id$x"),
    ],
)
def test_ldif_passwords(value, password, argon2):
    record = one(f"dn: mail=a@x.example\nobjectClass: person\nmail: a@x.example\n{value}\n")
    assert (record.password, record.argon2) == (password, argon2)


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("cn: a\n", 1, '"dn:"'),
        (" folded\n", 1, "not there"),
        ("dn: x\nnonsense\n", 2, "colon"),
        ("dn: x\n: value\n", 2, "colon"),
        ("dn: x\na b: value\n", 2, "colon"),
        ("dn: x\ncn:: !!\n", 2, "base 64"),
        ("dn: x\ncn:: /w==\n", 2, "UTF-8"),
        ("dn: x\ncn:< file:///etc/passwd\n", 2, "URL"),
        ("dn: x\ncn: a\ndn: y\n", 3, "empty line"),
        ("version: 2\n\ndn: x\n", 1, "version"),
        ("dn: x\nchangetype: delete\n", 2, "changetype"),
        ("dn: x\ncontrol: 1.2.3\n", 1, "changetype"),
        ("dn: x\nobjectClass: person\nuserPassword: {SSHA}abc\n", 3, "scheme"),
        ("dn: x\nobjectClass: person\nmtaId: -1\n", 3, "number"),
        ("dn: x\nobjectClass: nisMailAlias\n", 1, "cn"),
        ("dn: x\ncn: " + "x" * (ldif.VALUE_LIMIT + 1) + "\n", 2, "octets"),
        ("dn: x\ncn: " + "x\n " * (ldif.VALUE_LIMIT * 2) + "\n", 2, "octets"),
        ("dn: x\njpegPhoto " + "x" * (ldif.VALUE_LIMIT * 2) + "\n", 2, "octets"),
    ],
)
def test_what_is_no_ldif_is_told_with_its_line(text, line, said):
    with pytest.raises(BadRecords, match=f"^line {line}: .*{said}"):
        list(ldif.parse(text.encode().splitlines(keepends=True)))


@given(
    st.lists(st.sampled_from([b"dn: x", b" ", b"cn: a", b"\xff", b"objectClass: person", b"", b"mtaId: 1"]), max_size=9)
)
def test_any_lines_are_ldif_or_an_error_of_ours(given_lines):
    try:
        list(ldif.parse(line + b"\n" for line in given_lines))
    except BadRecords as refused:
        assert str(refused).startswith("line ")  # noqa: PT017


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("", 1, "columns"),
        ("address,colour\n", 1, "'colour' is no column"),
        ("address,address\n", 1, "twice"),
        ("address\na@x.example,b\n", 2, "2 cells"),
        ("address,id\na@x.example,-1\n", 2, "number"),
        ("kind,address\ndog,a@x.example\n", 2, "'dog'"),
        ('address,title\na@x.example,"one\ntwo"\nb@x.example\n', 4, "1 cells"),
        ('address\n"a"b\n', 2, "expected"),
        ("address\na\0b\n", 2, "NUL"),
    ],
)
def test_what_is_no_table_is_told_with_its_line(text, line, said):
    with pytest.raises(BadRecords, match=f"^line {line}: .*{said}"):
        list(table.parse(text.encode().splitlines(keepends=True)))


def test_csv_that_is_not_utf_8_is_told_with_its_line():
    with pytest.raises(BadRecords, match=r"^line 2: not UTF-8"):
        list(table.parse([b"address\n", b"\xff\n"]))


def test_a_table_from_a_spreadsheet_is_read():
    text = b"\xef\xbb\xbfAddress , given_name,surname,password\r\n,Mark,Minasi, s p \r\n\r\n"
    assert list(table.parse(text.splitlines(keepends=True))) == [
        Record(line=2, given_name="Mark", surname="Minasi", password=" s p ")
    ]


def test_a_cell_may_be_as_large_as_the_members_of_a_large_list():
    members = " ".join(f"member{n}@somewhere.example" for n in range(10_000))
    assert (
        len(next(table.parse([b"kind,address,targets\n", f"list,a@x.example,{members}\n".encode()])).targets) == 10_000
    )
    assert csv.field_size_limit() == table.CELL_LIMIT


@pytest.mark.parametrize(
    "text",
    [
        "",
        "SCRAM-SHA-256$4096:c2FsdA==$AAAA:AAAA",
        SCRAM.replace("SHA-256", "SHA-1"),
        SCRAM.replace("20000", "1"),
        SCRAM.replace("20000", "x"),
        SCRAM.replace("20000", "200000000"),
        SCRAM + ":AAAA",
        SCRAM.replace("=", "!"),
    ],
)
def test_keys_that_are_none_are_refused(text):
    with pytest.raises(DataError):
        scram_keys_of(text)


def test_keys_come_back_as_they_went():
    assert scram_keys_of(SCRAM) == SECRET.scram


@pytest.fixture
def writer(tmp_path):
    writer = DirectoryWriter(directory_path(tmp_path), **SMALL)
    yield writer
    writer.close()


def put(writer, given_records, keep_ids=False):
    return writer.change(
        lambda changes: take_in(changes, given_records, keep_ids=keep_ids, template="%g.%s@%d", domain="x.example")
    )


WHOLE = [
    Record(
        "person",
        "b@x.example",
        id=7,
        further=["bb@x.example"],
        display_name="B",
        created=5000,
        argon2=SECRET.argon2,
        scram=SCRAM,
    ),
    Record("person", "a@x.example", id=9, surname="A", created=6000),
    Record("alias", "@x.example", targets=["a@x.example"]),
    Record("alias", "i@x.example", targets=["b@x.example", "far@y.example"]),
    Record("list", "all@x.example", targets=["i@x.example"], owner="a@x.example"),
]


def test_a_whole_directory_goes_into_another_one_and_is_the_same(writer):
    shuffled = WHOLE[::-1]
    assert put(writer, shuffled, keep_ids=True) == {"people": 2, "aliases": 2, "lists": 1}
    assert list(everything(writer.reading, secrets=True)) == WHOLE
    assert writer.change(lambda changes: changes.add_person("new@x.example")).id == 10
    bare = list(everything(writer.reading, secrets=False))
    assert not any(record.argon2 or record.scram for record in bare)


def test_without_keeping_ids_people_get_new_ones_in_the_order_of_the_file(writer):
    put(writer, WHOLE)
    assert [(p.id, p.address) for p in writer.reading.people(0, 9)] == [(1, "b@x.example"), (2, "a@x.example")]


def test_all_that_is_wrong_is_told_and_nothing_goes_in(writer):
    put(writer, WHOLE)
    before = list(everything(writer.reading, secrets=True))
    bad = [
        Record("person", "new@x.example", line=2),
        Record("person", "b@x.example", line=5),
        Record("person", "no address", line=9),
        Record("person", "c@x.example", line=11, title="x" * 300),
        Record("person", "d@x.example", line=12, argon2="$2b$x"),
        Record("person", "e@x.example", line=13, password="plain"),
        Record("person", "f@x.example", line=14, created=-1),
        Record("person", "g@x.example", line=14, created=1_795_797_126_505_000),  # microseconds, say
        Record("person", "", line=15),
        Record("alias", "i2@x.example", line=16),
        Record("list", "new@x.example", line=17),
    ]
    with pytest.raises(BadRecords) as refused:
        put(writer, bad)
    assert [finding.partition(":")[0] for finding in refused.value.findings] == [
        f"line {line}" for line in (5, 9, 11, 12, 13, 14, 14, 15, 16, 17)
    ]
    assert list(everything(writer.reading, secrets=True)) == before


def test_very_many_findings_are_counted(writer):
    with pytest.raises(BadRecords) as refused:
        put(writer, [Record("person", "x", line=n) for n in range(50)])
    assert len(refused.value.findings) == records.FINDINGS_LIMIT + 1
    assert refused.value.findings[-1] == "and 30 more"


def test_an_id_that_was_used_is_refused(writer):
    put(writer, WHOLE)
    with pytest.raises(BadRecords, match="line 3: id 1 was used before"):
        put(writer, [Record("person", "n@x.example", line=3, id=1)], keep_ids=True)


def test_an_id_that_cannot_be_is_refused(writer):
    with pytest.raises(BadRecords, match="line 3: id 18446744073709551615 is greater"):
        put(writer, [Record("person", "n@x.example", line=3, id=(1 << 64) - 1)], keep_ids=True)


def test_people_without_an_address_get_one_each(writer):
    put(writer, [Record(given_name="Mark", surname="Minasi", line=n) for n in range(3)])
    assert [person.address for person in writer.reading.people(0, 9)] == [
        "mark.minasi@x.example",
        "mark.minasi2@x.example",
        "mark.minasi3@x.example",
    ]
