//! rusty.rs - a backend in Rust: threads that take their batches from a queue.
//!
//! 	rustc --edition 2021 -O -C panic=abort --crate-type cdylib rusty.rs -o rusty.so
//!
//! No panic may leave a function that the core calls; with panic=abort none does.
mod parloop;
use parloop::*;

use std::collections::VecDeque;
use std::ffi::CStr;
use std::os::raw::{c_char, c_void};
use std::ptr::null;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{Builder, JoinHandle};

par_plugin!(
	"version 1.0.0"
	"backend rusty threads that take their batches from a queue"
	"capabilities shares_memory uses_threads auto_batches"
	"int most 64 1..1024 threads at most"
);

/// What the threads and the instance share.
struct Shared {
	host: *const par_host,
	queue: Mutex<Queue>,
	work: Condvar,
}

struct Queue {
	batches: VecDeque<par_batch>,
	is_ending: bool,
}

// What the threads call of the host is marked [any] or [worker].
unsafe impl Send for Shared {}
unsafe impl Sync for Shared {}

struct Instance {
	shared: Arc<Shared>,
	most: i32,
	threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Shared {
	fn next(&self) -> Option<par_batch> {
		let queue = self.queue.lock().unwrap();
		let mut queue = self.work.wait_while(queue, |queue| queue.batches.is_empty() && !queue.is_ending).unwrap();
		queue.batches.pop_front()
	}

	fn serve(&self) {
		while let Some(batch) = self.next() {
			unsafe {
				let status = ((*self.host).run)(self.host, batch);
				((*self.host).done)(self.host, batch, status, null());
			}
		}
	}
}

unsafe extern "C" fn create(host: *const par_host, options: *const par_options, _level: i32,
	_inner_max_num_threads: i32, backend: *mut *mut par_backend, _error: *mut par_error) -> i32 {
	let queue = Queue { batches: VecDeque::new(), is_ending: false };
	let instance = Instance {
		shared: Arc::new(Shared { host, queue: Mutex::new(queue), work: Condvar::new() }),
		most: ((*host).option_int)(options, b"most\0".as_ptr() as *const c_char) as i32,
		threads: Mutex::new(Vec::new()),
	};
	*backend = Box::into_raw(Box::new(instance)) as *mut par_backend;
	PAR_OK
}

/// What is marked [any] may be called meanwhile, so nobody has it for himself before destroy().
unsafe fn instance_of<'a>(backend: *mut par_backend) -> &'a Instance {
	&*(backend as *const Instance)
}

unsafe extern "C" fn destroy(backend: *mut par_backend) {
	let instance = Box::from_raw(backend as *mut Instance);
	instance.shared.queue.lock().unwrap().is_ending = true;
	instance.shared.work.notify_all();
	for thread in instance.threads.into_inner().unwrap() {
		let _ = thread.join();
	}
}

unsafe extern "C" fn effective_n_jobs(backend: *mut par_backend, n_jobs: i32) -> i32 {
	let instance = instance_of(backend);
	let host = instance.shared.host;
	let n_jobs = if n_jobs < 0 { n_jobs.saturating_add(((*host).cores)(host) + 1) } else { n_jobs };
	n_jobs.clamp(1, instance.most)
}

/// Of libc's, which every program has.
#[repr(C)]
struct Signals([u64; 16]);

extern "C" {
	fn pthread_sigmask(how: i32, new: *const Signals, before: *mut Signals) -> i32;
}

const SIG_SETMASK: i32 = 2;

/// Signals are the program's affair, and reach its own threads.
unsafe extern "C" fn configure(backend: *mut par_backend, _call: *const par_call, answer: *mut par_answer,
	error: *mut par_error) -> i32 {
	let instance = instance_of(backend);
	let mut threads = instance.threads.lock().unwrap();
	let mut before = Signals([0; 16]);
	pthread_sigmask(SIG_SETMASK, &Signals([!0; 16]), &mut before);
	while threads.len() < (*answer).n_jobs as usize {
		let shared = Arc::clone(&instance.shared);
		match Builder::new().spawn(move || shared.serve()) {
			Ok(thread) => threads.push(thread),
			Err(_) => break,
		}
	}
	pthread_sigmask(SIG_SETMASK, &before, std::ptr::null_mut());
	if threads.is_empty() {
		return fail(error, PAR_ENOMEM, "cannot start a thread");
	}
	(*answer).n_jobs = threads.len() as i32;
	PAR_OK
}

unsafe extern "C" fn submit(backend: *mut par_backend, batch: par_batch, _future: *mut *mut c_void,
	_error: *mut par_error) -> i32 {
	let shared = &instance_of(backend).shared;
	shared.queue.lock().unwrap().batches.push_back(batch);
	shared.work.notify_one();
	PAR_OK
}

static OPS: par_backend_ops = par_backend_ops {
	create: Some(create),
	destroy: Some(destroy),
	effective_n_jobs: Some(effective_n_jobs),
	configure: Some(configure),
	submit: Some(submit),
	..NO_OPS
};

#[no_mangle]
pub unsafe extern "C" fn parloop_backend_v1(_host: *const par_host, name: *const c_char) -> *const par_backend_ops {
	if CStr::from_ptr(name).to_bytes() == b"rusty" { &OPS } else { null() }
}
