"""An app of Hydra's, with a configuration and a folder for outputs of its own."""

import deepspeed
import hydra
import torch
from omegaconf import OmegaConf
from torch import nn


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(config):
    torch.manual_seed(config.seed)
    model = nn.Sequential(nn.Embedding(64, config.width), nn.Linear(config.width, 64))
    engine, _, loader, _ = deepspeed.initialize(
        model=model,
        model_parameters=model.parameters(),
        config=OmegaConf.to_container(config.deepspeed),
        training_data=list(torch.randint(0, 64, (4096, 33))),
    )
    for ids in loader:
        logits = engine(ids[:, :-1])
        engine.backward(
            nn.functional.cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten())
        )
        engine.step()


if __name__ == "__main__":
    main()
