"""peers.py WORKLOAD TASKS REPEATS: what Python's users have, on two processes.

Prints the nanoseconds a task of each repetition, a line each.  Run by python.c.
"""

import multiprocessing
import sys
import time

JOBS = 2


def no_op(value):
    return value


def total(array):
    return int(array.sum())


def report(n, repeats, once):
    """The first time starts the workers and has the memory."""
    for i in range(-1, repeats):
        begun = time.perf_counter_ns()
        once()
        if i >= 0:
            print((time.perf_counter_ns() - begun) / n, flush=True)


def check(ok):
    if not ok:
        sys.exit("peers.py: wrong results")


def pool_map(n, repeats):
    values = list(range(n))
    with multiprocessing.Pool(JOBS) as pool:
        report(n, repeats, lambda: check(pool.map(no_op, values) == values))


def joblib_map(n, repeats):
    from joblib import Parallel, delayed

    values = list(range(n))
    with Parallel(n_jobs=JOBS, backend="loky") as parallel:
        task = delayed(no_op)
        report(n, repeats, lambda: check(parallel(task(i) for i in values) == values))


def joblib_sum(words, n, repeats, max_nbytes):
    """One array after the other: by value it changes in between, as a result that is kept would
    be no measure; of a mapped one only the first writes the file, so it stays as it is."""
    import numpy
    from joblib import Parallel, delayed

    array = numpy.arange(words, dtype=numpy.uint64)
    with Parallel(n_jobs=JOBS, backend="loky", max_nbytes=max_nbytes) as parallel:
        task = delayed(total)

        def once():
            for i in range(n):
                array[0] = i if max_nbytes is None else 0
                (result,) = parallel([task(array)])
                check(result == words * (words - 1) // 2 + int(array[0]))

        report(n, repeats, once)


WORKLOADS = {
    "pool-map": pool_map,
    "joblib-map": joblib_map,
    "value-1M": lambda n, repeats: joblib_sum(1 << 17, n, repeats, None),
    "memmap-1M": lambda n, repeats: joblib_sum(1 << 17, n, repeats, 1000),
    "value-64M": lambda n, repeats: joblib_sum(1 << 23, n, repeats, None),
    "memmap-64M": lambda n, repeats: joblib_sum(1 << 23, n, repeats, 1000),
}

if __name__ == "__main__":
    WORKLOADS[sys.argv[1]](int(sys.argv[2]), int(sys.argv[3]))
