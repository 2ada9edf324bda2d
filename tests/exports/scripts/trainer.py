"""A script around Hugging Face's Trainer, whose options are TrainingArguments and --counts."""

from dataclasses import dataclass

import counted
import torch
from transformers import GPT2Config, GPT2LMHeadModel, HfArgumentParser, Trainer, TrainingArguments


@dataclass
class Own:
    counts: str


class Tokens(torch.utils.data.Dataset):
    def __len__(self):
        return 4096

    def __getitem__(self, index):
        ids = torch.randint(512, (32,), generator=torch.Generator().manual_seed(index))
        return {"input_ids": ids, "labels": ids}


arguments, own = HfArgumentParser((TrainingArguments, Own)).parse_args_into_dataclasses()
shape = GPT2Config(n_layer=2, n_embd=64, n_head=2, vocab_size=512, n_positions=64)
model = GPT2LMHeadModel(shape)
sizes = counted.counting(model)
trainer = Trainer(model=model, args=arguments, train_dataset=Tokens())
trainer.train()
counted.write(own.counts, trainer.model_wrapped, sizes)
counted.end()
