# What runs batches in an engine's workers, without an engine.
. tests/shell.sh

if ! command -v python3 >/dev/null; then
	skip "a batch that is killed before it has begun does not begin" "no python3 here"
	summary
fi

# Of nothing but a worker that is told to run what is no batch: it complains, if it comes to that.
cat >"$work/two.py" <<'END_OF_PYTHON'
import hashlib
import sys

sys.path.insert(0, "plugins/engines")
sys.dont_write_bytecode = True
import parloop_far_side as far

with open(sys.argv[1], "rb") as file:
    program = "key", sys.argv[1], hashlib.sha256(file.read()).digest()


def run(batch):
    return far.Outcome(*far.here.run(("session", batch, program, None, [], [], {}), b"", None, None, None))


far.here.kill("session", [5])
killed, other, again = run(5), run(6), run(7)
far.here.kill("session", range(100, 100 + 2 * far.MOST_CONDEMNED))
print(killed.status, killed.signal, repr(killed.text))
print(other.status, "cannot run a batch" in other.text, again.text == other.text)
print(len(far.here.condemned) == far.MOST_CONDEMNED)
far.here.forget("session")
END_OF_PYTHON
printf "%s\n" "lost 9 ''" "lost True True" True >"$work/want"
runs() {
	timeout 60 python3 "$work/two.py" "$PWD/$O/parloop-worker" >"$work/got" && same "$work/want" "$work/got"
}
expect "a batch that is killed before it has begun does not begin, others do, and memory stays bounded" runs
summary
