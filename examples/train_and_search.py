"""Train an embedding model on pairs of a question and its answer, then search the answers.

    python examples/train_and_search.py pairs.jsonl "how do I sort a list?"

A line of pairs.jsonl: {"query": "how do I sort a list?", "key": "sorted(items) returns a new list"}
"""

import sys

import nearfar as nf

path, question = sys.argv[1:]

table = nf.data.Table(path, heldout=0.2)  # a fifth of the rows is kept back, and shares no text with the others
pairs = nf.positives.Columns(table)  # the columns query and key are known by their names
encoder = nf.encoders.Static(dim=128)  # its tokenizer is learnt from the data, too
loss = nf.losses.InfoNCE(temperature=0.05)
run = nf.fit(encoder, pairs, loss, out="runs/example", epochs=10, batch_size=256, learning_rate=0.02, overwrite=True)

report = nf.evaluate(run.model, pairs.task("heldout"))
print(f"held-out questions whose answer comes first: {report.metrics['recall@1']:.0%}")

for hit in nf.search(run.model, table.column("key"), question, k=3):
    print(f"{hit['score']:.3f}  {hit['text']}")
