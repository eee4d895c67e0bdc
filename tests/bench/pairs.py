"""What a pair is, and how a table of pairs is judged. Pure: runs nothing, reads nothing."""
import re

# What a pair may name. `aws` adds a version of hadoop-aws (and so the workload s3a); `half` is the mistake of exchanging one
# of the client's two jars.
KEYS = ("spark", "hdfs", "java", "python", "aws", "half")
VERSION = re.compile(r"\d+(\.\d+)*")
# Where they apply, in the order in which they are run.
WORKLOADS = ("text", "parquet", "orc", "python_udf", "user_jars", "list_open_files", "erasure_coding", "s3a", "streaming", "event_log")

# Spark {3.3, 3.5, 4.0, newest 4.x} x HDFS {2.7, 3.3, 3.4, 3.5}.
GRID = [f"spark={spark},hdfs={hdfs}"
        for hdfs in ("2.7.4", "3.3.6", "3.4.1", "3.5.0") for spark in ("3.3.4", "3.5.9", "4.0.5", "4.3.0")]
# What Java, Python or the shape of a build stands in the way of, and companions that fit or do not.
EDGES = [
    "spark=3.5.9,hdfs=3.4.1,aws=3.4.1",
    "spark=3.5.9,hdfs=3.4.1,aws=3.3.4",
    "spark=3.5.9,hdfs=3.3.6,aws=3.3.4",
    "spark=4.0.5,hdfs=3.4.1,aws=3.3.6",
    "spark=4.3.0,hdfs=3.4.1,aws=3.4.1",
    "spark=3.5.9,hdfs=3.4.1,half=3.4.1",
    "spark=3.5.9,hdfs=3.4.1,java=25",
    "spark=3.5.9,hdfs=3.4.1,java=11",
    "spark=3.5.9,hdfs=3.5.0,java=11",
    "spark=4.0.5,hdfs=3.4.1,java=11",
    "spark=4.3.0,hdfs=3.4.1,java=25",
    "spark=3.3.4,hdfs=3.4.1,python=3.10",
    "spark=3.5.9,hdfs=3.4.1,python=3.13",
    "spark=4.3.0,hdfs=3.4.1,python=3.8",
    "spark=3.1.3,hdfs=3.4.1",
    "spark=3.1.3,hdfs=3.4.1,java=11,python=3.8",
    "spark=3.0.2,hdfs=2.7.4,java=11,python=3.8",
]


def parse(text):
    """`spark=V,hdfs=V[,java=V][,python=V][,aws=V][,half=V]` as a dict of versions; ValueError says what is wrong."""
    pair = {}
    for part in text.split(","):
        key, equals, version = part.strip().partition("=")
        if key not in KEYS or not equals:
            raise ValueError(f"cannot read pair `{text}`: `{part}` is none of {', '.join(k + '=VERSION' for k in KEYS)}")
        if key in pair:
            raise ValueError(f"cannot read pair `{text}`: it names {key} twice")
        if not VERSION.fullmatch(version):
            raise ValueError(f"cannot read pair `{text}`: `{version}` is no version")
        pair[key] = version
    for key in ("spark", "hdfs"):
        if key not in pair:
            raise ValueError(f"cannot read pair `{text}`: it names no {key}")
    return pair


def workloads(pair):
    """The workloads that are run of a pair."""
    return tuple(name for name in WORKLOADS if name != "s3a" or "aws" in pair)


def judge(row):
    """Workload by workload: whether what was predicted is what was seen."""
    works = row["predicted"]["works"]
    return {name: works.get(name) is (seen is True) for name, seen in row["observed"].items()}


def agrees(row):
    """Nothing of a pair was predicted wrongly. An unknown level counts as wrong."""
    return row["predicted"]["level"] != "unknown" and all(judge(row).values())


def same_client(row):
    """The Hadoop client that ran is the one that was foretold."""
    chosen, found = row["predicted"].get("client", {}).get("chosen"), row.get("found", {}).get("client")
    return None in (chosen, found) or chosen == found


def score(rows):
    """How many predictions were right, ours and those of a predictor that always says `works`."""
    cells = [(row, name, seen) for row in rows for name, seen in row["observed"].items()]
    failing = [{name for name, seen in row["observed"].items() if seen is not True} for row in rows]
    ran = [set(row["observed"]) for row in rows]
    # What fails wherever it is run tells nothing of a pair.
    everywhere = {name for name in set().union(*ran) if all(name in bad or name not in all_ for bad, all_ in zip(failing, ran))}
    unknown = sum(len(row["observed"]) for row in rows if row["predicted"]["level"] == "unknown")
    wrong = [(row["pair"], name) for row, name, _ in cells if not judge(row)[name]]
    in_unknown = sum(row["predicted"]["level"] == "unknown" and judge(row)[name] for row, name, _ in cells)
    return {
        "predictions": len(cells),
        "right": len(cells) - len(wrong) - in_unknown,
        "constant_right": sum(seen is True for _, _, seen in cells),
        "pairs": len(rows),
        "pairs_with_a_failure": sum(bool(bad - everywhere) for bad in failing),
        "unknown": unknown,
        "other_client": [row["pair"] for row in rows if not same_client(row)],
        "wrong": [f"{pair}: {name}" for pair, name in wrong],
    }


def table(rows):
    """The table for people: + works and - fails as predicted, W works and F fails against the prediction."""
    names = [name for name in WORKLOADS if any(name in row["observed"] for row in rows)]
    marks = {(True, True): "+", (True, False): "-", (False, True): "W", (False, False): "F"}
    wide = max([len(row["pair"]) for row in rows] + [4])
    lines = [f"{'pair':{wide}}  {'level':15} " + " ".join(names)]
    for row in rows:
        right = judge(row)
        cells = [marks[right[name], row["observed"][name] is True] if name in right else " " for name in names]
        lines.append(f"{row['pair']:{wide}}  {row['predicted']['level']:15} "
                     + " ".join(f"{cell:{len(name)}}" for cell, name in zip(cells, names)).rstrip())
    return "\n".join(lines)
