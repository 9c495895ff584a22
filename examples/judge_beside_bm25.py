"""Is a model better than counting words? A verdict with an interval, in three sentences.

    python examples/judge_beside_bm25.py runs/a/model test_pairs.jsonl

The data may be a BEIR folder as well. Judge on rows that the model was not trained on.
"""

import sys
from pathlib import Path

import nearfar as nf

folder, data = sys.argv[1:]

model = nf.Model.load(folder)
if Path(data).is_dir():
    task = nf.data.Beir(data).task()
else:
    table = nf.data.Table(data)
    task = nf.positives.Columns(table).task(table.splits[0])

report = nf.evaluate(model, task, baselines=["bm25"])
gap = report.difference["bm25"]["ndcg@10"]
print(f"ndcg@10: {report.metrics['ndcg@10']:.3f}, BM25 {report.baseline['bm25']['ndcg@10']:.3f}.")
print(f"The model is {gap['value']:+.3f} from BM25; with other queries, {gap['low']:+.3f} to {gap['high']:+.3f}.")
if gap["low"] > 0:
    print("It is better.")
elif gap["high"] < 0:
    print("BM25 is better; both together reach", f"{report.fusion['bm25']['ndcg@10']:.3f}.")
else:
    print("These queries do not tell them apart.")
