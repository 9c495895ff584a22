"""Recipes, settings and options that are wrong: the bad inputs of `bad_input.py` that are words."""

from __future__ import annotations

import shlex
from itertools import chain

STATIC = ("encoder.dim=16", "encoder.vocabulary=300")
SMALL = ("data.heldout=0.2", "training.batch_size=8", "training.steps=2", "--quiet", "--out", "out")

ALIASES = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)
)
PLAIN = "data: {name: table, path: pairs.jsonl, heldout: 0.2}\npositives: {name: columns}\n"
PLAIN += "encoder: {name: static, dim: 16, vocabulary: 300}\nloss: {name: infonce}\n"
PLAIN += "training: {steps: 2, batch_size: 8}\nevaluate: [{name: retrieval, split: heldout}]\n"
RECIPES: dict[str, str | bytes] = {
    "empty": "",
    "blank": "\n\n",
    "a text": "static",
    "a list": "[1, 2]",
    "zeros": b"\0\0\0",
    "Latin-1": b"data: {name: \xe4}\n",
    "UTF-16": PLAIN.encode("utf-16"),
    "nested 20,000 deep": "data: " + "[" * 20_000 + "]" * 20_000,
    "nested 20,000 objects": "data: " + "{a: " * 20_000 + "1" + "}" * 20_000,
    "indented 3,000 deep": "".join(" " * i + "a:\n" for i in range(3000)),
    "aliases that explode": ALIASES + PLAIN,
    "aliases in a section": PLAIN + ALIASES.replace("a0:", "more:", 1).replace("a11:", "heads:", 1),
    "an alias of itself": PLAIN + "heads: &h {projection: *h}\n",
    "a merge of a text": PLAIN + "heads:\n  <<: text\n",
    "an unknown alias": PLAIN + "heads: *nothing\n",
    "Python's own tags": PLAIN + "heads: !!python/object/apply:os.system [touch exploded]\n",
    "an unknown tag": PLAIN + "heads: !nothing 1\n",
    "a key twice": PLAIN + "loss: {name: triplet}\n",
    "a key of a list": PLAIN + "? [a, b]\n: 1\n",
    "an open bracket": PLAIN.replace("}", "", 1),
    "tabs": PLAIN + "heads:\n\tprojection: 1\n",
    "two documents": PLAIN + "---\n" + PLAIN,
    "an unknown section": PLAIN + "extra: {a: 1}\n",
    "an unknown part": PLAIN.replace("infonce", "infonse"),
    "an unknown setting": PLAIN.replace("{name: infonce}", "{name: infonce, temprature: 1}"),
    "no data": PLAIN.replace("data:", "extra:", 1),
    "a section of 5": PLAIN.replace("{name: infonce}", "5"),
    "a section of null": PLAIN.replace("{name: infonce}", "null"),
    "a name of 5": PLAIN.replace("name: infonce", "name: 5"),
    "a name of a list": PLAIN.replace("name: infonce", "name: [infonce]"),
    "a part from nowhere": PLAIN.replace("name: infonce", "name: no_such_module:Mine"),
    "a part that is none": PLAIN.replace("name: infonce", "name: os:system"),
    "a number of 400 digits": PLAIN.replace("dim: 16", "dim: " + "9" * 400),
    "a number of 9,000 digits": PLAIN.replace("dim: 16", "dim: " + "9" * 9000),
    "a date": PLAIN.replace("dim: 16", "dim: 2026-02-30"),
    "base 60": PLAIN.replace("dim: 16", "dim: 1:2:3"),
    "evaluate a text": PLAIN.replace("[{name: retrieval, split: heldout}]", "retrieval"),
    "evaluate without a name": PLAIN.replace("[{name: retrieval, split: heldout}]", "[{split: heldout}]"),
    "a control character": PLAIN + "heads: \x07\n",
    "a lone surrogate": PLAIN + 'heads: "\\ud800"\n',
}
SETTINGS = (
    "training.steps=0", "training.steps=-1", "training.steps=1e400", "training.steps=nan", "training.steps=two",
    "training.steps=[2]", "training.batch_size=0", "training.batch_size=1e30", "training.learning_rate=-1",
    "training.learning_rate=inf", "training.warmup=2", "training.seed=-1", "training.seed=1e99", "training.precision=x",
    "training.device=nothing", "training.device=cuda:99", "training.queue=-1", "training.micro_batch=-1",
    "training.momentum={from: 1}", "training.schedule=none", "training=5", "training", "=5", "training.=5",
    ".steps=5", "training.steps.more=5", "training.steps={", "encoder.dim=0", "encoder.dim=-5", "encoder.dim=1e12",
    "encoder.dim=1.5", "encoder.dim=null", "encoder.vocabulary=1", "encoder.vocabulary=1e15", "encoder.prompts=5",
    "encoder.prompts={query: 5}", "encoder.max_length=0", "encoder.name=transformer", "loss.temperature=0",
    "loss.temperature=nan", "loss.temperature=-1", "loss.temperature=1e-300", "loss.name=", "loss=null",
    "data.heldout=2", "data.heldout=-1", "data.heldout=nan", "data.path=5", "data.path=[a, b]", "data.delimiter=ab",
    "data.header=[a, a]", "data.split_column=nothing", "positives.query=5", "positives.query=[query]",
    "positives.negative=nothing", "positives.nothing=1", "evaluate=5", "evaluate.0.k=-1", "evaluate.9.k=1",
    "heads.projection.name=mlp", "heads.projection.sizes=[0]", "objective.name=nothing", "mining.negatives=-1",
)  # fmt: skip

OF_COMMANDS = """
nothing
train
train nothing
train static --nothing
train ../static
train static data.path=pairs.jsonl --resume --overwrite
train static
train static data.path=pairs.jsonl --out pairs.jsonl
train static data.path=pairs.jsonl --out pairs.jsonl/out
train static data.path=pairs.jsonl STATIC SMALL --baseline nothing
train static data.path=pairs.jsonl STATIC SMALL --resume
evaluate
evaluate model
evaluate nothing pairs.jsonl
evaluate model nothing.csv
evaluate model nothing
evaluate model ''
evaluate '' pairs.jsonl
evaluate model pairs.jsonl --baseline nothing
evaluate model pairs.jsonl --query x
evaluate model pairs.jsonl --split nothing
evaluate model pairs.jsonl data.nothing=1
evaluate model pairs.jsonl --out model
evaluate model pairs.jsonl --out pairs.jsonl/x.json
evaluate model pairs.jsonl --delimiter ab
evaluate pairs.jsonl model
complete
complete model
complete nothing words
complete model words
complete model words --tokens x
complete pairs.jsonl words
embed model READ
embed model READ --out v.txt
embed model READ --out model
embed model READ --out v.npy --dim 0
embed model READ --out v.npy --dim 99
embed model READ --out v.npy --dim x
embed model READ --out v.npy --role x
embed model READ --out v.npy --precision int4
embed model READ --out v.npy --precision int8
embed model pairs.jsonl --out v.npy --column nothing
embed model READ --out pairs.jsonl/v.npy
search model pairs.jsonl ''
search model READ fox -k 0
search model READ fox -k -1
search model READ fox --mode x
search model READ fox --split x
search model nothing fox
audit
audit nothing.csv
audit pairs.jsonl --column x
audit pairs.jsonl --seed -1
audit pairs.jsonl --fix pairs.jsonl
audit pairs.jsonl --fix x.txt --out a.html
audit pairs.jsonl --fix-near
audit pairs.jsonl --out pairs.jsonl/a.html
mine model pairs.jsonl
mine model pairs.jsonl --out x.csv
mine model pairs.jsonl --out x.jsonl --negatives 0
mine model pairs.jsonl --out x.jsonl --range-min 9 --range-max 3
mine model pairs.jsonl --out x.jsonl --relative-margin nan
mine model pairs.jsonl --out x.jsonl --sampling x
mine model pairs.jsonl --out x.jsonl --form x
mine model pairs.jsonl --out x.jsonl --seed -1 --sampling random
mine model pairs.jsonl --out x.jsonl --review x.txt
mine model pairs.jsonl --out x.jsonl --decisions nothing
mine model pairs.jsonl --out x.jsonl --rescore nothing
lab nothing
lab temperature model
lab temperature model pairs.jsonl --taus x
lab temperature model pairs.jsonl --taus 0
lab temperature model pairs.jsonl --rows 1
lab temperature model pairs.jsonl --learning-rate nan
lab temperature model pairs.jsonl --label nothing
lab temperature model pairs.jsonl --out pairs.jsonl
label nothing
label zero-shot model READ
label zero-shot model READ --classes a,b
label zero-shot model READ --classes '' --out l.csv
label zero-shot model READ --classes a --out l.csv
label zero-shot model READ --classes a,a --out l.csv
label zero-shot model READ --classes a,,b --out l.csv
label zero-shot model READ --classes a_b,a-b --out l.csv
label zero-shot model READ --classes a,b --out l.txt
label zero-shot model READ --classes a,b --out pairs.jsonl/l.csv
label zero-shot model READ --classes a,b --out l.csv --template fox
label zero-shot model READ --classes a,b --out l.csv --template '{}{}'
label zero-shot model READ --classes a,b --out l.csv --split nothing
label zero-shot model pairs.jsonl --column nothing --classes a,b --out l.csv
label zero-shot model nothing.zip --classes a,b --out l.csv
label zero-shot model nothing.png --classes a,b --out l.csv
label zero-shot nothing READ --classes a,b --out l.csv
evaluate model pairs.jsonl --metric nothing
evaluate model pairs.jsonl --metric zero_shot
export model
export nothing --onnx x
export model --onnx pairs.jsonl
list nothing
list losses more
doctor more
report
report pairs.jsonl
compare
compare run
compare pairs.jsonl run
compare run nothing
demo data.nothing=1 --quiet
demo training.steps=x --quiet
demo --out pairs.jsonl
"""  # STATIC, SMALL and READ stand for words that are often the same
READ = ("pairs.jsonl", "--column", "query")
STRANGE = (  # names that are no text, or too long
    ("evaluate", "model", "\udcff.csv"),
    ("search", "model", *READ, "\udcff"),
    ("evaluate", "model", "x" * 5000 + ".csv"),
    ("train", "x" * 5000 + ".yaml"),
    ("report", "x" * 5000),
    ("compare", "x" * 5000, "y"),
)


def options() -> list[tuple[str, ...]]:
    """Return the words of each call whose options are wrong."""
    often = {"STATIC": STATIC, "SMALL": SMALL, "READ": READ}
    lines = [shlex.split(line) for line in OF_COMMANDS.strip().splitlines()]
    return [tuple(chain.from_iterable(often.get(word, (word,)) for word in line)) for line in lines] + [*STRANGE]
