"""A child that ends as transformers does: with a reason, and advice behind it."""

try:
    {}["foo"]
except KeyError:
    raise ValueError("no such model\n\nYou can update with the command `pip install`.") from None
