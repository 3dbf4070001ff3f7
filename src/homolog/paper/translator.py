"""The encoder–decoder Transformer of Table F.1: layer norm before every sublayer, as tensor2tensor has it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn

PADDING, UNKNOWN, BEGIN, END = range(4)
"""What the first four tokens of every vocabulary stand for."""
PLACES = {
    "normalised": "layer norm",
    "scaled": "scale",
    "inside": "attention/feed-forward",
    "total": "residual sum",
}
"""After what in a sublayer it is compared, in order of execution: name of the module → in words."""


@dataclass(frozen=True)
class Translator:
    """Everything that determines a Transformer but its weights."""

    vocabulary: int
    """Tokens that both languages share."""
    width: int
    """Features of a token; of the base model 512."""
    heads: int = 4
    blocks: int = 6
    """Of the encoder; each has two sublayers, attention and feed-forward."""
    decoder_blocks: int = 1
    """The base model has six; the decoder is not compared, and a small one leaves more to the encoder."""
    family: str = "translator"

    def build(self) -> Transformer:
        """Build the network, its weights drawn from PyTorch's global generator."""
        return Transformer(self)

    def layers(self, place: str) -> list[str]:
        """Name the encoder's sublayers, in order, at one of the places."""
        return [f"{kind}{i}.{place}" for i in range(1, self.blocks + 1) for kind in ("attention", "feed_forward")]


class Scale(nn.Module):
    """What layer norm learns: a factor and a summand for each channel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scale and move every channel."""
        return x * self.weight + self.bias


class Attention(nn.Module):
    """Attention to the tokens themselves, or to the memory that an encoder left."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = nn.MultiheadAttention(width, heads, batch_first=True)

    def forward(
        self,
        x: torch.Tensor,
        padding: torch.Tensor | None,
        memory: torch.Tensor | None = None,
        later: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Attend to what is neither padding nor later."""
        seen = x if memory is None else memory
        # With its weights, attention over a few tokens is faster.
        options = {"need_weights": True, "average_attn_weights": False}
        attended: torch.Tensor = self.heads(x, seen, seen, key_padding_mask=padding, attn_mask=later, **options)[0]
        return attended


class FeedForward(nn.Sequential):
    """Two linear maps with a ReLU between, four times as wide inside."""

    def __init__(self, width: int) -> None:
        super().__init__(nn.Linear(width, 4 * width), nn.ReLU(), nn.Linear(4 * width, width))


class Sum(nn.Module):
    """The residual sum."""

    def forward(self, x: torch.Tensor, change: torch.Tensor) -> torch.Tensor:
        """Add what the sublayer found to what came into it."""
        return x + change


class Sublayer(nn.Module):
    """Layer norm, its scale, attention or feed-forward, and the residual sum: the four places."""

    def __init__(self, width: int, inside: nn.Module) -> None:
        super().__init__()
        self.normalised = nn.LayerNorm(width, elementwise_affine=False)
        self.scaled = Scale(width)
        self.inside = inside
        self.total = Sum()

    def forward(self, x: torch.Tensor, *context: torch.Tensor | None) -> torch.Tensor:
        """Pass tokens on; the context is what attention needs beside them."""
        changed = self.inside(self.scaled(self.normalised(x)), *context)
        total: torch.Tensor = self.total(x, changed)
        return total


class Embedding(nn.Module):
    """Tokens as vectors, with their positions as sines and cosines."""

    def __init__(self, vocabulary: int, width: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width, padding_idx=PADDING)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return vectors (sentences, positions, features)."""
        width = self.tokens.embedding_dim
        rates = torch.exp(-math.log(10_000) * torch.arange(width // 2, device=tokens.device) / (width // 2))
        angles = torch.arange(tokens.shape[1], device=tokens.device)[:, None] * rates
        positions = torch.cat([angles.sin(), angles.cos()], dim=1)
        embedded: torch.Tensor = self.tokens(tokens) * math.sqrt(width) + positions
        return embedded


class Encoder(nn.Module):
    """Blocks of attention and feed-forward over the tokens of sentences."""

    def __init__(self, form: Translator) -> None:
        super().__init__()
        self.embedding = Embedding(form.vocabulary, form.width)
        for i in range(1, form.blocks + 1):
            self.add_module(f"attention{i}", Sublayer(form.width, Attention(form.width, form.heads)))
            self.add_module(f"feed_forward{i}", Sublayer(form.width, FeedForward(form.width)))
        self.norm = nn.LayerNorm(form.width)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return what the decoder attends to."""
        padding = tokens == PADDING
        x = self.embedding(tokens)
        for sublayer in self.children():
            if isinstance(sublayer, Sublayer):
                x = sublayer(x, padding) if isinstance(sublayer.inside, Attention) else sublayer(x)
        memory: torch.Tensor = self.norm(x)
        return memory


class DecoderBlock(nn.Module):
    """Attention to the tokens before, attention to the encoder's memory, feed-forward."""

    def __init__(self, form: Translator) -> None:
        super().__init__()
        self.before = Sublayer(form.width, Attention(form.width, form.heads))
        self.across = Sublayer(form.width, Attention(form.width, form.heads))
        self.feed_forward = Sublayer(form.width, FeedForward(form.width))

    def forward(
        self, x: torch.Tensor, memory: torch.Tensor, padding: torch.Tensor, later: torch.Tensor
    ) -> torch.Tensor:
        """Pass the tokens of the translation on."""
        x = self.across(self.before(x, None, None, later), padding, memory)
        passed: torch.Tensor = self.feed_forward(x)
        return passed


class Transformer(nn.Module):
    """Sentences and the beginnings of their translations → logits of the next token; one embedding for everything."""

    def __init__(self, form: Translator) -> None:
        super().__init__()
        self.encoder = Encoder(form)
        self.decoder = nn.ModuleList(DecoderBlock(form) for _ in range(form.decoder_blocks))
        self.norm = nn.LayerNorm(form.width)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
        nn.init.normal_(self.encoder.embedding.tokens.weight, std=form.width**-0.5)

    def forward(self, source: torch.Tensor, begun: torch.Tensor) -> torch.Tensor:
        """Return logits (sentences, positions, vocabulary)."""
        memory, padding = self.encoder(source), source == PADDING
        later = torch.ones(begun.shape[1], begun.shape[1], dtype=torch.bool, device=begun.device).triu(1)
        x = self.encoder.embedding(begun)
        for block in self.decoder:
            x = block(x, memory, padding, later)
        return torch.nn.functional.linear(self.norm(x), self.encoder.embedding.tokens.weight)
