"""A character model with plain DeepSpeed.

deepspeed train.py --deepspeed_config ds_config.json
"""

import argparse

import deepspeed
import torch
from torch import nn
from torch.utils.data import Dataset

LENGTH = 64
TEXT = "the quick brown fox jumps over the lazy dog. " * 400


class Characters(Dataset):
    """Pieces of a text, and the same one character further on."""

    def __init__(self, text):
        self.alphabet = sorted(set(text))
        self.ids = torch.tensor([self.alphabet.index(c) for c in text])

    def __len__(self):
        return (len(self.ids) - 1) // LENGTH

    def __getitem__(self, index):
        piece = self.ids[index * LENGTH : (index + 1) * LENGTH + 1]
        return piece[:-1], piece[1:]


class CharacterModel(nn.Module):
    """Returns the loss."""

    def __init__(self, vocab_size, width, layers):
        super().__init__()
        self.embed = nn.Embedding(vocab_size, width)
        self.position = nn.Embedding(LENGTH, width)
        layer = nn.TransformerEncoderLayer(width, 4, 4 * width, dropout=0.0, batch_first=True)
        self.blocks = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head = nn.Linear(width, vocab_size)

    def forward(self, ids, targets):
        length = ids.shape[1]
        x = self.embed(ids) + self.position(torch.arange(length, device=ids.device))
        mask = nn.Transformer.generate_square_subsequent_mask(length, device=ids.device)
        logits = self.head(self.blocks(x, mask=mask.to(x.dtype), is_causal=True))
        return nn.functional.cross_entropy(logits.float().flatten(0, 1), targets.flatten())


def main():
    """Trains."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--local_rank", type=int, default=-1)
    parser = deepspeed.add_config_arguments(parser)
    args = parser.parse_args()

    torch.manual_seed(0)
    data = Characters(TEXT)
    model = CharacterModel(len(data.alphabet), args.width, args.layers)
    engine, _, loader, _ = deepspeed.initialize(
        args=args, model=model, model_parameters=model.parameters(), training_data=data
    )
    for epoch in range(args.epochs):
        for ids, targets in loader:
            loss = engine(ids.to(engine.device), targets.to(engine.device))
            engine.backward(loss)
            engine.step()
        if engine.global_rank == 0:
            print(f"epoch {epoch}: loss {loss.item():.3f}")


if __name__ == "__main__":
    main()
