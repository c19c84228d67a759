"""The commands that record: through operator and workers, or directly in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from forebay.cli.control import (
    DEFAULT_CONFIG,
    ConfigOption,
    DeadlineOption,
    DetachOption,
    IdOption,
    JsonOption,
    PlanOption,
    ProposalOption,
    RunOption,
)

SourcesArgument = Annotated[str, typer.Argument(help="Name of the detector or stream; several: jf,eiger.")]
FileArgument = Annotated[
    str | None,
    typer.Argument(
        help="File to write, below the proposal's folder; never overwritten. It may have {run}, "
        "{acquisition} and {source}. Chosen if not given."
    ),
]
ChannelsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--channel", metavar="CHANNEL", help="Of a bsread stream, this channel only; may be repeated."
    ),
]
IdleOption = Annotated[float, typer.Option(min=0.1, help="End when nothing came for so many seconds.")]


def record(
    name: SourcesArgument,
    file: FileArgument = None,
    config: ConfigOption = DEFAULT_CONFIG,
    images: Annotated[int | None, typer.Option(min=1, help="Record so many images.")] = None,
    pulses: Annotated[
        str | None, typer.Option(metavar="A..B[/STEP]", help="Record these pulse ids, both ends included.")
    ] = None,
    seconds: Annotated[float | None, typer.Option(min=0.001, help="Record for so long.")] = None,
    channels: ChannelsOption = None,
    idle: IdleOption = 10.0,
    proposal: ProposalOption = "default",
    run: RunOption = None,
    id_: IdOption = None,
    deadline: DeadlineOption = None,
    dry_run: PlanOption = False,
    detach: DetachOption = False,
    direct: Annotated[
        bool, typer.Option("--direct", help="Record in this process, without workers and catalogue.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Record images to a file: a number, a pulse range, a time, or until Ctrl-C."""
    from forebay.errors import ConfigError

    measures = {"images": images, "pulses": pulses, "seconds": seconds}
    given = {key: value for key, value in measures.items() if value is not None}
    if len(given) > 1:
        raise ConfigError("--images, --pulses and --seconds were given together.", "Give one of them.")
    if direct and channels:
        raise ConfigError(
            "--direct records a detector, which has no channels.",
            "A bsread stream without workers: forebay bs record STREAM FILE CHANNEL...",
        )
    if direct:
        raise SystemExit(_record_directly(name, file, config, given, idle, json))
    parameters = {
        "sources": name.split(","),
        "file": file,
        "idle_s": idle,
        "channels": channels or [],
        **given,
    }
    about = {"proposal": proposal, "run": run, "id": id_, "deadline_s": deadline}
    raise SystemExit(
        ask(
            "record",
            parameters,
            about,
            config,
            dry_run=dry_run,
            detach=detach,
            json=json,
            until_told=not given,
        )
    )


def retrieve(
    name: SourcesArgument,
    pulses: Annotated[
        str | None, typer.Argument(metavar="A..B[/STEP]", help="Pulse ids, both ends included.")
    ] = None,
    file: FileArgument = None,
    config: ConfigOption = DEFAULT_CONFIG,
    pulses_option: Annotated[
        str | None,
        typer.Option(
            "--pulses", metavar="A..B[/STEP]", help="The same as an option, as forebay record has it."
        ),
    ] = None,
    channels: ChannelsOption = None,
    idle: IdleOption = 10.0,
    proposal: ProposalOption = "default",
    run: RunOption = None,
    id_: IdOption = None,
    deadline: DeadlineOption = None,
    dry_run: PlanOption = False,
    detach: DetachOption = False,
    json: JsonOption = False,
) -> None:
    """Write pulses that went by, and are still remembered, to a file."""
    asked, file = _range_and_file(pulses, file, pulses_option)
    parameters = {
        "sources": name.split(","),
        "file": file,
        "pulses": asked,
        "idle_s": idle,
        "channels": channels or [],
    }
    about = {"proposal": proposal, "run": run, "id": id_, "deadline_s": deadline}
    raise SystemExit(ask("retrieve", parameters, about, config, dry_run=dry_run, detach=detach, json=json))


def _range_and_file(first: str | None, second: str | None, option: str | None) -> tuple[str, str | None]:
    """Return range and file: two words, or one word after the option; `ConfigError` for anything else."""
    from forebay.errors import ConfigError

    if option is None and first is not None:
        return first, second
    if option is None or second is not None:
        found = "none" if option is None else f"{first} and --pulses {option}"
        raise ConfigError(
            f"Found {found} where one pulse range is needed.", "E.g. forebay retrieve jf 1000..1999 a.h5"
        )
    return option, first


def ask(
    kind: str,
    parameters: dict[str, Any],
    about: dict[str, Any],
    config: Path,
    *,
    dry_run: bool,
    detach: bool,
    json: bool,
    until_told: bool = False,
) -> int:
    """Ask the operator, wait unless told not to, print what came of it; return the exit code.

    Parameters
    ----------
    about:
        ``proposal``, ``run``, ``id`` and ``deadline_s`` of the request.
    until_told:
        Whether Ctrl-C ends the recording.
    """
    from forebay.cli.control import operator_of, see_through
    from forebay.cli.job_view import print_ends, print_json, show_jobs, show_plans
    from forebay.service.process import stop_on_signal

    hint = "Or record in this process, without a job: --direct" if kind == "record" else ""
    with operator_of(config, hint) as operator:
        if dry_run:
            plans = operator.plan(kind, parameters, proposal=about["proposal"], run=about["run"])
            if json:
                print_json(plans)
            else:
                show_plans(plans)
            return 0
        with (
            stop_on_signal() as stop
        ):  # from here on Ctrl-C leaves a job, and who asked must get to know which
            jobs = operator.request(kind, parameters, **about)
            if detach:
                if json:
                    print_json(jobs)
                else:
                    show_jobs(jobs)
                return 0
            found = see_through(operator, jobs, quiet=json, ends_with_us=until_told, asked_to_stop=stop)
        return print_ends(found, json)


def _record_directly(
    name: str, file: str | None, config: Path, measure: dict[str, Any], idle_s: float, json: bool
) -> int:
    """Record in this process; return the exit code."""
    from forebay.cli.show import print_recording, record_with_progress
    from forebay.config import load
    from forebay.errors import ConfigError
    from forebay.pulse import PulseRange
    from forebay.service.process import stop_on_signal
    from forebay.service.record import Recorder
    from forebay.service.tables import detector_config
    from forebay.store.manifest import Request

    if file is None:
        raise ConfigError("No file was named.", "With --direct, say which: forebay record NAME FILE --direct")
    loaded = load(config)
    step = detector_config(loaded, name).build.pulse_step
    if pulses := measure.get("pulses"):
        asked = PulseRange.parse(pulses)
        measure["pulses"] = str(asked if "/" in pulses else PulseRange(asked.first, asked.last, step))
    recorder = Recorder(loaded, name, file, Request(**measure, pulse_step=step), idle_s=idle_s)
    with stop_on_signal() as stop:
        manifest = record_with_progress(recorder, stop, quiet=json)
    return print_recording(recorder.path, manifest, json)
