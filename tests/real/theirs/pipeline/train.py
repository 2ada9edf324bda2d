"""DeepSpeed's PipelineModule, whose engine takes whole steps itself."""

import deepspeed
import torch
from deepspeed.pipe import LayerSpec, PipelineModule
from torch import nn

deepspeed.init_distributed(dist_backend="gloo")
layers = [LayerSpec(nn.Linear, 16, 16), LayerSpec(nn.Linear, 16, 1)]
module = PipelineModule(layers=layers, num_stages=1, loss_fn=nn.functional.mse_loss)
config = {
    "train_micro_batch_size_per_gpu": 2,
    "gradient_accumulation_steps": 2,
    "optimizer": {"type": "Adam", "params": {"lr": 0.001, "torch_adam": True}},
}
engine, *_ = deepspeed.initialize(model=module, model_parameters=module.parameters(), config=config)
batches = iter(lambda: (torch.randn(2, 16), torch.randn(2, 1)), None)
for _ in range(100):
    engine.train_batch(batches)
