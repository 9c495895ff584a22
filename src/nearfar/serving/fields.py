"""What fields of requests have in common: texts that can be embedded, ids, and models that are strict."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, StringConstraints, Tag

from nearfar.serving.service import MOST_TEXTS

TOKENS = (
    "input is token ids, and only this model's own tokenizer makes tokens for it: send texts. In LangChain's "
    "OpenAIEmbeddings set check_embedding_ctx_length=False"
)
# A text with a letter or sign in it; the class is what Python strips as white space.
Text = Annotated[str, StringConstraints(min_length=1, pattern=r"[^\s\x1c-\x1f]")]
ManyTexts = Annotated[list[Text], Field(min_length=1, max_length=MOST_TEXTS)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=256)]
InputType = Literal["query", "document", "search_query", "search_document"]


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


WHOLE = BeforeValidator(_whole)  # in JSON 3.0 is a whole number, too
Positive = Annotated[int, Field(ge=1), WHOLE]


def _kind(value: Any) -> str:
    """Return which of the two is meant, so that an error is of that one. The names are no names of fields."""
    return "many texts" if isinstance(value, list) else "one text"


def _refuse_tokens(value: Any) -> Any:
    first = value[0] if isinstance(value, list) and value else None
    if isinstance(first, int | list) and not isinstance(first, bool):
        raise ValueError(TOKENS)
    return value


Texts = Annotated[
    Annotated[Text, Tag("one text")] | Annotated[ManyTexts, Tag("many texts")],
    Discriminator(_kind),
    BeforeValidator(_refuse_tokens),
]


class Body(BaseModel):
    """A request's body: no text is read as a number, and what it does not know is passed over."""

    model_config = ConfigDict(strict=True, extra="ignore")


def texts_of(value: str | list[str]) -> list[str]:
    """Return one text or several as several."""
    return [value] if isinstance(value, str) else value
