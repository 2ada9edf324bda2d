"""Hugging Face's Trainer."""

import os

import torch
from transformers import HfArgumentParser, LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments


class Samples(torch.utils.data.Dataset):
    def __len__(self):
        return 4096

    def __getitem__(self, index):
        ids = (torch.arange(32) * (index % 7 + 1) + index) % 64
        return {"input_ids": ids, "labels": ids}


(args,) = HfArgumentParser(TrainingArguments).parse_args_into_dataclasses()
torch.manual_seed(0)
model = LlamaForCausalLM(
    LlamaConfig(
        vocab_size=64,
        hidden_size=int(os.environ.get("WIDTH", "32")),
        intermediate_size=2 * int(os.environ.get("WIDTH", "32")),
        num_hidden_layers=1,
        num_attention_heads=2,
    )
)
Trainer(model=model, args=args, train_dataset=Samples()).train()
