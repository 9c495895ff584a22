"""The languages that a pretrained model was made for, as its folder's README.md declares them."""

from __future__ import annotations

from pathlib import Path

import yaml

MULTILINGUAL = "multilingual"
_FRONT_MATTER = 100_000  # characters that are searched for it
# Codes of ISO 639, with the names of `text.language`.
_CODES = (
    "af:afrikaans am:amharic ar:arabic be:belarusian bg:bulgarian bn:bengali br:breton ca:catalan cs:czech "
    "cy:welsh da:danish de:german el:greek en:english eo:esperanto es:spanish et:estonian eu:basque "
    "fa:persian fi:finnish fr:french ga:irish gl:galician gu:gujarati he:hebrew hi:hindi hr:croatian "
    "hu:hungarian hy:armenian id:indonesian is:icelandic it:italian ja:japanese ka:georgian km:khmer "
    "kn:kannada ko:korean la:latin lo:lao lt:lithuanian lv:latvian mk:macedonian ml:malayalam mn:mongolian "
    "mr:marathi ms:malay my:burmese nb:norwegian ne:nepali nl:dutch nn:norwegian no:norwegian pa:punjabi "
    "pl:polish pt:portuguese ro:romanian ru:russian si:sinhala sk:slovak sl:slovenian sq:albanian sr:serbian "
    "sv:swedish sw:swahili ta:tamil te:telugu th:thai tl:tagalog tr:turkish tt:tatar uk:ukrainian ur:urdu "
    "vi:vietnamese yi:yiddish zh:chinese"
)
_NAMES = dict(pair.split(":") for pair in _CODES.split())


def declared_languages(folder: Path) -> tuple[str, ...]:
    """Return the `language` of a model card's front matter, as names; () where there is none that can be read.

    A language that `text.language` does not know keeps its code; more than one word for it, "zh-CN", is cut to the
    first.
    """
    try:
        text = (folder / "README.md").read_text(encoding="utf-8")[:_FRONT_MATTER]
        if not text.startswith("---\n"):
            return ()
        given = yaml.safe_load(text[4:].split("\n---", 1)[0])
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return ()
    language = given.get("language") if isinstance(given, dict) else None
    codes = language if isinstance(language, list) else [language]
    # YAML reads Norwegian's code, no, as False.
    words = ["no" if code is False else str(code).lower().split("-")[0] for code in codes if code is not None]
    return tuple(dict.fromkeys(_NAMES.get(word, word) for word in words))
