"""LoaderOptions: what every data module can be told, whatever its samples are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainer.data.schema import Balance, LastBatch
from trainer.errors import DataError

if TYPE_CHECKING:
    from trainer.data.splitting import SplitPlan


@dataclass(frozen=True, kw_only=True)
class LoaderOptions:
    """See DataConfig for the fields' meaning and units."""

    batch_size: int
    eval_batch_size: int | None
    num_workers: int
    balance: str
    last_batch: str

    def check(self) -> None:
        """Raises DataError, naming the field."""
        require(self.batch_size >= 1, "batch_size", self.batch_size, "at least 1")
        size = self.eval_batch_size
        require(size is None or size >= 1, "eval_batch_size", size, "at least 1, or null")
        require(self.num_workers >= 0, "num_workers", self.num_workers, "0 or more")
        for name, value, kinds in (
            ("balance", self.balance, Balance),
            ("last_batch", self.last_batch, LastBatch),
        ):
            known = [str(kind) for kind in kinds]
            require(value in known, name, value, f"one of {', '.join(known)}")


def check_plan(plan: SplitPlan) -> None:
    """Raises DataError, naming the field, if there can be no such split."""
    require(plan.limit is None or plan.limit >= 1, "limit", plan.limit, "at least 1, or null")
    require(plan.seed >= 0, "split_seed", plan.seed, "0 or more")
    for name, value in (("val_fraction", plan.val_fraction), ("test_fraction", plan.test_fraction)):
        require(0 <= value < 1, name, value, "from 0 to less than 1")
    both = plan.val_fraction + plan.test_fraction
    require(both < 1, "val_fraction + data.test_fraction", both, "less than 1")


def require(fine: bool, field: str, value: object, expected: str) -> None:
    """Raises DataError, naming `data.<field>`, its value and what is expected, unless `fine`."""
    if not fine:
        raise DataError(f"data.{field}={value} must be {expected}", field=f"data.{field}")
