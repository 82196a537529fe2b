import sys

from joblib import Parallel, delayed


def task(value):
    return (value * 6364136223846793005 + 1442695040888963407) % 2**64


if __name__ == "__main__":
    out = Parallel(n_jobs=2, backend="loky")(delayed(task)(i) for i in (1, 2))
    sys.exit(out != [task(1), task(2)])
