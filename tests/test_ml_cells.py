"""Cells, labels and files of flat tables: every spelling is understood or refused in words, none is guessed."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ml.cells import days, numbers
from ml.files import TableError, read_table
from ml.flat import people
from ml.labels import LabelError, held_out, labels, moments
from ml.table import schema, typed
from tests.test_ml_flat import files, shop  # noqa: F401  a fixture


def test_formats_say_the_same(files):
    frames = [read_table(files / name) for name in ("comma.csv", "semicolon.csv.gz", "columns.parquet")]
    kinds = [schema(frame) for frame in frames]
    assert kinds[0] == kinds[1] and kinds[0].kinds == kinds[2].kinds and kinds[0].left_out == kinds[2].left_out
    for frame in frames[1:]:
        pd.testing.assert_frame_equal(typed(frame, kinds[0].kinds), typed(frames[0], kinds[0].kinds))


@pytest.mark.parametrize(
    ("cells", "ones"),
    [
        (["Yes", "No", "yes "], 2), (["TRUE", "FALSE", "FALSE"], 1), ([True, False, True], 2), ([1, 0, 0], 1),
        (["1.0", "0.0", None], 1), (["y", "n", "n"], 1), (["gone", "here", "here"], 1), ([1.0, np.nan, 0.0], 1),
    ],
)  # fmt: skip
def test_labels_of_every_spelling(cells, ones):
    found = labels(pd.Series(cells), "y").values
    assert found.sum() == ones and found.isna().sum() == pd.Series(cells).isna().sum()


@pytest.mark.parametrize(
    ("cells", "wanted"),
    [
        (["yes", "No", None], [1, 0, None]), ([1, 0, 1], [1, 0, 1]), (["TRUE", "false"], [1, 0]),
        (["No", "No"], [0, 0]), ([None, None], [None, None]), (["1.0", "0.0"], [1, 0]),
    ],
)  # fmt: skip
def test_a_later_tables_label_is_understood_in_another_spelling(cells, wanted):
    found = held_out(pd.Series(cells), "y", "yes", ["no"])
    assert [None if one != one else one for one in found] == wanted


def test_a_label_that_the_fit_did_not_know_is_refused_and_not_counted_as_no():
    with pytest.raises(LabelError, match="2 rows hold 1 values that the fit did not know") as told:
        held_out(pd.Series(["yes", "Ann Lee", "no", "Ann Lee"]), "y", "yes", ["no"])
    assert "ann" not in str(told.value).lower()  # cells of a mistaken column may be names
    with pytest.raises(LabelError, match="2 rows hold 2 values"):
        held_out(pd.Series(["1", "0"]), "y", "gone", ["here"])
    assert held_out(pd.Series(["gold", "silver"]), "y", "gold", ["silver", "none"]).tolist() == [1, 0]


def test_no_positives_and_one_class_are_told_apart():
    with pytest.raises(LabelError, match="no positives"):
        labels(pd.Series(["No"] * 5), "y")
    with pytest.raises(LabelError, match="one class"):
        labels(pd.Series(["Yes"] * 5), "y")


def test_cells_become_numbers_and_days():
    told = pd.Series(["1,234.50", "1.234,5", "12,5", "$3", "45%", " ", "n/a", "-2"])
    assert numbers(told).values.tolist()[:5] == [1234.5, 1234.5, 12.5, 3, 45] and numbers(told).strange == 0
    assert numbers(pd.Series([1.0, np.inf])).infinite == 1
    for text in ("2024-02-03", "03/02/2024", "20240203", "2024-02-03T05:00:00Z"):
        mates = pd.Series([text, "25/01/2024" if "/" in text else text])
        assert int(days(mates)[0]) == 19756, text


def test_a_comma_is_what_most_of_its_column_say():
    for cells, wanted in [
        (["1,234", "12,345.50"], [1234, 12345.5]), (["1.234,50", "1.234"], [1234.5, 1234]),
        (["1,234", "2,345"], [1234, 2345]),
        (["12,5", "3,25", "1"], [12.5, 3.25, 1]), (["1e5", "-1.5E3", "$7"], [1e5, -1500, 7]),
    ]:  # fmt: skip
        assert numbers(pd.Series(cells)).values.tolist() == wanted
    words = pd.Series(["5", "6", "7", "8"] * 20 + ["closed"] * 20)  # a few words beside numbers are no numbers
    assert schema(pd.DataFrame({"a": words})).kinds == {"a": "number"}
    assert schema(pd.DataFrame({"a": [*words, *(f"w{n}" for n in range(30))]})).kinds == {"a": "category"}
    for text in ("05-Mar-2024", "Mar 5, 2024", "05-03-2024", "2024-03"):
        assert schema(pd.DataFrame({"a": [text, text.replace("5", "6").replace("-03", "-04")]})).kinds == {"a": "date"}


def test_a_row_says_the_same_whatever_rows_stand_beside_it():
    money = [f"{n},50" for n in range(97)] + ["1.234,00", "1e3", "USD 5"]
    when = [f"{n:02}/03/2024" for n in range(1, 31)] * 3 + ["2024-03-05", "05 Mar 2024", "20240305", "5.3.24"] * 2
    frame = pd.DataFrame({"money": money, "when": when + ["2024-13-01", "soon"]})
    known = schema(frame)
    assert known.kinds == {"money": "number", "when": "date"} and "2 cells that are no dates" in " ".join(known.notes)
    whole = typed(frame, known.kinds, known.styles)
    for n in (0, 4, 97, 98, 99, 95):
        alone = frame.iloc[[n]]
        pd.testing.assert_frame_equal(typed(alone, known.kinds, known.styles), whole.iloc[[n]])
    assert whole["money"].tolist()[-3:] == [1234, 1000, 5] and whole["when"].isna().tolist()[-3:] == [False, True, True]
    assert set(whole["when"][90:98]) == {19787.0} == {whole["when"][4]}
    assert numbers(pd.Series(["12.50"] * 97 + ["1,234.50"] * 3)).values.max() == 1234.5
    assert numbers(pd.Series(["(12)", "-3,5", "4,25", "2.000,1 EUR"])).values.tolist() == [-12, -3.5, 4.25, 2000.1]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "cannot be read"), (b"a,b\n", "no rows"), (b"a,a\n1,2\n", "columns a stand there twice"),
        (b"a,b\n1,2,3\n", "the header names 2 columns, but the first row has 3"), (b"a,b\n1,2\n1,2,3\n", "line 3 has"),
        (b"PAR1xxxx", "ArrowInvalid"), (b"\x1f\x8bxx", "cannot be read"),
    ],
)  # fmt: skip
def test_a_broken_file_is_told_and_no_cell_is_shifted(content, told, tmp_path):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(TableError, match=told):
        read_table(tmp_path / "t.csv")


def test_files_of_other_programs_say_the_same(tmp_path):
    text = "a;b\nä;1\n"
    for number, content in enumerate((
        text.encode(), text.encode("latin-1"), text.encode("utf-16"), b"\xef\xbb\xbf" + text.encode(),
        text.replace("\n", "\r\n").encode(), ("sep=;\n" + text).encode(), ("\n\n" + text).encode(),
        text.replace("\n", ";\n").encode(), text.replace("\n", "\r").encode(),
    )):  # fmt: skip
        (tmp_path / "t.csv").write_bytes(content)
        found = read_table(tmp_path / "t.csv")
        assert found[["a", "b"]].to_dict("list") == {"a": ["ä"], "b": ["1"]}, number
    nested = pd.DataFrame({"a": [[1, 2], None], "b": [{"x": 1}, {"x": 2}]})
    nested.to_parquet(tmp_path / "t.parquet")
    assert read_table(tmp_path / "t.parquet")["a"].tolist()[0].startswith("[1")


def test_a_person_without_an_id_is_nobody_elses_row():
    assert people(pd.Series(["a", "b", None, " "])) is None
    found = people(pd.Series(["a", "a", "b", "c", "d", None, None]))
    assert found.tolist()[:3] == [0, 0, 1] and found.nunique() == 6
    with pytest.raises(LabelError, match="2 different people; 5 folds"):
        people(pd.Series(["a", "a", "b"]))


def test_ids_and_running_numbers_are_left_out_but_measures_are_not():
    n = 200
    mixed = np.random.default_rng(0).permutation(n)
    ids = {"row": range(n), "cust_id": mixed * 7, "mail": [f"p{i}@x.org" for i in range(n)]}
    frame = pd.DataFrame(ids | {"income": np.arange(n) * 10.5, "score": mixed * 3, "home": ["a", "b"] * 100})
    found = schema(frame)
    assert set(found.left_out) == {"row", "cust_id", "mail"} and set(found.kinds) == {"income", "score", "home"}


def test_empty_times_are_left_out_and_words_are_no_times():
    half = pd.Series(["2024-01-05", None, "", "2024-03-01", "NA", None], dtype=object)
    assert moments(half, "joined").notna().tolist() == [True, False, False, True, False, False]
    for cells in (["early", "late", None], [None, None, None]):
        with pytest.raises(LabelError, match="0% of its filled cells"):
            moments(pd.Series(cells, dtype=object), "joined")
