"""Settings: what an operator chooses. A flag beats the environment, which beats the file."""

from __future__ import annotations

import ast
import inspect
import itertools
from dataclasses import Field, dataclass, field, fields
from typing import TYPE_CHECKING, Any

from bundle.engine.cores import available_cores
from serving.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "TRAINYARD_"
LOG_LEVELS = ("debug", "info", "warning", "error")
PROVIDERS = ("auto", "cpu", "cuda", "tensorrt", "openvino")
NO_FALLBACK = "none"
FALLBACKS = (NO_FALLBACK, "cpu")
ROLLBACK, OFF = "rollback", "off"


def _number(default: float, minimum: float, maximum: float) -> Any:
    return field(default=default, metadata={"minimum": minimum, "maximum": maximum})


def _api_processes(cores: int) -> int:
    """Two from two cores on: while one waits for the engine the other speaks."""
    return min(4, cores, max(2, cores // 2))


def _choice(default: str, choices: tuple[str, ...]) -> Any:
    return field(default=default, metadata={"choices": choices})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Each field is a flag, a variable TRAINYARD_<FIELD> and a key of the file."""

    model: tuple[str, ...] = ()
    """URI or NAME=URI of a model to serve; may be given more than once, the first one answers the
    requests that name none. In the environment: separated by commas."""
    host: str = "127.0.0.1"
    """Name or address to listen on; 0.0.0.0 is every IPv4 interface, :: every interface."""
    port: int = _number(8000, 0, 65_535)
    """TCP port; 0 takes a free one, which the `ready` line tells."""
    api_processes: int = _number(_api_processes(available_cores()), 1, 64)
    """Processes that speak HTTP, decode and preprocess."""
    workers: int = _number(1, 1, 64)
    """Processes that run the models; each holds every model."""
    threads: int = _number(0, 0, 1024)
    """Threads that a worker computes with; 0 leaves it to the runtime."""
    streams: int = _number(0, 0, 1024)
    """Batches that a worker runs at once on a CPU where requests wait for each other, each on one
    thread; whoever comes alone has all threads. A model that gains by it is held in memory twice,
    if its file is no larger than 256 MiB. 0 takes as many as there are threads, up to four, and one
    where there are more; 1 runs one batch after the other."""
    provider: str = _choice("auto", PROVIDERS)
    """What the models run on: auto, cpu, cuda, tensorrt or openvino. Anything but auto is a must,
    unless fallback allows something else."""
    fallback: str = _choice(NO_FALLBACK, FALLBACKS)
    """What happens where the provider cannot run: none (the server does not start) or cpu (the next
    best, at last the CPU, with a warning)."""
    variant: str = ""
    """Variant of the models to run; empty for each bundle's default."""
    batch_size: int = _number(32, 1, 4096)
    """Most samples that run at once."""
    batch_delay_ms: float = _number(2.0, 0, 10_000)
    """Longest that a sample waits for company, in milliseconds; less where a pause between
    arrivals costs those that wait more than one more would save, as measured."""
    batch_tokens: int = _number(512, 0, 2**30)
    """Most tokens, padding included, that run at once; 0 is no limit. About 512 is best on a CPU,
    where longer batches leave its caches; a GPU takes many thousands."""
    latency_target_ms: float = _number(0.0, 0, 3_600_000)
    """What a request should take at most, in milliseconds: where the batches alone take that long,
    samples wait less for company. 0 sets no target."""
    queue_size: int = _number(1024, 1, 1_000_000)
    """Most samples that wait for a worker, and most requests that an API process holds, from their
    heads to their answers; what is over either is answered 503."""
    timeout_ms: float = _number(30_000.0, 1, 3_600_000)
    """Longest that a request may take, in milliseconds; a request's own timeout_ms only shortens
    it."""
    max_body_bytes: int = _number(32 * 2**20, 1024, 2**30 - 2**18)  # a frame has four times that
    """Largest request body, in bytes."""
    max_held_mb: float = _number(512.0, 1, 1_000_000)
    """Most that the bodies of the requests that an API process reads or answers may have
    altogether, in MiB; requests over it are answered 503. What is made of a body
    comes on top, and the body itself while a thread or a shadow is still at it. As much, or
    64 MiB, may wait for each worker that does not read; then nothing more is asked of it."""
    cache_mb: float = _number(0.0, 0, 1_000_000)
    """Preprocessed images and texts that each API process keeps for when they are sent again, in
    megabytes; 0 keeps none."""
    max_batch_instances: int = _number(256, 1, 1_000_000)
    """Most instances of one /predict/batch."""
    poll_seconds: float = _number(10.0, 0, 86_400)
    """Longest time between two looks at the registry for models:/NAME and models:/NAME@ALIAS, in
    seconds; 0 looks at the start, and when the admin API, a webhook or the guardrail has reason
    to."""
    guardrail: str = _choice(ROLLBACK, (ROLLBACK, OFF))
    """rollback: a challenger that fails more often or takes longer than the champion loses its
    traffic, here and in the registry; off: nothing is judged."""
    max_models: int = _number(0, 0, 10_000)
    """Most versions of models that a worker holds; 0 is no limit. Of those that no route needs the
    longest unused leave first. Each --model needs room for two while it changes."""
    memory_budget_mb: float = _number(0.0, 0, 2**30)
    """Most that the files of the models that a worker holds may have altogether, in MiB; what the
    runtime adds to them does not count. 0 is no limit."""
    drain_delay_ms: float = _number(500.0, 0, 600_000)
    """After SIGTERM, how long the server still accepts while its readiness says no, in
    milliseconds; longer than the period of whatever probes it."""
    drain_timeout_ms: float = _number(30_000.0, 0, 3_600_000)
    """After SIGTERM, how long requests in flight may take altogether, in milliseconds."""
    head_timeout_ms: float = _number(10_000.0, 10, 3_600_000)
    """Longest that the headers of a request may take to arrive, in milliseconds."""
    api_keys_file: str = ""
    """TOML file with a table [[key]] for each API key: name, scopes (predict, metrics, admin) and
    key or its sha256. Keys may also come in TRAINYARD_API_KEYS. Without any, everybody may predict
    and nobody administrate."""
    webhook_secret_file: str = ""
    """File with the secret that POST /webhook is signed with, after which the registry is looked at
    at once. The secret may also come in TRAINYARD_WEBHOOK_SECRET. Without one there is no such
    path."""
    page: str = _choice("on", ("on", "off"))
    """on: a page at / to try the models by hand and to watch them; off: nothing is there."""
    otlp_endpoint: str = ""
    """Base address of an OTLP/HTTP receiver, to which traces are sent, such as
    http://collector:4318; empty for what OTEL_EXPORTER_OTLP_ENDPOINT says, or nowhere."""
    slow_request_ms: float = _number(0.0, 0, 3_600_000)
    """A request that takes at least so long has a line in the log, in milliseconds; 0 for none."""
    log_level: str = _choice("info", LOG_LEVELS)
    """debug (a line for every request), info, warning or error; JSON lines on stderr."""

    def __post_init__(self) -> None:
        if self.max_body_bytes > self.max_held_mb * 2**20:
            raise SettingsError(
                f"max_body_bytes={self.max_body_bytes} is more than "
                f"max_held_mb={self.max_held_mb:g} MiB: such a body could never be taken",
                field="max_body_bytes",
                remedy="lower the one or raise the other",
            )
        if self.max_batch_instances > self.queue_size:
            raise SettingsError(
                f"max_batch_instances={self.max_batch_instances} is more than "
                f"queue_size={self.queue_size}: such a request could never be taken",
                field="max_batch_instances",
                remedy="lower the one or raise the other",
            )


def flag(spec: Field[Any]) -> str:
    """--the-flag of a field."""
    return "--" + spec.name.replace("_", "-")


def variable(spec: Field[Any]) -> str:
    """TRAINYARD_THE_VARIABLE of a field."""
    return PREFIX + spec.name.upper()


def convert(spec: Field[Any], value: object, *, source: str) -> Any:
    """The field's value from a string or a TOML value. Raises SettingsError naming the source."""
    shown = f"{source}={value!r}" if not isinstance(value, str) else f"{source}={value}"
    kind = spec.type.split("[")[0] if isinstance(spec.type, str) else spec.type.__name__
    if kind == "tuple":
        return _texts(spec, value, shown)
    if kind == "str":
        return _text(spec, value, shown)
    return _bounded(spec, value, shown, integer=kind == "int")


def _texts(spec: Field[Any], value: object, shown: str) -> tuple[str, ...]:
    values = value.split(",") if isinstance(value, str) else value
    if not isinstance(values, list) or not all(isinstance(item, str) for item in values):
        raise SettingsError(f"{shown} must be a list of strings", field=spec.name)
    return tuple(item.strip() for item in values if item.strip())


def _text(spec: Field[Any], value: object, shown: str) -> str:
    choices = spec.metadata.get("choices")
    if not isinstance(value, str):
        raise SettingsError(f"{shown} must be a string", field=spec.name)
    if choices is not None and value not in choices:
        raise SettingsError(f"{shown} must be one of {', '.join(choices)}", field=spec.name)
    return value


def _bounded(spec: Field[Any], value: object, shown: str, *, integer: bool) -> float:
    minimum, maximum = spec.metadata["minimum"], spec.metadata["maximum"]
    noun = "an integer" if integer else "a number"
    number: float | None = None
    if isinstance(value, str):
        try:
            number = int(value) if integer else float(value)
        except ValueError:
            number = None
    elif isinstance(value, int if integer else (int, float)) and not isinstance(value, bool):
        number = int(value) if integer else float(value)
    if number is None or not minimum <= number <= maximum:
        remedy = None
        if isinstance(value, str) and value.startswith("tcp://"):
            remedy = (
                "Kubernetes sets this variable for a Service of that name: "
                "set enableServiceLinks: false on the pod, or rename the Service"
            )
        raise SettingsError(
            f"{shown} must be {noun} from {minimum} to {maximum}",
            field=spec.name,
            remedy=remedy,
        )
    return number


def docstrings() -> Mapping[str, str]:
    """What each field is, from the string below it."""
    tree = ast.parse(inspect.getsource(Settings))
    body = [node for definition in ast.walk(tree) for node in getattr(definition, "body", ())]
    texts: dict[str, str] = {}
    for node, after in itertools.pairwise(body):
        if (
            isinstance(node, ast.AnnAssign)
            and isinstance(node.target, ast.Name)
            and isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
        ):
            texts[node.target.id] = " ".join(str(after.value.value).split())
    return texts


SPECS: dict[str, Field[Any]] = {spec.name: spec for spec in fields(Settings)}
