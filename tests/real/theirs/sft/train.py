"""TRL's SFTTrainer on texts that are made here."""

import os

from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import SFTConfig, SFTTrainer, TrlParser

(args,) = TrlParser((SFTConfig,)).parse_args_and_config()
words = {word: number for number, word in enumerate(["<pad>", "<eos>", *map(str, range(62))])}
tokenizer = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
tokenizer = PreTrainedTokenizerFast(
    tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", unk_token="<pad>"
)
texts = [" ".join(str((n * k) % 62) for k in range(24)) for n in range(512)]
model = LlamaForCausalLM(
    LlamaConfig(
        vocab_size=64,
        hidden_size=int(os.environ.get("WIDTH", "32")),
        intermediate_size=2 * int(os.environ.get("WIDTH", "32")),
        num_hidden_layers=1,
        num_attention_heads=2,
        pad_token_id=0,
        eos_token_id=1,
    )
)
trainer = SFTTrainer(
    model=model,
    args=args,
    train_dataset=Dataset.from_dict({"text": texts}),
    processing_class=tokenizer,
)
trainer.train()
