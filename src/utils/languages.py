"""Language codes and their English names: the ones Whisper knows, and every common way of writing them.

A language is an ISO 639-1 code where one exists (`en`), else ISO 639-3 (`haw`, `yue`); None means "detect it".
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from types import MappingProxyType

# One language a line: our code, other codes (ISO 639-2/3, withdrawn codes, single members of macrolanguages), its
# name, other names behind slashes. The first name is what OpenAI's verbose_json shows.
_TABLE = """
en eng | english
zh zho chi cmn | chinese / mandarin
de deu ger | german
es spa | spanish / castilian
ru rus | russian
ko kor | korean
fr fra fre | french
ja jpn | japanese
pt por | portuguese
tr tur | turkish
pl pol | polish
ca cat | catalan / valencian
nl nld dut | dutch / flemish
ar ara arb | arabic
sv swe | swedish
it ita | italian
id ind in | indonesian
hi hin | hindi
fi fin | finnish
vi vie | vietnamese
he heb iw | hebrew
uk ukr | ukrainian
el ell gre | greek
ms msa may zsm | malay
cs ces cze | czech
ro ron rum mo mol | romanian / moldavian / moldovan
da dan | danish
hu hun | hungarian
ta tam | tamil
no nor nb nob | norwegian
th tha | thai
ur urd | urdu
hr hrv scr | croatian
bg bul | bulgarian
lt lit | lithuanian
la lat | latin
mi mri mao | maori
ml mal | malayalam
cy cym wel | welsh
sk slk slo | slovak
te tel | telugu
fa fas per pes | persian / farsi
lv lav lvs | latvian
bn ben | bengali / bangla
sr srp scc | serbian
az aze azj | azerbaijani
sl slv | slovenian
kn kan | kannada
et est ekk | estonian
mk mkd mac | macedonian
br bre | breton
eu eus baq | basque
is isl ice | icelandic
hy hye arm | armenian
ne nep npi | nepali
mn mon khk | mongolian
bs bos | bosnian
kk kaz | kazakh
sq sqi alb als | albanian
sw swa swh | swahili
gl glg | galician
mr mar | marathi
pa pan | punjabi / panjabi
si sin | sinhala / sinhalese
km khm | khmer
sn sna | shona
yo yor | yoruba
so som | somali
af afr | afrikaans
oc oci | occitan
ka kat geo | georgian
be bel | belarusian
tg tgk | tajik
sd snd | sindhi
gu guj | gujarati
am amh | amharic
yi yid ydd ji | yiddish
lo lao | lao
uz uzb uzn | uzbek
fo fao | faroese
ht hat | haitian creole / haitian
ps pus pbt | pashto / pushto
tk tuk | turkmen
nn nno | nynorsk
mt mlt | maltese
sa san | sanskrit
lb ltz | luxembourgish / letzeburgesch
my mya bur | myanmar / burmese
bo bod tib | tibetan
tl tgl fil | tagalog / filipino
mg mlg plt | malagasy
as asm | assamese
tt tat | tatar
haw | hawaiian
ln lin | lingala
ha hau | hausa
ba bak | bashkir
jw jv jav | javanese
su sun | sundanese
yue | cantonese
"""

_DETECT = frozenset({"", "auto", "und", "null"})
_TAG = re.compile(r"[a-z]{2,4}(-[a-z0-9]{1,8})*")
_SHOWN_CHARS = 40
_NEAREST = {"yue": "zh"}


def _read_table() -> tuple[dict[str, str], dict[str, str]]:
    names: dict[str, str] = {}
    spellings: dict[str, str] = {}
    for line in _TABLE.strip().splitlines():
        codes, _, titles = line.partition(" | ")
        code, *others = codes.split()
        first, *more = titles.split(" / ")
        names[code] = first
        spellings |= dict.fromkeys([code, *others, first, *more], code)
    return names, spellings


_names, _spellings = _read_table()

NAMES: Mapping[str, str] = MappingProxyType(_names)
"""Language code to lower-case English name."""


def parse(value: str | None) -> str | None:
    """Return the language code that `value` means, None for "detect".

    Accepts ISO 639-1/2/3 codes, BCP-47 tags (their first subtag counts), English names, and `auto`, `und`, `null` or
    nothing, in any case. Raises ValueError, with a message fit for a client, for anything else.
    """
    text = (value or "").strip().lower().replace("_", "-")
    if text in _DETECT:
        return None
    if text in _spellings:
        return _spellings[text]
    first = text.partition("-")[0]
    if _TAG.fullmatch(text):
        if first in _DETECT:
            return None
        if first in _spellings:
            return _spellings[first]
    raise ValueError(
        f"unknown language {text[:_SHOWN_CHARS]!a}: use a code such as 'en' or a name such as 'english', or 'auto'"
    )


def name(code: str) -> str:
    """Return the lower-case English name of a language code; a code without a name here is returned as it is."""
    return NAMES.get(code, code)


def nearest(code: str, available: Collection[str]) -> str | None:
    """Return `code` if it is available, else what may stand in for it (Chinese for Cantonese), else None."""
    if code in available:
        return code
    other = _NEAREST.get(code)
    return other if other in available else None
