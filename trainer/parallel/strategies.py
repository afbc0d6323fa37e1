"""How the processes of a group share the work of a step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from pytorch_lightning.strategies import DDPStrategy, ModelParallelStrategy, ParallelStrategy
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.fsdp import FSDPModule, fully_shard

from trainer.parallel.replicas import ReplicaStrategy
from trainer.schema import OutOfMemory, StrategyName

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from omegaconf import DictConfig
    from pytorch_lightning.core.optimizer import LightningOptimizer
    from pytorch_lightning.strategies import Strategy
    from torch.distributed.device_mesh import DeviceMesh
    from torch.optim import Optimizer

    from trainer.parallel.group import Group

_FULL = StateDictOptions(full_state_dict=True, cpu_offload=True)


def make_strategy(cfg: DictConfig, group: Group) -> Strategy | str:
    """What `strategy` asks for; one process alone needs none."""
    if group.is_alone:
        return "auto"
    if cfg.strategy.name == StrategyName.fsdp:
        return ShardedStrategy(world_size=group.world_size)
    retries = cfg.trainer.out_of_memory == OutOfMemory.retry
    return (ReplicaStrategy if retries else DDPStrategy)(
        cluster_environment=TorchElasticEnvironment(),
        find_unused_parameters=cfg.strategy.find_unused_parameters,
        # Broadcasting buffers in every forward pass would wait for a process with one validation
        # batch less than the others. See trainer/parallel/batchnorm.py for what keeps them equal.
        forward_sync_buffers=False,
        gradient_as_bucket_view=True,
    )


class ShardedStrategy(ModelParallelStrategy):
    """Parameters, gradients and optimiser state in shards (FSDP2), on the CPU too.

    Checkpoints are those of any other strategy: whole, and numbered as the optimiser numbers its
    parameters. Lightning's would number them as the model does, which is another order.
    """

    def __init__(self, *, world_size: int) -> None:
        super().__init__(
            data_parallel_size=world_size, tensor_parallel_size=1, save_distributed_checkpoint=False
        )
        self.cluster_environment = TorchElasticEnvironment()

    def optimizer_state(self, optimizer: Optimizer | LightningOptimizer) -> dict[str, Any]:
        """Whole in the main process, empty in the others."""
        bare = getattr(optimizer, "_optimizer", optimizer)
        named: dict[str, Any] = dict(get_optimizer_state_dict(self._module, bare, options=_FULL))
        if self.global_rank != 0:
            return {}
        names = [name for part in named["param_groups"] for name in part["params"]]
        number = {name: index for index, name in enumerate(names)}
        groups = [
            {**part, "params": [number[name] for name in part["params"]]}
            for part in named["param_groups"]
        ]
        state = {number[name]: value for name, value in named["state"].items()}
        return {"state": state, "param_groups": groups}

    def load_checkpoint(
        self, checkpoint_path: str | Path, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Give every process its shard of a whole checkpoint."""
        path = self.broadcast(checkpoint_path)
        loaded: dict[str, Any] = ParallelStrategy.load_checkpoint(self, path, weights_only)
        options = StateDictOptions(full_state_dict=True)
        set_model_state_dict(self._module, loaded["state_dict"], options=options)
        states = loaded.get("optimizer_states", [])
        for optimizer, state in zip(self.optimizers, states, strict=True):
            if not state["state"]:  # plain SGD has none, and torch then refuses to distribute it
                optimizer.load_state_dict(state)
                continue
            set_optimizer_state_dict(
                self._module, optimizer, self._by_name(optimizer, state), options=options
            )
        return loaded

    def _by_name(self, optimizer: Optimizer, state: dict[str, Any]) -> dict[str, Any]:
        """The state as `set_optimizer_state_dict` wants it: keyed by parameter names."""
        names = {id(value): name for name, value in self._module.named_parameters()}
        order = [names[id(value)] for part in optimizer.param_groups for value in part["params"]]
        groups = [
            {**part, "params": [order[index] for index in part["params"]]}
            for part in state["param_groups"]
        ]
        return {
            "state": {order[index]: value for index, value in state["state"].items()},
            "param_groups": groups,
        }

    @property
    def _module(self) -> nn.Module:
        if self.model is None:
            raise RuntimeError("there is no model before the fit")
        return self.model


def shard(model: nn.Module, mesh: DeviceMesh) -> None:
    """Shard `model` in place: each block of a sequence by itself, then what is left."""
    for sequence in list(model.modules()):
        if not isinstance(sequence, nn.ModuleList | nn.Sequential):
            continue
        for block in sequence.children():
            sharded = any(isinstance(part, FSDPModule) for part in block.modules())
            if not sharded and any(True for _ in block.parameters()):
                fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)


def load_weights(module: nn.Module, state: Mapping[str, Any]) -> None:
    """Give `module`, which may be sharded, the whole weights of a checkpoint."""
    if any(isinstance(part, FSDPModule) for part in module.modules()):
        options = StateDictOptions(full_state_dict=True)
        set_model_state_dict(module, dict(state), options=options)
    else:
        module.load_state_dict(state)


def gather(model: nn.Module) -> None:
    """Keep the whole weights in every process until `scatter`.

    A pass through a validation split gathers nothing then: processes may have different numbers
    of batches, and one would wait for another that has none left.
    """
    for part in model.modules():
        if isinstance(part, FSDPModule):
            part.set_reshard_after_forward(False, recurse=False)
            part.unshard()


def scatter(model: nn.Module) -> None:
    """Undo `gather`."""
    for part in model.modules():
        if isinstance(part, FSDPModule):
            part.set_reshard_after_forward(True, recurse=False)
            part.reshard()
