"""A small BERT that fills in masked words, with Accelerate.

accelerate launch train.py --batch-size 1 --accumulation 8
"""

import argparse

import torch
from accelerate import Accelerator
from accelerate.utils import DeepSpeedPlugin, set_seed
from torch.utils.data import DataLoader
from transformers import BertConfig, BertForMaskedLM

LENGTH = 64
MASK = 1


class Masked(torch.utils.data.Dataset):
    """Runs of consecutive words, every seventh masked."""

    def __len__(self):
        return 2048

    def __getitem__(self, index):
        words = torch.arange(index, index + LENGTH) % 250 + 2
        masked = torch.arange(LENGTH) % 7 == index % 7
        return {
            "input_ids": torch.where(masked, MASK, words),
            "labels": torch.where(masked, words, -100),
        }


def main():
    """Trains."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--accumulation", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=2)
    args = parser.parse_args()

    plugin = DeepSpeedPlugin(zero_stage=2, gradient_accumulation_steps=args.accumulation)
    accelerator = Accelerator(
        deepspeed_plugin=plugin, gradient_accumulation_steps=args.accumulation
    )
    set_seed(0)
    config = BertConfig(
        vocab_size=256,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=LENGTH,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    model = BertForMaskedLM(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    loader = DataLoader(Masked(), batch_size=args.batch_size, shuffle=True)
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    for epoch in range(args.epochs):
        for batch in loader:
            with accelerator.accumulate(model):
                loss = model(**batch).loss
                accelerator.backward(loss)
                optimizer.step()
                optimizer.zero_grad()
        accelerator.print(f"epoch {epoch}: loss {loss.item():.3f}")


if __name__ == "__main__":
    main()
