"""Access rules say what the table of topics says, in each of their forms; the page has the same table."""

from __future__ import annotations

import shlex

import yaml

from services.contract.topics import ROLES, Topics
from services.kafka.access_rules import access_rules, kafka_acls, redis_acls, strimzi_users
from services.runtime.settings import ROOT, load

SETTINGS = load()
RULES = access_rules(SETTINGS)


def test_a_device_may_write_media_and_nothing_else() -> None:
    (rule,) = [rule for rule in RULES if rule.role == "device"]
    assert (rule.resource, rule.operations, rule.names) == ("topic", ("Write",), Topics().media_all)


def test_the_rules_are_the_table_of_topics() -> None:
    allowed = {(r.role, name, o) for r in RULES if r.resource == "topic" for name in r.names for o in r.operations}
    wanted = {
        (role, topic.name, operation)
        for topic in Topics().definitions()
        for roles, operation in ((topic.readers, "Read"), (topic.writers, "Write"))
        for role in roles
    }
    assert {one for one in allowed if one[2] in ("Read", "Write")} == wanted
    assert {role for role, _, operation in allowed if operation not in ("Read", "Write")} == {"operator"}


def test_only_services_write_their_topics() -> None:
    for topic in Topics().definitions():
        if topic.name not in Topics().media_all:
            assert not topic.writers & {"device", "gateway", "wyoming", "reader"}, topic.name
        assert "operator" in topic.readers


def test_lines_for_kafka_and_resources_for_strimzi_hold_the_same_rules() -> None:
    of_lines = set()
    for line in kafka_acls(RULES, "CN=x-{role}"):
        words = shlex.split(line)
        assert words[:2] == ["--add", "--allow-principal"]
        options = list(zip(words[3::2], words[4::2], strict=True))
        operations = [value for option, value in options if option == "--operation"]
        named = [(option[2:], value) for option, value in options if option != "--operation"]
        of_lines |= {(words[2], *resource, operation) for resource in named for operation in operations}
    of_strimzi = {
        (f"User:{user['metadata']['name']}", acl["resource"]["type"], acl["resource"]["name"], operation)
        for user in yaml.safe_load_all(strimzi_users(RULES, "CN=x-{role}", "home"))
        for acl in user["spec"]["authorization"]["acls"]
        for operation in acl["operations"]
    }
    assert of_lines == of_strimzi
    assert len({user for user, *_ in of_lines}) == len(ROLES)


def test_redis_users_reach_no_other_keys_and_cannot_change_the_server() -> None:
    for line in redis_acls("{role}", dict.fromkeys(ROLES, "password")):
        words = line.split()
        assert words[2:4] == ["on", ">password"]
        assert [word for word in words if word.startswith("~")] == ["~braid:*"]
        assert not {"+@all", "+flushall", "+config|set", "+config", "+keys", "allcommands", "nopass"} & set(words)


def test_the_page_has_the_table_of_topics() -> None:
    page = (ROOT / "docs" / "operate.md").read_text(encoding="utf-8")
    table = page.partition("| topic | written by | read by |\n|---|---|---|\n")[2].partition("\n\n")[0].splitlines()
    rows: list[str] = []
    for topic in Topics().definitions():
        # The media topics of all modalities are one row.
        name = "braid.media.*.v1" if topic.name in Topics().media_all else topic.name
        columns = (", ".join(role for role in ROLES if role in roles) for roles in (topic.writers, topic.readers))
        row = f"| `{name}` | {' | '.join(columns)} |"
        if row not in rows:
            rows.append(row)
    assert table == rows
