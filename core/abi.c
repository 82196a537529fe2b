/* The layout of everything that crosses the border to a program, a plugin or a task module, field
 * by field, as released in 1.0: what is compared here never changes, except by appending, which
 * makes a struct larger and its minor version higher.  tests/test_abi.sh sees the rest of it. */
#include "abi.h"

#include <parloop/backend.h>
#include <parloop/parloop.h>
#include <parloop/task.h>
#include <parloop/worker.h>

#include <string.h>

#if !defined(__LP64__)
#error "parloop is for LP64 machines"
#endif

int abi_wants_more(const void *sized, size_t known)
{
	const unsigned char *bytes = sized;
	uint32_t size;

	memcpy(&size, sized, sizeof(size));
	for (size_t i = known; i < size; i++)
		if (bytes[i] != 0)
			return 1;
	return 0;
}

#define SIZE(type, bytes)       _Static_assert(sizeof(type) == (bytes), #type " has its size")
#define AT(type, field, offset) \
	_Static_assert(offsetof(type, field) == (offset), #type "." #field " is in its place")

SIZE(par_error, 2048);
AT(par_error, size, 0);
AT(par_error, code, 4);
AT(par_error, task, 8);
AT(par_error, what, 16);
AT(par_error, file, 256);
AT(par_error, reason, 576);
AT(par_error, remedy, 880);
AT(par_error, worker, 1040);
AT(par_error, attempts, 1044);
AT(par_error, task_code, 1048);
AT(par_error, pid, 1052);
AT(par_error, signal, 1056);
AT(par_error, exit_code, 1060);
AT(par_error, peak_memory, 1064);
AT(par_error, type, 1072);
AT(par_error, host, 1120);
AT(par_error, input, 1184);
AT(par_error, trace, 1312);

SIZE(par_env, 80);
AT(par_env, size, 0);
AT(par_env, worker, 4);
AT(par_env, index, 8);
AT(par_env, shared, 16);
AT(par_env, shared_size, 24);
AT(par_env, stopping, 32);
AT(par_env, level, 40);
AT(par_env, inner_max_num_threads, 44);
AT(par_env, reply, 48);
AT(par_env, explain, 56);
AT(par_env, call_seed, 64);
AT(par_env, attempt, 72);
AT(par_env, saw_stopping, 76);

SIZE(par_task, 48);
AT(par_task, size, 0);
AT(par_task, abi, 4);
AT(par_task, name, 8);
AT(par_task, kind, 16);
AT(par_task, in_size, 20);
AT(par_task, out_size, 24);
AT(par_task, reserved, 28);
AT(par_task, range, 32);
AT(par_task, bytes, 40);

SIZE(par_settings, 352);
AT(par_settings, size, 0);
AT(par_settings, order, 4);
AT(par_settings, on_error, 8);
AT(par_settings, reserved, 12);
AT(par_settings, backend, 16);
AT(par_settings, options, 24);
AT(par_settings, n_jobs, 32);
AT(par_settings, pre_dispatch, 48);
AT(par_settings, batch_size, 56);
AT(par_settings, timeout, 72);
AT(par_settings, verbose, 88);
AT(par_settings, shared, 104);
AT(par_settings, shared_size, 112);
AT(par_settings, prefer, 120);
AT(par_settings, require, 128);
AT(par_settings, inner_max_num_threads, 136);
AT(par_settings, statuses, 152);
AT(par_settings, task_timeout, 160);
AT(par_settings, call_timeout, 176);
AT(par_settings, close_timeout, 192);
AT(par_settings, retries, 208);
AT(par_settings, retry_delay, 224);
AT(par_settings, retry_on, 240);
AT(par_settings, seed, 256);
AT(par_settings, n_tasks, 272);
AT(par_settings, on_progress, 288);
AT(par_settings, on_event, 296);
AT(par_settings, watcher, 304);
AT(par_settings, max_nbytes, 312);
AT(par_settings, mmap_mode, 328);
AT(par_settings, oversubscribe, 336);

SIZE(par_progress, 56);
AT(par_progress, size, 0);
AT(par_progress, reserved, 4);
AT(par_progress, done, 8);
AT(par_progress, failed, 16);
AT(par_progress, running, 24);
AT(par_progress, total, 32);
AT(par_progress, elapsed_s, 40);
AT(par_progress, remaining_s, 48);

SIZE(par_event, 48);
AT(par_event, size, 0);
AT(par_event, kind, 4);
AT(par_event, index, 8);
AT(par_event, at_ns, 16);
AT(par_event, worker, 24);
AT(par_event, attempt, 28);
AT(par_event, status, 32);
AT(par_event, code, 36);
AT(par_event, message, 40);

SIZE(par_thrown, 24);
AT(par_thrown, size, 0);
AT(par_thrown, reserved, 4);
AT(par_thrown, unused, 8);
AT(par_thrown, cancelled, 16);

SIZE(par_item, 32);
AT(par_item, size, 0);
AT(par_item, stays, 4);
AT(par_item, payload, 8);
AT(par_item, n_bytes, 16);
AT(par_item, task, 24);

SIZE(par_outcome, 112);
AT(par_outcome, size, 0);
AT(par_outcome, status, 4);
AT(par_outcome, index, 8);
AT(par_outcome, bytes, 16);
AT(par_outcome, n_bytes, 24);
AT(par_outcome, code, 32);
AT(par_outcome, attempts, 36);
AT(par_outcome, message, 40);
AT(par_outcome, payload, 48);
AT(par_outcome, payload_bytes, 56);
AT(par_outcome, type, 64);
AT(par_outcome, trace, 72);
AT(par_outcome, host, 80);
AT(par_outcome, worker, 88);
AT(par_outcome, pid, 92);
AT(par_outcome, signal, 96);
AT(par_outcome, exit_code, 100);
AT(par_outcome, peak_memory, 104);

SIZE(par_call, 64);
AT(par_call, size, 0);
AT(par_call, n_jobs, 4);
AT(par_call, level, 8);
AT(par_call, inner_max_num_threads, 12);
AT(par_call, core_share, 16);
AT(par_call, verbose, 20);
AT(par_call, prefer_threads, 24);
AT(par_call, require_sharedmem, 28);
AT(par_call, may_block, 32);
AT(par_call, oversubscribe, 36);
AT(par_call, options, 40);
AT(par_call, around, 48);
AT(par_call, below_threads, 56);
AT(par_call, is_nested, 60);

SIZE(par_answer, 24);
AT(par_answer, size, 0);
AT(par_answer, n_jobs, 4);
AT(par_answer, capabilities, 8);
AT(par_answer, holds, 12);
AT(par_answer, fallback, 16);

SIZE(par_how, 48);
AT(par_how, size, 0);
AT(par_how, worker, 4);
AT(par_how, pid, 8);
AT(par_how, signal, 12);
AT(par_how, exit_code, 16);
AT(par_how, reserved, 20);
AT(par_how, peak_memory, 24);
AT(par_how, host, 32);
AT(par_how, text, 40);

SIZE(par_nested, 32);
AT(par_nested, size, 0);
AT(par_nested, level, 4);
AT(par_nested, n_jobs, 8);
AT(par_nested, myself, 12);
AT(par_nested, name, 16);
AT(par_nested, options, 24);

SIZE(par_host, 112);
AT(par_host, size, 0);
AT(par_host, abi, 4);
AT(par_host, version, 8);
AT(par_host, log, 16);
AT(par_host, run, 24);
AT(par_host, done, 32);
AT(par_host, stopping, 40);
AT(par_host, post, 48);
AT(par_host, ready, 56);
AT(par_host, capacity, 64);
AT(par_host, cores, 72);
AT(par_host, option_int, 80);
AT(par_host, option_text, 88);
AT(par_host, option_is_set, 96);
AT(par_host, extension, 104);

SIZE(par_backend_ops, 176);
AT(par_backend_ops, size, 0);
AT(par_backend_ops, abi, 4);
AT(par_backend_ops, create, 8);
AT(par_backend_ops, destroy, 16);
AT(par_backend_ops, effective_n_jobs, 24);
AT(par_backend_ops, default_n_jobs, 32);
AT(par_backend_ops, configure, 40);
AT(par_backend_ops, start_call, 48);
AT(par_backend_ops, stop_call, 56);
AT(par_backend_ops, submit, 64);
AT(par_backend_ops, retrieve_result_callback, 72);
AT(par_backend_ops, retrieve_result, 80);
AT(par_backend_ops, kill, 88);
AT(par_backend_ops, compute_batch_size, 96);
AT(par_backend_ops, batch_completed, 104);
AT(par_backend_ops, abort_everything, 112);
AT(par_backend_ops, retrieval_enter, 120);
AT(par_backend_ops, retrieval_exit, 128);
AT(par_backend_ops, get_nested_backend, 136);
AT(par_backend_ops, terminate, 144);
AT(par_backend_ops, extension, 152);
AT(par_backend_ops, poll, 160);
AT(par_backend_ops, batch_waits, 168);

SIZE(par_ext_fd, 24);
AT(par_ext_fd, size, 0);
AT(par_ext_fd, reserved, 4);
AT(par_ext_fd, watch, 8);
AT(par_ext_fd, unwatch, 16);

SIZE(par_ext_timer, 24);
AT(par_ext_timer, size, 0);
AT(par_ext_timer, reserved, 4);
AT(par_ext_timer, start, 8);
AT(par_ext_timer, stop, 16);

SIZE(par_ext_worker_env, 24);
AT(par_ext_worker_env, size, 0);
AT(par_ext_worker_env, reserved, 4);
AT(par_ext_worker_env, make_env, 8);
AT(par_ext_worker_env, free_env, 16);

SIZE(par_attachment, 72);
AT(par_attachment, size, 0);
AT(par_attachment, kind, 4);
AT(par_attachment, id, 8);
AT(par_attachment, bytes, 16);
AT(par_attachment, address, 24);
AT(par_attachment, fd, 32);
AT(par_attachment, writable, 36);
AT(par_attachment, sha256, 40);

SIZE(par_encoded, 48);
AT(par_encoded, size, 0);
AT(par_encoded, n_attachments, 4);
AT(par_encoded, bytes, 8);
AT(par_encoded, n_bytes, 16);
AT(par_encoded, attachments, 24);
AT(par_encoded, name, 32);
AT(par_encoded, n_tasks, 40);

SIZE(par_ext_encode, 32);
AT(par_ext_encode, size, 0);
AT(par_ext_encode, reserved, 4);
AT(par_ext_encode, encode, 8);
AT(par_ext_encode, receive, 16);
AT(par_ext_encode, runs_at, 24);
SIZE(par_worker_setup, 48);
AT(par_worker_setup, size, 0);
AT(par_worker_setup, worker, 4);
AT(par_worker_setup, parent, 8);
AT(par_worker_setup, cpu, 12);
AT(par_worker_setup, memory, 16);
AT(par_worker_setup, cpu_time_ns, 24);
AT(par_worker_setup, initializer, 32);
AT(par_worker_setup, initarg, 40);
SIZE(par_ext_channel, 136);
AT(par_ext_channel, size, 0);
AT(par_ext_channel, reserved, 4);
AT(par_ext_channel, open, 8);
AT(par_ext_channel, close, 16);
AT(par_ext_channel, ends, 24);
AT(par_ext_channel, describe, 32);
AT(par_ext_channel, program, 40);
AT(par_ext_channel, serve, 48);
AT(par_ext_channel, started, 56);
AT(par_ext_channel, fd, 64);
AT(par_ext_channel, is_ready, 72);
AT(par_ext_channel, send, 80);
AT(par_ext_channel, next, 88);
AT(par_ext_channel, sleeps, 96);
AT(par_ext_channel, stop, 104);
AT(par_ext_channel, out, 112);
AT(par_ext_channel, lost, 120);
AT(par_ext_channel, last_words, 128);

SIZE(par_option_info, 64);
AT(par_option_info, size, 0);
AT(par_option_info, required, 4);
AT(par_option_info, secret, 8);
AT(par_option_info, reserved, 12);
AT(par_option_info, key, 16);
AT(par_option_info, type, 24);
AT(par_option_info, fallback, 32);
AT(par_option_info, range, 40);
AT(par_option_info, help, 48);
AT(par_option_info, value, 56);

SIZE(par_backend_info, 88);
AT(par_backend_info, size, 0);
AT(par_backend_info, state, 4);
AT(par_backend_info, name, 8);
AT(par_backend_info, file, 16);
AT(par_backend_info, version, 24);
AT(par_backend_info, summary, 32);
AT(par_backend_info, capabilities, 40);
AT(par_backend_info, abi, 48);
AT(par_backend_info, reason, 56);
AT(par_backend_info, remedy, 64);
AT(par_backend_info, n_options, 72);
AT(par_backend_info, reserved, 76);
AT(par_backend_info, options, 80);

SIZE(par_library, 32);
AT(par_library, size, 0);
AT(par_library, n_threads, 4);
AT(par_library, per_thread, 8);
AT(par_library, reserved, 12);
AT(par_library, kind, 16);
AT(par_library, file, 24);

SIZE(par_work, 80);
AT(par_work, size, 0);
AT(par_work, worker, 4);
AT(par_work, bytes, 8);
AT(par_work, n_bytes, 16);
AT(par_work, attachments, 24);
AT(par_work, n_attachments, 32);
AT(par_work, reserved, 36);
AT(par_work, stopping, 40);
AT(par_work, send, 48);
AT(par_work, user, 56);
AT(par_work, waits, 64);
AT(par_work, is_last, 72);

SIZE(par_serving, 24);
AT(par_serving, size, 0);
AT(par_serving, worker, 4);
AT(par_serving, in, 8);
AT(par_serving, out, 12);
AT(par_serving, parent, 16);
AT(par_serving, reserved, 20);

SIZE(par_int, 16);
AT(par_int, set, 0);
AT(par_int, value, 8);

SIZE(par_real, 16);
AT(par_real, set, 0);
AT(par_real, value, 8);

SIZE(par_plain, 16);
AT(par_plain, kind, 0);
AT(par_plain, n, 4);
AT(par_plain, size, 8);

SIZE(par_plain_attachment, 56);
AT(par_plain_attachment, id, 0);
AT(par_plain_attachment, bytes, 8);
AT(par_plain_attachment, kind, 16);
AT(par_plain_attachment, writable, 20);
AT(par_plain_attachment, sha256, 24);
