"""`braid topics`: create and check the topics."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from services.cli import output
from services.runtime.settings import Settings, load

if TYPE_CHECKING:
    from services.kafka.topic_admin import ConfigChange, TopicProblem

# Services that were started before there was a secret go on without one until they are restarted.
ROLLING_S = 600

app = typer.Typer(no_args_is_help=True, help="Create the topics, or check that they are as the services need them.")


@app.command("apply")
def apply(
    print_only: Annotated[
        bool, typer.Option("--print", help="Only print the commands, for an administrator to run.")
    ] = False,
    dry_run: Annotated[bool, typer.Option(help="Show what would be created and changed, and change nothing.")] = False,
    json: output.Json = False,
) -> None:
    """Create the topics that are missing, and the secret that signs records; change configurations that differ.

    Retention, segments and other configurations of existing topics become those of the settings; what else is set for a
    topic stays. Partitions and replicas are not changed.
    """
    from services.kafka.topic_admin import topic_definitions

    settings = load()
    if print_only:
        for topic in topic_definitions(settings):
            config = " ".join(f"--config {name}={f'[{v}]' if ',' in v else v}" for name, v in topic.config)
            config += f" --config min.insync.replicas={settings.topics.min_insync_replicas}"
            print(
                f"kafka-topics.sh --create --if-not-exists --topic {topic.name} --partitions {topic.partitions} "
                f"--replication-factor {settings.topics.replication_factor} {config}"
            )
        return
    settings.require_broker()
    created, changed = asyncio.run(_apply(settings, dry_run))
    if json:
        output.print_json({"created": created, "changed": [asdict(change) for change in changed]})
        return
    lines = [f"{'would create' if dry_run else 'created'} {name}" for name in created]
    verb = "would change" if dry_run else "changed"
    lines += [f"{verb} {c.topic}: {c.name} from {c.before} to {c.after}" for c in changed]
    print("\n".join(lines) or "All topics exist with the configuration of the settings.")


@app.command("check")
def check(json: output.Json = False) -> None:
    """Compare the topics with what the services need. Exit code 1 if they differ, with the command that repairs it."""
    settings = load()
    settings.require_broker()
    problems = asyncio.run(_check(settings))
    if json:
        output.print_json({"troubles": [{"topic": t.topic, "what": t.what, "repair": t.repair} for t in problems]})
    else:
        print("\n".join(f"{t.topic}: {t.what}\n  repair: {t.repair}" for t in problems) or "Topics OK.")
    sys.exit(1 if problems else 0)


@app.command("acl")
def acl(
    form: Annotated[
        Literal["kafka", "strimzi", "redis"],
        typer.Option("--format", help="Lines for kafka-acls.sh, KafkaUser resources of Strimzi, or a Redis ACL file."),
    ] = "kafka",
    user: Annotated[
        str, typer.Option(help="User names; {role} stands for the role. With client certificates: CN=braid-{role}.")
    ] = "braid-{role}",
    cluster: Annotated[str, typer.Option(help="The name of Strimzi's Kafka resource.")] = "kafka",
) -> None:
    """Print access rules: each service, and devices, may write and read what they need and nothing else.

    Roles are the services, `device` (may write media only), `operator` (the commands) and `reader` (may read predictions and
    events). Nothing is changed; an administrator runs or applies what is printed.
    """
    from secrets import token_hex

    from services.contract.topics import ROLES
    from services.kafka.access_rules import access_rules, kafka_acls, redis_acls, strimzi_users

    settings = load()
    if form == "redis":
        print("\n".join(redis_acls(user, {role: token_hex(16) for role in ROLES})))
        output.note("Each user has a new password after `>`: give it to its service as BRAID_REDIS__PASSWORD.")
    elif form == "strimzi":
        print(strimzi_users(access_rules(settings), user, cluster), end="")
    else:
        print("\n".join(f"kafka-acls.sh {line}" for line in kafka_acls(access_rules(settings), user)))
        output.note("Each line needs --bootstrap-server, and --command-config with an administrator's credentials.")


async def _apply(settings: Settings, dry_run: bool) -> tuple[list[str], list[ConfigChange]]:
    from services.kafka import clients, topic_admin
    from services.kafka.control_topic import renew_signatures

    async with clients.admin(settings.kafka) as admin:
        changes = await topic_admin.config_changes(admin, settings)
        if dry_run:
            existing = set(await admin.list_topics())
            return [t.name for t in topic_admin.topic_definitions(settings) if t.name not in existing], changes
        created = await topic_admin.create_missing_topics(admin, settings, ROLLING_S)
        await topic_admin.apply_changes(admin, changes)
        await renew_signatures(settings)
        return created, changes


async def _check(settings: Settings) -> list[TopicProblem]:
    from services.kafka import clients, topic_admin

    async with clients.admin(settings.kafka) as admin:
        return await topic_admin.check_topics(admin, settings)
