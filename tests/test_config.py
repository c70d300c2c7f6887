"""Bad configuration dies in a second: every problem at once, with file, key and the likely cure."""

from __future__ import annotations

import shutil

import pytest

from cdp_spark.cli import main
from cdp_spark.config.contract import Table
from cdp_spark.config.load import ConfError, load
from tests.conftest import ROOT


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(ROOT / "conf", tmp_path / "conf")


def problems(folder) -> str:
    with pytest.raises(ConfError) as error:
        load(folder)
    return str(error.value)


def edit(folder, file, old, new):
    path = folder / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("file", "old", "new", "told"),
    [
        ("sources/crm.yml", "mode: snapshot", "mod: snapshot", "unknown key; did you mean 'mode'?"),
        ("sources/crm.yml", "first_name: FIRST_NAME", "first_nam: FIRST_NAME", "did you mean 'first_name'?"),
        ("sources/crm.yml", "first_name: FIRST_NAME", "first_name: FIRST_NAM", "did you mean 'FIRST_NAME'?"),
        ("sources/crm.yml", "entity: customers", "entity: customer", "did you mean 'customers'?"),
        ("sources/crm.yml", "email: EMAIL, phone", "emial: EMAIL, phone", "did you mean 'email'?"),
        ("sources/crm.yml", "to_timestamp(UPDATED_AT)", "to_timestamp(UPDATED_AT", "not a SQL expression"),
        ("identity.yml", "limit: 1 ever", "limit: 1 evr", "window"),
        ("identity.yml", "  user_id:", "  shoe_size: {}\n  user_id:", "no source carries it"),
        ("audiences/winback.yml", "churn_percentile", "churn_percentil", "did you mean 'churn_percentile'?"),
        ("audiences/winback.yml", "purpose: marketing_email", "purpose: marketing", "no purpose 'marketing'"),
        ("audiences/winback.yml", "purpose: marketing_email", "min_size: 3", "given twice"),
        ("sources/crm.yml", "{sep: ", "{sepp: ", "csv has no option 'sepp'; did you mean 'sep'?"),
        ("sources/crm.yml", "ISO-8859-1", "ISO-8859-99", "no encoding 'ISO-8859-99'"),
        ("sources/crm.yml", "{date}", "{dat}", "nothing is put in place of {dat}"),
        (
            "sources/crm.yml",
            "mode: snapshot",
            "mode: snapshot\nmode: append",
            "line 7: not valid YAML: key 'mode'",
        ),
        ("sources/web.yml", "bot|", "bot|(", "is no regular expression: missing )"),
        ("audiences/winback.yml", "where: ", "where: orders_365d + 1 # ", "expected a condition such as"),
        ("audiences/winback.yml", "where: ", "where: lower(email) # ", "expected a condition such as"),
        ("audiences/winback.yml", "where: ", "where: spend_365d > 3 and not (email) # ", "found 'email'"),
        ("audiences/winback.yml", "where: ", "where: is_gold # ", "no column 'is_gold'"),
        ("audiences/winback.yml", "holdout: 0.1", "holdout: 1.5", "less than 1"),
        ("audiences/winback.yml", "holdout: 0.1", "caps: [{contacts: -1, days: 7}]", "greater than or equal to 1"),
        ("audiences/winback.yml", "holdout: 0.1", "quiet_hours: {start: '8', end: '25:00'}", "quiet_hours.start"),
        ("audiences/winback.yml", "holdout: 0.1", "quiet_hours: {start: '08:00', end: '08:00'}", "is no time at all"),
        ("audiences/winback.yml", "holdout: 0.1", "seed: {by: email, size: 10}", "expected a number such as"),
        ("audiences/winback.yml", "holdout: 0.1", "exclude: {audiences: [winback]}", "exclude each other in a circle"),
        ("destinations/crm_file.yml", "[winback, likely_buyers]", "[winbck]", "did you mean 'winback'?"),
        (
            "journeys/come_back.yml",
            "we_miss_you, to: crm_journeys",
            "x, to: crm_journey",
            "did you mean 'crm_journeys'",
        ),
        ("offers.yml", "score: churn_percentile * 0.2", "score: email", "expected a number such as"),
        ("audiences/winback.yml", "where: ", "where: orders_365d > # ", "something is missing after `>` (column 13)"),
        ("base.yml", "region: GB", "region: NO", "region"),
        ("base.yml", "region: GB", "region: GBR", "region"),
        ("base.yml", "region: GB", "region: UK", "such as GB (not UK)"),
        ("env/local.yml", "driver_memory: ", "driver_memory: four ", "driver_memory"),
        ("sources/crm.yml", "ISO-8859-1", "rot13", "no encoding 'rot13'"),
        ("identity.yml", '"^[0-9]{6,16}$"', '"^([0-9{6,16}$"', "loyalty_card.pattern"),
        ("audiences/winback.yml", "where: ", "where: DROP TABLE x #", "found a statement"),
        ("env/local.yml", "shuffle_partitions: 4", "shuffle_partitions: 0", "greater than or equal to 1"),
        ("env/cluster.yml", "mlflow_uri", "mlflow_url", "did you mean 'mlflow_uri'?"),  # another one than is asked for
        ("sources/crm.yml", 'sep: ";"', 'sep: ""', "options.sep: empty; expected what stands between two fields"),
        ("tables/ml.yml", "percentile between", "percentil between", "ml.yml, scores.checks.percentile is a share: no"),
        ("tables/gold.yml", "unique: [person_id]", "unique: [persn_id]", "profiles, file: checks.unique names ['persn"),
        (
            "purposes.yml",
            "basis: legitimate_interest",
            "basis: legitimate_interest, policy: source_precedence, precedence: [consent, crm]",
            "profiling.precedence: no source of consents 'consent'; did you mean 'consents'?",
        ),
    ],
)
def test_a_mistake_names_file_key_and_cure(folder, file, old, new, told):
    edit(folder, file, old, new)
    text = problems(folder)
    assert file.split("/")[-1] in text and told in text


def test_names_of_files_that_are_no_names_of_tables(folder):
    (folder / "sources" / "crm.yml").rename(folder / "sources" / "my crm.yml")
    shutil.copy(folder / "sources" / "web.yml", folder / "sources" / "WEB.yml")
    text = problems(folder)
    assert "my crm.yml: expected letters" in text and "web.yml: another file has this name" in text


def test_a_field_with_blanks_dots_or_dashes_is_named_as_it_is_written(tmp_path):
    (tmp_path / "sources").mkdir()
    (tmp_path / "identity.yml").write_text("matching: {enabled: true}\n")
    (tmp_path / "sources" / "billing.yml").write_text("""
description: invoices
entity: customers
format: csv
path: billing.csv
fields: ["Konto Nr", "Date Of Birth", "Post-Code", "Tel.", Post]
key: ["Konto Nr"]
columns: {birth_text: Date Of Birth, postcode: Post-Code, phone: Tel., city: upper(Post)}
""")
    columns = load(tmp_path).sources["billing"].columns
    assert columns == {
        "birth_text": "`Date Of Birth`",
        "postcode": "`Post-Code`",
        "phone": "`Tel.`",
        "city": "upper(Post)",
    }


def test_all_problems_come_at_once(folder):
    edit(folder, "sources/crm.yml", "mode: snapshot", "mode: snapshots")
    edit(folder, "base.yml", "currency: EUR", "currency: euro")
    assert len(problems(folder).splitlines()) == 2


def test_a_missing_folder_and_environment_say_so(folder, tmp_path):
    assert "no such folder" in problems(tmp_path / "nowhere")
    with pytest.raises(ConfError, match="did you mean 'local'"):
        load(folder, "locl")


def test_check_ends_with_a_message_and_code_2(folder, capsys, monkeypatch):
    edit(folder, "sources/crm.yml", "mode: snapshot", "mod: snapshot")
    monkeypatch.setattr("sys.argv", ["cdp", "check", "--conf", str(folder)])
    assert main() == 2
    assert "did you mean 'mode'" in capsys.readouterr().err


def test_a_personal_column_without_an_erasure_rule_does_not_validate():
    columns = {"email": {"type": "string", "pii": "direct"}}
    with pytest.raises(ValueError, match="how to erase"):
        Table(grain="one", mode="state", key=("email",), columns=columns)
