"""A small Llama with Hugging Face's Trainer, from scratch.

deepspeed train.py --deepspeed ds_config.json --output_dir out --per_device_train_batch_size 1 \
    --gradient_accumulation_steps 8
"""

from dataclasses import dataclass

import torch
from transformers import HfArgumentParser, LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

LENGTH = 64


@dataclass
class ModelArguments:
    """The model's shape."""

    hidden_size: int = 64
    layers: int = 2


class Counting(torch.utils.data.Dataset):
    """Runs of consecutive numbers."""

    def __len__(self):
        return 2048

    def __getitem__(self, index):
        ids = torch.arange(index, index + LENGTH) % 256
        return {"input_ids": ids, "labels": ids}


def main():
    """Trains."""
    parser = HfArgumentParser((ModelArguments, TrainingArguments))
    model_args, training_args = parser.parse_args_into_dataclasses()
    config = LlamaConfig(
        vocab_size=256,
        hidden_size=model_args.hidden_size,
        intermediate_size=2 * model_args.hidden_size,
        num_hidden_layers=model_args.layers,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=LENGTH,
    )
    model = LlamaForCausalLM(config)
    trainer = Trainer(model=model, args=training_args, train_dataset=Counting())
    trainer.train()
    trainer.save_model()


if __name__ == "__main__":
    main()
