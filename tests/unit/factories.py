"""Factories, batches and losses as users write them, most of them with a mistake."""

import torch
from torch import Tensor, nn


class Tokens(nn.Module):
    vocab_size = 50

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.table = nn.Embedding(50, width)
        self.head = nn.Linear(width, 50)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.table(ids))


class LooksAtValues(Tokens):
    def forward(self, ids: Tensor) -> Tensor:
        if int(ids.max()) < 0:
            raise ValueError("no such token")
        return super().forward(ids).mean()


class DrawsItsWidth(LooksAtValues):
    def __init__(self) -> None:
        super().__init__(width=int(torch.full((2,), 10**9).max()))


class Frozen(Tokens):
    def forward(self, ids: Tensor) -> Tensor:
        return super().forward(ids).mean().detach()


class WithoutVocabulary(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean()


class Recomputed(LooksAtValues):
    checkpoint_every = 0
    checkpoint_on_cpu = False


class Output:
    def __init__(self, loss: Tensor) -> None:
        self.loss = loss


class InOutput(Tokens):
    def forward(self, ids: Tensor) -> Output:
        return Output(super().forward(ids).mean())


class InDict(Tokens):
    def forward(self, ids: Tensor) -> dict[str, Tensor]:
        return {"loss": super().forward(ids).mean()}


def build(width: int = 8) -> nn.Module:
    return Tokens(width)


def raises() -> nn.Module:
    raise RuntimeError("no luck\nat all")


def no_module() -> dict[str, int]:
    return {"width": 1}


def mean(output: Tensor, batch: Tensor) -> Tensor:
    return output.mean()


def mean_of_samples(output: Tensor, batch: Tensor) -> Tensor:
    return output.mean(dim=(1, 2))


def of_output_alone(output: Tensor) -> Tensor:
    return output.mean()


def pair(samples: int, length: int, generator: torch.Generator) -> tuple[Tensor]:
    return (torch.randint(50, (samples, length), generator=generator),)


def named(samples: int, length: int, generator: torch.Generator) -> dict[str, Tensor]:
    return {"ids": torch.randint(50, (samples, length), generator=generator)}


def misnamed(samples: int, length: int, generator: torch.Generator) -> dict[str, Tensor]:
    return {"tokens": torch.randint(50, (samples, length), generator=generator)}


def one_too_many(samples: int, length: int, generator: torch.Generator) -> Tensor:
    return torch.randint(50, (samples + 1, length), generator=generator)


def without_samples(length: int) -> Tensor:
    return torch.zeros(2, length)


not_a_function = 3
