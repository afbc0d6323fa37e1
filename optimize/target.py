"""Target: the machine that was asked for, and the one that it has to be here."""

from __future__ import annotations

from dataclasses import dataclass

from bundle.engine.availability import provider_missing
from bundle.engine.plan import plans_missing
from optimize.schema import Target


@dataclass(frozen=True, kw_only=True)
class ResolvedTarget:
    """What an export is made for and measured on."""

    requested: Target
    actual: Target
    """none, cpu, cuda or tensorrt, never auto."""
    reason: str
    """Why `actual` is another than was asked for, or what auto chose by; empty if neither."""
    provider: str = "cpu"
    """Where ONNX Runtime runs the variants: cpu, cuda or tensorrt. A plan needs none of them."""

    @property
    def fell_back(self) -> bool:
        return self.actual is not self.requested and self.requested is not Target.auto

    @property
    def notice(self) -> str | None:
        """For the user, where something else than asked for is made."""
        if not self.fell_back:
            return None
        return f"target={self.requested} cannot be had here, {self.actual} instead: {self.reason}"

    @property
    def elsewhere(self) -> bool:
        """Whether graphs are judged and timed on another provider than the target's own."""
        return self.actual is not Target.none and self.provider != self.actual

    def describe(self) -> str:
        """For a report: what it is, what it was to be, and where graphs ran if elsewhere."""
        text = f"{self.actual} (asked for: {self.requested}"
        text += f", but {self.reason})" if self.fell_back else ")"
        return f"{text}, graphs judged on {self.provider}" if self.elsewhere else text

    def to_dict(self) -> dict[str, str]:
        """As the lineage records it."""
        return {
            "requested": str(self.requested),
            "actual": str(self.actual),
            "reason": self.reason,
            "provider": self.provider,
        }


def resolve_target(requested: Target) -> ResolvedTarget:
    """The best that this machine can run of what was asked for.

    A variant is certified and measured where it will run, so what does not run here cannot be the
    target. `auto` is CUDA or the CPU: a TensorRT plan takes minutes and fits one kind of GPU, so it
    is built for those who ask. TensorRT is there if it can be used by itself, for plans, or through
    ONNX Runtime, which takes another version of it.
    """
    if requested in (Target.none, Target.cpu):
        return ResolvedTarget(requested=requested, actual=requested, reason="")
    candidates = {
        Target.auto: (Target.cuda,),
        Target.cuda: (Target.cuda,),
        Target.tensorrt: (Target.tensorrt, Target.cuda),
    }[requested]
    missing: list[str] = []
    for target in candidates:
        reason = _missing(target)
        if reason is None:
            return ResolvedTarget(
                requested=requested,
                actual=target,
                reason="; ".join(missing),
                provider=_provider(target),
            )
        missing.append(reason)
    return ResolvedTarget(requested=requested, actual=Target.cpu, reason="; ".join(missing))


def _missing(target: Target) -> str | None:
    """Why it cannot be had here; None if it can."""
    through_runtime = provider_missing(str(target))
    if through_runtime is None or target is not Target.tensorrt:
        return through_runtime
    by_itself = plans_missing()
    return None if by_itself is None else f"{by_itself}; {through_runtime}"


def _provider(target: Target) -> str:
    """The best that ONNX Runtime has here for graphs: it may lack the TensorRT that plans have."""
    wanted = ("tensorrt", "cuda") if target is Target.tensorrt else (str(target),)
    return next((each for each in wanted if provider_missing(each) is None), "cpu")
