"""Whatever stands in the file or the environment: a configuration or findings, and never anything else."""

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mta import config
from mta.config import sections
from mta.config.load import _override
from mta.config.reader import Findings, as_table, read_table
from mta.config.sections import Config
from mta.errors import ConfigError

SECTIONS = {field.name: field.type for field in msgspec.structs.fields(Config)}
TABLES = {name: kind for name, kind in SECTIONS.items() if isinstance(kind, type) and issubclass(kind, msgspec.Struct)}
KEYS = [(name, key) for name, kind in TABLES.items() for key in kind.__struct_fields__]

texts = st.one_of(
    st.text(max_size=20), st.sampled_from(["5m", "1KiB", "a.example", "127.0.0.1:25", "10.0.0.0/8", "*", "-"])
)
scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), texts)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def read(table):
    findings = Findings("mta.toml", Path("/"))
    return read_table(Config, table, "", findings), findings.lines


@settings(max_examples=300)
@given(st.sampled_from(KEYS), values)
def test_any_value_at_any_key_is_taken_or_named_with_its_path(key, value):
    section, name = key
    made, lines = read({section: {name: value}})
    assert (made is None) == bool(lines)
    for line in lines:
        assert line.startswith(f"mta.toml: {section}.{name}")
        assert "\n" not in line


@settings(max_examples=200)
@given(st.sampled_from(sorted(SECTIONS)), values)
def test_any_value_in_place_of_a_section_is_taken_or_named(section, value):
    made, lines = read({section: value})
    assert (made is None) == bool(lines)


@settings(max_examples=200)
@given(st.sampled_from(KEYS), values)
def test_what_was_taken_is_written_and_taken_again(key, value):
    section, name = key
    made, _ = read({section: {name: value}})
    if made is not None:
        # The first reading makes the default paths absolute, which load does by other means.
        absolute, _ = read(as_table(made))
        again, lines = read(json.loads(json.dumps(as_table(absolute))))
        assert (again, lines) == (absolute, [])


@settings(max_examples=200)
@given(st.sampled_from(KEYS), st.text(alphabet=st.characters(blacklist_characters="\0", blacklist_categories=("Cs",))))
def test_any_text_in_a_variable_is_taken_or_named(key, text):
    section, name = key
    variable = f"MTA_{section}__{name}".upper()
    found = []
    try:
        config.parse("", {variable: text})
    except ConfigError as error:
        found = error.findings
    assert all(variable in line or line.startswith("mta.toml: ") for line in found)


@pytest.mark.parametrize(("section", "key"), KEYS)
def test_every_key_can_be_set_by_a_variable(section, key):
    table, stray = {}, []
    origins = _override(table, {f"MTA_{section}__{key}".upper(): "x"}, stray)
    assert stray == []
    assert table == {section: {key: "x"}}
    assert list(origins) == [f"{section}.{key}"]


@pytest.mark.parametrize("kind", [sections.Listener, sections.Route, *TABLES.values()])
def test_every_field_of_every_section_has_a_rule_that_reads_it(kind):
    for field in msgspec.structs.fields(kind):
        findings = Findings("mta.toml", Path("/"))
        read_table(kind, {field.name: object()}, "x", findings)
        assert any(line.startswith(f"mta.toml: x.{field.name}") for line in findings.lines)


def test_a_configuration_cannot_be_changed_after_it_was_made():
    made = config.parse("")
    with pytest.raises(AttributeError):
        made.workers = 5
    with pytest.raises(AttributeError):
        made.delivery.port = 5
