"""A transformer's tokenizer: read or learnt, used through the fast library, saved as transformers has it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from nearfar.column import Column, Ids
from nearfar.encoders.pretrained.folder import read_settings
from nearfar.errors import InputError
from nearfar.storage.fingerprint import fingerprint
from nearfar.text.tokenizer import learn, table_size

SPECIAL = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
GENERIC = ("PreTrainedTokenizerFast", "TokenizersBackend")  # a tokenizer.json read as it is
ANY = 1_000_000  # tokens: what a tokenizer without a limit says is far above it


class PretrainedTokenizer:
    """Texts to token ids, special tokens added, cut to a length."""

    def __init__(self, tokenizer: Any, *, lower_case: bool = False) -> None:
        from tokenizers import Tokenizer

        self.tokenizer, self.lower_case = tokenizer, lower_case
        self._fast = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())  # its own: cut and padded as we say
        self._fast.no_padding()
        self._fast.no_truncation()
        self.special = int(self._fast.num_special_tokens_to_add(False))
        self.length: int | None = None
        self.longest = int(min(tokenizer.model_max_length, ANY))
        self.identifier = fingerprint("texts 1", self._fast.to_str(), lower_case, tokenizer.truncation_side)

    @classmethod
    def read(cls, folder: Path, *, lower_case: bool) -> Self:
        """Read a folder's tokenizer. Errors: `InputError` where transformers has no fast one for it."""
        from transformers import AutoTokenizer, PreTrainedTokenizerFast

        path = folder / "tokenizer_config.json"
        given = read_settings(path) if path.is_file() else {}
        # Of such a name transformers would take a model type's own class all the same, and read the text otherwise.
        plain = given.get("tokenizer_class") in GENERIC and (folder / "tokenizer.json").is_file()
        kind: Any = PreTrainedTokenizerFast if plain else AutoTokenizer
        try:
            found = kind.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
            return cls(found, lower_case=lower_case)
        except (OSError, ValueError, KeyError, ImportError, TypeError, AttributeError) as error:
            why = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise InputError(f"{folder}: its tokenizer cannot be read as a fast one ({why})") from error

    @classmethod
    def learnt(cls, columns: Sequence[Column], size: int) -> Self:
        """Learn one from some columns' texts, with [CLS] in front of each text and [SEP] behind it."""
        from tokenizers import processors
        from transformers import PreTrainedTokenizerFast

        tokenizer = learn(columns, size, list(SPECIAL.values()))
        marks = [(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
        tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=marks)
        whole: Any = PreTrainedTokenizerFast
        return cls(whole(tokenizer_object=tokenizer, **SPECIAL))

    def ids(self) -> dict[str, int | None]:
        """Return what a model's config must know of the tokenizer."""
        known = ("pad", "cls", "sep", "bos", "eos")
        found = {f"{name}_token_id": getattr(self.tokenizer, f"{name}_token_id", None) for name in known}
        return {"vocab_size": table_size(self._fast), **found}

    def cut(self, length: int) -> int:
        """Read no more than so many tokens of a text from now on, special ones included; return that length."""
        self._fast.enable_truncation(length, direction=self.tokenizer.truncation_side)
        self.length = length
        return length

    def portable(self) -> str:
        """Return a tokenizer.json that alone does what `__call__` does: strips, lowers, adds special tokens, cuts."""
        from tokenizers import Tokenizer, normalizers

        whole = Tokenizer.from_str(self._fast.to_str())
        own = [] if whole.normalizer is None else [whole.normalizer]
        lower = [normalizers.Lowercase()] if self.lower_case else []
        whole.normalizer = normalizers.Sequence([normalizers.Strip(), *lower, *own])
        return str(whole.to_str())

    def __call__(self, texts: Sequence[str]) -> tuple[npt.NDArray[np.int32], Ids]:
        """Return token ids, one text after the other (t,), and their numbers (n,). A text of no token has none."""
        cells = [text.strip().lower() if self.lower_case else text.strip() for text in texts]
        try:
            encodings = self._fast.encode_batch_fast(cells)
        except Exception as error:  # the library raises bare ones
            raise InputError(f"encoders.transformer: the tokenizer cannot read these texts: {error}") from error
        lengths = np.fromiter((len(e) for e in encodings), np.int64, len(encodings))
        ids = [np.asarray(e.ids, np.int32) for e in encodings]
        return np.concatenate([np.empty(0, np.int32), *ids]), lengths
