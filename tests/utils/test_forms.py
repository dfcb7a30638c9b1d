import pytest

from utils.forms import Form, flag


def form(*fields: tuple[str, str]) -> Form:
    return Form(list(fields))


def test_a_blank_value_is_absent_and_the_last_one_counts() -> None:
    assert form(("language", "")).scalar("language") is None
    assert form(("language", "  ")).scalar("language") is None
    assert form(("language", "en"), ("language", "de"), ("language", "")).scalar("language") == "de"
    assert form().scalar("language") is None


@pytest.mark.parametrize(
    "fields",
    [
        [("x[]", "word"), ("x[]", "segment")],
        [("x", "word"), ("x", "segment")],
        [("x", "word"), ("x[]", "segment")],
        [("x[1]", "segment"), ("x[0]", "word")],
        [("x", "word,segment")],
        [("x", " word , segment ,")],
        [("x", '["word", "segment"]')],
        [("x[]", '["word","segment",""]')],
        [("y", "no"), ("x", ""), ("x[]", "word"), ("xx[]", "no"), ("x[]", "segment"), ("x[a]", "no")],
    ],
)
def test_an_array_is_read_however_it_is_written(fields: list[tuple[str, str]]) -> None:
    assert form(*fields).array("x") == ["word", "segment"]


def test_an_absent_array_is_empty() -> None:
    assert form(("x", "")).array("x") == []
    assert form(("x", "[]")).array("x") == []


@pytest.mark.parametrize("key", ["x[]", "x[0]"])
def test_one_item_in_brackets_keeps_its_commas(key: str) -> None:
    assert form((key, "Smith, John")).array("x") == ["Smith, John"]
    assert form((key, "," * 5_000)).array("x") == ["," * 5_000]
    assert form((key, '["a,b", "c"]')).array("x") == ["a,b", "c"]


def test_repeated_values_keep_their_commas() -> None:
    assert form(("x[]", "Berlin, Germany"), ("x[]", "Paris")).array("x") == ["Berlin, Germany", "Paris"]


@pytest.mark.parametrize("text", [",".join("a" * 2001), "," * 5_000, "[" + ",".join(["1"] * 2001) + "]"])
def test_an_array_of_countless_items_is_not_read(text: str) -> None:
    with pytest.raises(ValueError, match="x has more than 1000 items"):
        form(("x", text)).array("x")
    assert len(form(("x", text[:999])).array("x")) <= 1000


def test_a_data_url_is_not_cut_at_its_comma() -> None:
    assert form(("x[]", "data:audio/wav;base64,AAAA")).array("x") == ["data:audio/wav;base64,AAAA"]


def test_a_word_in_brackets_is_no_json() -> None:
    assert form(("x", "[music], [laughter]")).array("x") == ["[music]", "[laughter]"]


def test_numbers_in_a_json_array_are_fine_and_objects_are_not() -> None:
    assert form(("x", '["a", 1]')).array("x") == ["a", "1"]
    with pytest.raises(ValueError, match="x must be a list of strings"):
        form(("x", '[{"a": 1}]')).array("x")


@pytest.mark.parametrize(
    "fields",
    [
        [("o[type]", "server_vad"), ("o[threshold]", "0.5")],
        [("o.type", "server_vad"), ("o.threshold", "0.5"), ("o.other", "")],
        [("o", '{"type": "server_vad", "threshold": "0.5"}')],
        [("o", '{"type": "x", "threshold": "0.5"}'), ("o[type]", "server_vad"), ("p[type]", "no"), ("o[a][b]", "no")],
    ],
)
def test_an_object_is_read_however_it_is_written(fields: list[tuple[str, str]]) -> None:
    assert form(*fields).mapping("o") == {"type": "server_vad", "threshold": "0.5"}


def test_an_absent_object_is_none_and_an_empty_one_is_empty() -> None:
    assert form(("o", "")).mapping("o") is None
    assert form(("o", "{}")).mapping("o") == {}


@pytest.mark.parametrize("text", ["auto", "[1]", "{", "1", '{"a": NaN}', "[" * 5000])
def test_what_is_no_json_object_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="o must be a JSON object"):
        form(("o", text)).mapping("o")


@pytest.mark.parametrize("text", ["true", "1", "yes", "ON", " True "])
def test_yes(text: str) -> None:
    assert flag(text) is True


@pytest.mark.parametrize("text", ["false", "0", "No", "off", "FALSE"])
def test_no(text: str) -> None:
    assert flag(text) is False
    assert flag(value=False) is False


@pytest.mark.parametrize("text", ["maybe", "2", "", "t"])
def test_neither_yes_nor_no(text: str) -> None:
    with pytest.raises(ValueError, match="use true or false"):
        flag(text)
