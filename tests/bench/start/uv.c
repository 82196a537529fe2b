#include <stdlib.h>
#include <uv.h>

#include "task.h"

struct request {
	uv_work_t req;
	uint64_t in, out;
};

static void on_work(uv_work_t *req)
{
	struct request *request = (struct request *)req;

	request->out = task(request->in);
}

static void on_done(uv_work_t *req, int status)
{
	(void)req;
	(void)status;
}

int main(void)
{
	struct request requests[2] = {{.in = 1}, {.in = 2}};
	uint64_t in[2], out[2];
	uv_loop_t loop;
	int i;

	setenv("UV_THREADPOOL_SIZE", "2", 1);
	if (uv_loop_init(&loop) != 0)
		return 2;
	for (i = 0; i < 2; i++)
		uv_queue_work(&loop, &requests[i].req, on_work, on_done);
	uv_run(&loop, UV_RUN_DEFAULT);
	uv_loop_close(&loop);
	for (i = 0; i < 2; i++) {
		in[i] = requests[i].in;
		out[i] = requests[i].out;
	}
	return wrong(in, out);
}
