"""What do support tickets say? A small text model, trained on generated tickets; its weights are conf/texts.yml.

`python -m ml.texts > conf/texts.yml` trains it anew: the same phrases give the same weights. A deployment with other
products or another language writes its own phrases below `TOPICS` and `MOODS`, or puts its own weights into the file.
"""

from __future__ import annotations

import random
import re

import numpy as np
import pandas as pd
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

WORD = "[a-zà-öø-ÿ]+"  # the same in Java's and Python's regular expressions
TICKETS = 3000
TOPICS = {
    "delivery": (
        "where is my parcel", "the tracking page has not moved", "my order has not arrived", "the courier left it next "
        "door", "when will the package be delivered", "the delivery is late", "it was shipped to the wrong place",
        "please change the delivery address", "the driver never came", "still waiting for the shipment",
        "could it arrive before friday", "nothing was delivered today",
    ),
    "damaged": (
        "the item arrived broken", "the box was crushed and the glass is cracked", "it is scratched", "a part is "
        "missing", "it stopped working after a day", "the quality is awful", "the handle fell off", "it came in pieces",
        "the fabric is torn", "it is faulty", "the lamp was smashed", "poor quality and already defective",
    ),
    "refund": (
        "no refund after weeks", "i want my money back", "the return label does not work", "how do i return this",
        "i sent it back and was not paid", "you charged me twice", "please cancel my order", "the invoice is wrong",
        "the refund is missing", "the amount on my card is wrong", "send me a credit note", "i was billed again",
    ),
    "product": (
        "does the lamp come with a bulb", "what size should i take", "is the chair in stock", "which colour fits",
        "how do i assemble it", "can it be used outdoors", "what is the material", "do you sell spare parts",
        "is there a manual", "will it fit a small room", "when is it available again", "how heavy is the table",
    ),
    "service": (
        "nobody answers the phone", "i was on hold for an hour", "your agent was rude", "no reply to my email",
        "nobody calls back", "the chat closed on me", "i have asked three times", "your staff did not help",
        "support keeps passing me on", "i want to speak to a manager", "the hotline is always busy", "ignored again",
    ),
    "account": (
        "i cannot log in", "how do i use my loyalty points", "my password does not work", "delete my account",
        "change my email address", "my points are missing", "the voucher code is not accepted", "i moved house",
        "unsubscribe me from the newsletter", "update my phone number", "how do i join the loyalty programme",
        "the app signs me out",
    ),
}  # fmt: skip
MOODS = {
    "negative": (
        "i am very disappointed", "this is unacceptable", "terrible", "i will not order here again", "what a mess",
        "i am angry", "this is the third time", "never again", "awful experience", "useless", "this is ridiculous",
        "i am not happy", "worst shop ever", "i am fed up", "shame on you", "a waste of money", "not good enough",
    ),
    "neutral": (
        "please let me know", "could you tell me", "i would like to know", "hello", "regards", "my order number is "
        "below", "a short question", "good morning", "please advise", "as discussed", "just asking",
    ),
    "positive": (
        "thank you for the quick help", "all is well", "great service", "i love it", "very happy", "works perfectly",
        "excellent", "many thanks", "fast and friendly", "i am very pleased", "keep it up", "highly recommended",
        "wonderful", "what a lovely surprise", "not bad at all",
    ),
}  # fmt: skip
GLAD = (
    "the delivery was quick", "the parcel came early", "the item is beautiful", "the refund came at once",
    "your agent was kind", "the return was easy", "the new app is good", "it fits perfectly",
)  # fmt: skip
GLAD_ABOUT = ("delivery", "delivery", "product", "refund", "service", "refund", "account", "product")
UPSET = {"damaged": 0.6, "service": 0.6, "refund": 0.5, "delivery": 0.35, "account": 0.15, "product": 0.05}


def tickets(count: int = TICKETS, seed: int = 1) -> pd.DataFrame:
    """Generated tickets: text, topic, mood. Complaints are more often upset than questions; some tickets are praise."""
    rng, rows = random.Random(seed), []
    for _ in range(count):
        topic = rng.choice(sorted(TOPICS))
        mood = "negative" if rng.random() < UPSET[topic] else "neutral"
        parts = rng.sample(TOPICS[topic], rng.choice((1, 1, 2)))
        if rng.random() < 0.2:
            at = rng.randrange(len(GLAD))
            topic, mood, parts = GLAD_ABOUT[at], "positive", [GLAD[at]]
        parts += rng.sample(MOODS[mood], rng.choice((0, 1, 2) if mood == "neutral" else (1, 1, 2)))
        rng.shuffle(parts)
        rows.append((". ".join(parts), topic, mood))
    return pd.DataFrame(rows, columns=["text", "topic", "mood"])


def tokens(text: str) -> list[str]:
    """Words in lower case and pairs of neighbours, each once, as cdp_spark.gold.texts reads them."""
    words = re.findall(WORD, text.lower())
    return list(dict.fromkeys([*words, *(f"{a} {b}" for a, b in zip(words, words[1:], strict=False))]))


def fitted(told: pd.DataFrame) -> dict:
    """{topics, words: {word: log-odds by topic, then by mood}, start: the same without any word}, as in conf/texts.yml.

    Two multinomial logistic regressions on the presence of words and pairs; small weights are left out, others rounded.
    """
    counter = CountVectorizer(analyzer=tokens, binary=True, min_df=25)
    rows, weights, start = counter.fit_transform(told["text"]), [], []
    for name in ("topic", "mood"):
        model = LogisticRegression(C=1.0, max_iter=1000).fit(rows, told[name])
        weights.append(model.coef_)
        start.append(model.intercept_)
    table = np.round(np.vstack(weights), 2).T
    words = {word: table[at].tolist() for word, at in sorted(counter.vocabulary_.items())}
    kept = {word: line for word, line in words.items() if max(map(abs, line)) >= 0.2}
    return {"topics": sorted(set(told["topic"])), "start": np.round(np.concatenate(start), 2).tolist(), "words": kept}


def as_yaml(model: dict) -> str:
    """The file conf/texts.yml."""
    lines = ["# How support tickets are read. Written by `python -m ml.texts`: log-odds of each topic, then of moods",
             "# negative, neutral and positive, that a word or a pair of words adds.",
             f"topics: [{', '.join(model['topics'])}]", f"start: {model['start']}", "words:"]  # fmt: skip
    lines += [f'  "{word}": {line}' for word, line in model["words"].items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(as_yaml(fitted(tickets())), end="")
