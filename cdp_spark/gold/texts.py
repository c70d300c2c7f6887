"""What is a text about, and in which mood was it written? Words weighed as in conf/texts.yml, without Python."""

from __future__ import annotations

import json

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from cdp_spark.config.source import Texts

WORD = "([a-zà-öø-ÿ]+)"
TOPIC, MOOD = "text_topic", "text_mood"  # columns that features may read of every table with a column `text`


def with_reading(rows: DataFrame, texts: Texts) -> DataFrame:
    """`rows` with text_topic (the likeliest topic) and text_mood (-1 upset to 1 glad); null where `text` has no word.

    text_mood is P(positive) - P(negative). Linear in the presence of words, so no Python is needed (see ml/texts.py).
    """
    words = F.regexp_extract_all(F.lower("text"), F.lit(WORD), F.lit(1))
    pairs = F.zip_with(words, F.slice(words, 2, 10_000), lambda a, b: F.concat_ws(" ", a, b))
    pairs = F.slice(pairs, 1, F.greatest(F.size(words) - 1, F.lit(0)))
    scored = F.when(F.size(words) > 0, _weighed(F.array_distinct(F.concat(words, pairs)), texts))
    found = rows.withColumn("_scores", scored)
    topics = len(texts.topics)
    moods = [F.exp(F.col("_scores")[topics + n]) for n in range(3)]
    best = F.array_position("_best", F.array_max("_best")).cast("int")
    found = found.withColumn("_best", F.slice("_scores", 1, topics))
    topic = F.array(*(F.lit(name) for name in texts.topics))[best - 1]
    mood = (moods[2] - moods[0]) / (moods[0] + moods[1] + moods[2])
    return found.withColumns({TOPIC: topic, MOOD: mood}).drop("_scores", "_best")


def _weighed(words: Column, texts: Texts) -> Column:
    known = F.from_json(F.lit(json.dumps(texts.words)), "map<string,array<double>>")
    start = F.array(*(F.lit(float(one)) for one in texts.start))

    def added(total: Column, word: Column) -> Column:
        more = F.try_element_at(known, word)
        return F.when(more.isNull(), total).otherwise(F.zip_with(total, more, lambda a, b: a + b))

    return F.aggregate(words, start, added)
