"""A transformer's tokenizer: read or trained, run by the `tokenizers` library, saved as transformers has it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from nearfar.column import Column, Ids
from nearfar.encoders.pretrained.backbone import quiet
from nearfar.encoders.pretrained.two_towers import LEGACY_END, SIGLIP, family_of, pools_one_token, text_config
from nearfar.errors import InputError
from nearfar.storage.fingerprint import fingerprint
from nearfar.storage.model_files import read_settings
from nearfar.text.language import script
from nearfar.text.tokenizer import (
    TRIAL,
    Kept,
    cleaned,
    library_errors,
    quiet_panics,
    refuse_far_ids,
    table_size,
    train_tokenizer,
    truncated,
    try_tokenizer,
)

SPECIAL_TOKENS = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
# Classes of a tokenizer.json that is read as it is; that of SigLIP would read a model of sentencepiece instead.
READ_AS_THEY_ARE = ("PreTrainedTokenizerFast", "TokenizersBackend", "SiglipTokenizer", "SiglipTokenizerFast")
WHOLE = ("Cjk", "Kana")  # scripts whose letters are words or syllables
UNREADABLE = ("encoders.transformer: the tokenizer cannot read these texts", "leave them out")  # what, and the fix
NO_LIMIT = 1_000_000  # tokens: a tokenizer without a maximum length gives a far larger one


@dataclass(frozen=True)
class Ending:
    """How the texts of a tower end that pools one token, which nearfar does at the last.

    end: CLIP's end token, at the first of which a text ends; None for the first token of the highest id, which configs
    of old mean. filled: SigLIP's texts are filled up to the maximum length, and the padding counts as tokens.
    """

    end: int | None = None
    filled: bool = False

    def cut(self, ids: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
        """Return a text's ids up to its end token; all, where they have none."""
        if self.filled or not len(ids):
            return ids
        at = ids.argmax() if self.end is None else (ids == self.end).argmax()
        return ids[: at + 1] if self.end is None or ids[at] == self.end else ids


def _ending(folder: Path) -> Ending | None:
    """Return how the texts of a folder's model end; None, where nothing is pooled at the end."""
    if not pools_one_token(folder):
        return None
    config = text_config(folder)
    if family_of(config.to_dict(), "text") == SIGLIP:
        return Ending(filled=True)
    return Ending(None if config.eos_token_id == LEGACY_END else config.eos_token_id)


class PretrainedTokenizer:
    """Texts to token ids, with special tokens, truncated to `max_length`; they end as `ending` says."""

    def __init__(self, tokenizer: Any, *, lower_case: bool = False, ending: Ending | None = None) -> None:
        from tokenizers import Tokenizer

        self.tokenizer, self.lower_case, self.ending = tokenizer, lower_case, ending
        self._fast = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())  # a copy, for its truncation and padding
        self._fast.no_padding()
        self._fast.no_truncation()
        self.special_tokens = int(self._fast.num_special_tokens_to_add(False))  # added to each text
        self.max_length: int | None = None  # see `truncate_to`
        self.longest = int(min(tokenizer.model_max_length, NO_LIMIT))  # what the tokenizer's folder allows
        space = [lower_case, tokenizer.truncation_side]
        if ending is not None:
            space += ["filled", *self._padding().values()] if ending.filled else ["end", ending.end]
        self.identifier = fingerprint("texts 1", self._fast.to_str(), *space)

    @property
    def filled(self) -> bool:
        """Whether texts are filled up to the maximum length by padding that counts as tokens."""
        return self.ending is not None and self.ending.filled

    @classmethod
    def read(cls, folder: Path, *, lower_case: bool) -> Self:
        """Read a folder's tokenizer. Errors: `InputError` where transformers cannot read it as a fast one."""
        from transformers import AutoTokenizer, PreTrainedTokenizerFast

        for name in ("tokenizer.json", "vocab.json"):
            if (folder / name).is_file():
                refuse_far_ids(folder / name)
        path = folder / "tokenizer_config.json"
        given = read_settings(path) if path.is_file() else {}
        # AutoTokenizer would replace a generic class by that of the model's type, which may tokenise differently.
        generic = given.get("tokenizer_class") in READ_AS_THEY_ARE and (folder / "tokenizer.json").is_file()
        reader: Any = PreTrainedTokenizerFast if generic else AutoTokenizer
        fix = "copy the model folder again, or save it with a tokenizer.json"
        with library_errors(f"{folder}: its tokenizer cannot be read as a fast one", fix), quiet_panics(), quiet():
            ending = _ending(folder)
            tokenizer = reader.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
            if ending is not None and ending.filled and tokenizer.pad_token_id is None:
                raise InputError(
                    f"{folder}: its texts are filled up to one length, and its tokenizer has no pad_token; copy the "
                    "model folder again"
                )
            result = cls(tokenizer, lower_case=lower_case, ending=ending)
            try_tokenizer(result._fast)
        result._refuse_other_end(folder)
        return result

    def _refuse_other_end(self, folder: Path) -> None:
        """Refuse a tokenizer that adds no end token where a text is pooled at it. Errors: `InputError`."""
        if self.ending is None or self.ending.filled:
            return
        ids = self._fast.encode(TRIAL[0]).ids
        if not ids or ids[-1] != (max(ids) if self.ending.end is None else self.ending.end):
            raise InputError(
                f"{folder}: its tokenizer ends no text with the end token of config.json ({self.ending.end}), at which "
                "the model pools; the folder's files do not belong together"
            )

    def _padding(self) -> dict[str, Any]:
        """Return what fills a text."""
        tokenizer = self.tokenizer
        return {
            "pad_id": int(tokenizer.pad_token_id),
            "pad_token": str(tokenizer.pad_token),
            "direction": str(tokenizer.padding_side),
        }

    @classmethod
    def train(cls, columns: Sequence[Column], size: int, keeps: Kept = "letters") -> Self:
        """Train one of `size` tokens on the texts of columns, with [CLS] in front of each text and [SEP] behind it.

        Where all of a text is kept, nothing stands behind it, so that a language model goes on from there; [SEP] is
        then what it ends a text with.
        """
        from tokenizers import processors
        from transformers import PreTrainedTokenizerFast

        tokenizer = train_tokenizer(columns, size, list(SPECIAL_TOKENS.values()), keeps)
        ids = [(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
        form, more = "[CLS] $A [SEP]", {}
        if keeps == "text":
            form, more = "[CLS] $A", {"bos_token": "[CLS]", "eos_token": "[SEP]"}
        tokenizer.post_processor = processors.TemplateProcessing(single=form, special_tokens=ids)
        wrapper: Any = PreTrainedTokenizerFast
        return cls(wrapper(tokenizer_object=tokenizer, **SPECIAL_TOKENS, **more))

    @property
    def table_size(self) -> int:
        """The number of rows that a table of token vectors needs: the largest id + 1."""
        return table_size(self._fast)

    def said(self, asked: int) -> list[str]:
        """Return a line where the texts gave fewer tokens than a new tokenizer was asked for."""
        found = self.table_size
        if found >= asked:
            return []
        return [f"the texts give a vocabulary of {found:,} tokens, fewer than encoder.vocabulary={asked} asks for"]

    def refuse_ids_beyond(self, rows: int, where: str) -> None:
        """Refuse a table of token vectors with fewer rows than tokens. Errors: `InputError`, which names `where`."""
        if self.table_size > rows:
            raise InputError(
                f"{where}: the tokenizer has ids up to {self.table_size - 1}, and the table of token vectors has "
                f"{rows} rows; the folder's files do not belong together"
            )

    def config_settings(self) -> dict[str, int | None]:
        """Return the settings of a model's config that depend on the tokenizer: vocabulary size and special ids."""
        names = ("pad", "cls", "sep", "bos", "eos")
        ids = {f"{name}_token_id": getattr(self.tokenizer, f"{name}_token_id", None) for name in names}
        return {"vocab_size": self.table_size, **ids}

    def truncate_to(self, length: int) -> int:
        """Truncate texts to so many tokens from now on, special ones included; return that length."""
        self._fast.enable_truncation(length, direction=self.tokenizer.truncation_side)
        if self.filled:
            self._fast.enable_padding(length=length, **self._padding())
        self.max_length = length
        return length

    def json(self) -> str:
        """Return the tokenizer.json of `__call__`, which reads texts that are `cleaned`."""
        return str(self._fast.to_str())

    def standalone_json(self) -> str:
        """Return a tokenizer.json that does all of `__call__`: strip, lower-case, add special tokens, truncate.

        When not to use it: where texts can be `cleaned` before. The library's own steps do not end at the same
        characters (U+001C, which is white space in Python), leave special tokens in a text as they are, and know no
        final sigma.
        """
        from tokenizers import Tokenizer, normalizers

        copy = Tokenizer.from_str(self._fast.to_str())
        normalizer = [] if copy.normalizer is None else [copy.normalizer]
        lower = [normalizers.Lowercase()] if self.lower_case else []
        copy.normalizer = normalizers.Sequence([normalizers.Strip(), *lower, *normalizer])
        return str(copy.to_str())

    def __call__(self, texts: Sequence[str]) -> tuple[npt.NDArray[np.int32], Ids]:
        """Return the token ids of texts, one text after the other (t,), and the texts' lengths (n,), which may be 0."""
        with library_errors(*UNREADABLE):
            encodings = self._fast.encode_batch_fast(cleaned(texts, lower_case=self.lower_case))
        ids = [np.asarray(e.ids, np.int32) for e in encodings]
        if self.ending is not None:
            ids = [self.ending.cut(one) for one in ids]
        lengths = np.fromiter(map(len, ids), np.int64, len(ids))
        return np.concatenate([np.empty(0, np.int32), *ids]), lengths

    def decode(self, ids: Sequence[int]) -> str:
        """Return token ids as a text, without special tokens."""
        decoded: str = self._fast.decode(list(ids), skip_special_tokens=True)
        return decoded

    def truncated(self, texts: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Return for each text whether it has more tokens than `__call__` gives, (n,)."""
        return truncated(self._fast, cleaned(texts, lower_case=self.lower_case))

    def unread_and_fertility(self, texts: Sequence[str]) -> tuple[float, float]:
        """Return the share of the texts' letters that are unknown or alone, and the number of tokens of a word.

        A letter is alone where its token has no other and the word has; Chinese characters and Kana, which are words or
        syllables, never are. Tokens without a letter do not count.
        """
        letters = unread = words = tokens = 0
        unknown = self.tokenizer.unk_token_id  # None in tokenizers that read every text
        with library_errors(*UNREADABLE):
            encodings = self._fast.encode_batch(list(texts), add_special_tokens=False)
        for text, encoding in zip(texts, encodings):
            by_word: dict[int | None, list[tuple[bool, int, str]]] = {}
            for token, word, (start, end) in zip(encoding.ids, encoding.word_ids, encoding.offsets):
                if size := sum(map(str.isalpha, text[start:end])):
                    by_word.setdefault(word, []).append((token == unknown, size, text[start:end]))
            for parts in by_word.values():
                words, tokens = words + 1, tokens + len(parts)
                letters += sum(size for _, size, _ in parts)
                alone = len(parts) > 1
                unread += sum(
                    size for none, size, part in parts if none or (alone and size == 1 and script(part) not in WHOLE)
                )
        return unread / max(letters, 1), tokens / max(words, 1)
