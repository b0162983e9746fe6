"""What the scripts of bad inputs share: options, and messages compared with a file of expected ones."""
import argparse
import os
from concurrent.futures import ThreadPoolExecutor


def options(doc):
    """A parser with LATHE, --update and --only; more may be added."""
    p = argparse.ArgumentParser(description=doc.split("\n")[0])
    p.add_argument("lathe")
    p.add_argument("--update", action="store_true", help="write the expected messages")
    p.add_argument("--only", default="", help="cases whose name holds this text")
    return p


def read_expected(path):
    if not os.path.exists(path):
        return {}
    with open(path, encoding="utf-8") as f:
        blocks = f.read().split("== ")[1:]
    return {b.split("\n", 1)[0]: b.split("\n", 1)[1] for b in blocks}


def judge(results, names, path, update):
    """results: (name, text, problems), text None where the case was skipped; names: of all cases. Prints what is wrong
    and returns how many cases are; writes the file at `path` where `update` says so."""
    assert len(set(names)) == len(names), "two cases of one name"
    expected = read_expected(path)
    bad = 0
    for name, text, problems in results:
        if text is None:
            print(f"skipped {name}: {problems[0]}")
            continue
        if update:
            expected[name] = text
        elif name not in expected:
            problems.append("no expected message; --update writes it")
        elif text != expected[name]:
            problems.append("another message than expected:\n" + expected[name])
        if problems:
            bad += 1
            print(f"FAIL {name}: " + "; ".join(problems) + "\ngot:\n" + text)
    stale = sorted(set(expected) - set(names))
    if update:
        with open(path, "w", encoding="utf-8") as f:
            for name in names:
                if name in expected:
                    f.write(f"== {name}\n{expected[name]}")
    elif stale:
        bad += 1
        print("FAIL expected messages without a case:", ", ".join(stale))
    return bad


def judge_all(a, cases, run, path, what):
    """Runs those of `cases`, tuples whose first part is the name, that the options `a` choose, several at a time: run(case)
    gives what judge() takes. Prints what is wrong and how many are right, `what` said of them; returns how many are not,
    none that ran counting as one."""
    chosen = [c for c in cases if a.only in c[0]]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = list(pool.map(run, chosen))
    bad = judge(results, [c[0] for c in cases], path, a.update)
    ran = sum(text is not None for _, text, _ in results)
    skipped = f", {len(results) - ran} skipped" if ran < len(results) else ""
    print(f"{ran - bad} of {ran} {what}{skipped}")
    return bad or int(not ran)
