/* fuzz.c - random sequences of what a program may do, and so of legal calls of a plugin. */
#include "rules.h"
#include "scene.h"
#include "verdict.h"

#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static uint64_t state;

/* splitmix64: the same numbers everywhere. */
static uint64_t below(uint64_t n)
{
	uint64_t z = state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return (z ^ z >> 31) % n;
}

enum { POOLS = 3 };
static par_parallel *pools[POOLS];

static void open_one(int i, const char **step)
{
	static const int64_t jobs[] = {1, 2, 3, 4, -1, -2, 16};
	static const char *const plans[] = {"open", "open; its configure is to fail",
	                                    "open; the core has no services"};
	uint64_t plan = below(10);
	par_error error;

	plan = plan < 2 ? plan + 1 : 0;
	*step = plans[plan];
	guard_plan.configure_fails = plan == 1;
	guard_plan.lacks = plan == 2 ? "" : NULL;
	guard_plan.terminates_twice = below(2) == 0;
	pools[i] = scene_try(jobs[below(sizeof(jobs) / sizeof(jobs[0]))], NULL, &error);
	if (pools[i] == NULL && error.reason[0] == '\0')
		failed("a pool does not come up, and nobody says why");
	guard_plan.configure_fails = 0;
	guard_plan.lacks = NULL;
}

static void fork_one(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	if (pid > 0)
		(void)waitpid(pid, NULL, 0);
}

static void use(int i, const char **step)
{
	static const int64_t batch_sizes[] = {PAR_AUTO, 1, 2, 7, 100};

	switch (below(8)) {
	case 0:
		*step = "close";
		par_close(pools[i]);
		pools[i] = NULL;
		break;
	case 1:
		*step = "a task fails";
		scene_fail(pools[i]);
		break;
	case 2:
		*step = "cancel";
		scene_cancel(pools[i], (int)below(5));
		break;
	case 3:
		*step = "fork";
		fork_one();
		break;
	case 4:
		*step = "nest";
		scene_nest(pools[i]);
		break;
	default:
		*step = "map";
		scene_map(pools[i], (int)below(SCENE_TASKS), batch_sizes[below(5)]);
	}
}

void rules_fuzz(unsigned long seed, long steps)
{
	state = seed;
	scene_begin();
	par_close(scene_open(2));
	for (long n = 0; n < steps; n++) {
		int i = (int)below(POOLS);
		const char *step = "";

		/* On standard error, which who replays it sees, and who does not gets the end of. */
		(void)fprintf(stderr, "step %ld: pool %d\n", n, i);
		if (pools[i] == NULL)
			open_one(i, &step);
		else
			use(i, &step);
		(void)fprintf(stderr, "step %ld: pool %d: %s\n", n, i, step);
	}
	for (int i = 0; i < POOLS; i++)
		par_close(pools[i]);
}
