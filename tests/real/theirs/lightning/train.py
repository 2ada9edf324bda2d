"""Lightning with its DeepSpeed strategy, which has no other accelerator than CUDA."""

import lightning
import torch
from lightning.pytorch.strategies import DeepSpeedStrategy
from torch import nn


class Module(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(16, 1)

    def training_step(self, batch, number):
        return self.layer(batch).mean()

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters())


loader = torch.utils.data.DataLoader(torch.randn(512, 16), batch_size=4)
trainer = lightning.Trainer(
    accelerator="cuda", devices=1, strategy=DeepSpeedStrategy(stage=2), logger=False, max_epochs=1
)
trainer.fit(Module(), loader)
