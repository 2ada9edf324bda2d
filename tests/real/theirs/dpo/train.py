"""TRL's DPOTrainer: rows of chosen and rejected answers in one batch, and a reference model beside it."""

import os

from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import DPOConfig, DPOTrainer, TrlParser

(args,) = TrlParser((DPOConfig,)).parse_args_and_config()
words = {word: number for number, word in enumerate(["<pad>", "<eos>", *map(str, range(62))])}
tokenizer = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
tokenizer = PreTrainedTokenizerFast(
    tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", unk_token="<pad>"
)


def text(n, factor):
    return " ".join(str((n * factor * k) % 62) for k in range(8))


pairs = {
    "prompt": [text(n, 1) for n in range(512)],
    "chosen": [" " + text(n, 2) for n in range(512)],
    "rejected": [" " + text(n, 3) for n in range(512)],
}
shape = LlamaConfig(
    vocab_size=64,
    hidden_size=int(os.environ.get("WIDTH", "32")),
    intermediate_size=2 * int(os.environ.get("WIDTH", "32")),
    num_hidden_layers=1,
    num_attention_heads=2,
    pad_token_id=0,
    eos_token_id=1,
)
trainer = DPOTrainer(
    model=LlamaForCausalLM(shape),
    ref_model=LlamaForCausalLM(shape),
    args=args,
    train_dataset=Dataset.from_dict(pairs),
    processing_class=tokenizer,
)
trainer.train()
