"""What the temperature does to a space: four runs that differ in nothing else.

    python examples/compare_temperatures.py pairs.jsonl

Lower alignment means that positive pairs lie closer, lower uniformity that the space is spread out more evenly. Only
the retrieval metric says which temperature to take; differences of a hundredth may be chance.
"""

import sys

import nearfar as nf

table = nf.data.Table(sys.argv[1], heldout=0.2)
pairs = nf.positives.Columns(table)
task = pairs.task("heldout")

print("temperature   mrr@10   alignment   uniformity")
for temperature in (0.02, 0.05, 0.1, 0.5):
    run = nf.fit(
        nf.encoders.Static(dim=128, seed=0),  # the same first weights each time
        pairs,
        nf.losses.InfoNCE(temperature=temperature),
        out=f"runs/temperature-{temperature}",
        epochs=10,
        batch_size=256,
        learning_rate=0.02,
        overwrite=True,
    )
    metrics = nf.evaluate(run.model, task).metrics
    print(f"{temperature:11}   {metrics['mrr@10']:6.3f}   {metrics['alignment']:9.3f}   {metrics['uniformity']:10.3f}")
