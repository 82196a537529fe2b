//! parloop.rs - as much of <parloop/backend.h> as a backend of threads needs, for Rust without any
//! crate.  The names are those of the header, whose comments say what they mean.
//!
//! Each struct prints its layout as C, so that the header's compiler can be asked whether it is
//! the same: layout.rs.
#![allow(non_camel_case_types, dead_code)]

use std::os::raw::{c_char, c_void};

pub const PAR_ABI: u32 = 1 << 16;
pub const PAR_OK: i32 = 0;
pub const PAR_ENOMEM: i32 = -2;
pub const PAR_EFAILED: i32 = -5;

pub type par_batch = u64;
/// An instance: the plugin's, which makes a pointer to its own of this one.
pub enum par_backend {}
pub enum par_options {}

macro_rules! as_in_c {
	($($name:ident { $($field:ident: $kind:ty,)* })*) => {
		$(
			#[repr(C)]
			pub struct $name {
				$(pub $field: $kind,)*
			}

			impl $name {
				fn print_layout() {
					let nothing = std::mem::MaybeUninit::<$name>::uninit();
					let start = nothing.as_ptr();
					$(
						let field = unsafe { std::ptr::addr_of!((*start).$field) };
						println!("AT({}, {}, {});", stringify!($name), stringify!($field),
							field as usize - start as usize);
					)*
					println!("SIZE({}, {});", stringify!($name), std::mem::size_of::<$name>());
				}
			}
		)*

		pub fn print_layouts() {
			$($name::print_layout();)*
		}
	};
}

/// A function that a plugin may leave out.
type Maybe<F> = Option<F>;

as_in_c! {
	par_error {
		size: u32,
		code: i32,
		task: i64,
		what: [c_char; 240],
		file: [c_char; 320],
		reason: [c_char; 304],
		remedy: [c_char; 160],
		worker: i32,
		attempts: i32,
		task_code: i32,
		pid: i32,
		signal: i32,
		exit_code: i32,
		peak_memory: i64,
		r#type: [c_char; 48],
		host: [c_char; 64],
		input: [c_char; 128],
		trace: [c_char; 736],
	}

	par_call {
		size: u32,
		n_jobs: i32,
		level: i32,
		inner_max_num_threads: i32,
		core_share: i32,
		verbose: i32,
		prefer_threads: i32,
		require_sharedmem: i32,
		may_block: i32,
		oversubscribe: i32,
		options: *const par_options,
		around: *const c_char,
		below_threads: i32,
		is_nested: i32,
	}

	par_answer {
		size: u32,
		n_jobs: i32,
		capabilities: u32,
		holds: i32,
		fallback: *const c_char,
	}

	par_how {
		size: u32,
		worker: i32,
		pid: i32,
		signal: i32,
		exit_code: i32,
		reserved: i32,
		peak_memory: i64,
		host: *const c_char,
		text: *const c_char,
	}

	par_nested {
		size: u32,
		level: i32,
		n_jobs: i32,
		myself: i32,
		name: *const c_char,
		options: *const *const c_char,
	}

	par_host {
		size: u32,
		abi: u32,
		version: *const c_char,
		log: unsafe extern "C" fn(*const par_host, i32, *const c_char),
		run: unsafe extern "C" fn(*const par_host, par_batch) -> i32,
		done: unsafe extern "C" fn(*const par_host, par_batch, i32, *const par_how),
		stopping: unsafe extern "C" fn(*const par_host, par_batch) -> i32,
		post: unsafe extern "C" fn(*const par_host, extern "C" fn(*mut c_void), *mut c_void) -> i32,
		ready: unsafe extern "C" fn(*const par_host, i32, *const par_error),
		capacity: unsafe extern "C" fn(*const par_host, i32, i32),
		cores: unsafe extern "C" fn(*const par_host) -> i32,
		option_int: unsafe extern "C" fn(*const par_options, *const c_char) -> i64,
		option_text: unsafe extern "C" fn(*const par_options, *const c_char) -> *const c_char,
		option_is_set: unsafe extern "C" fn(*const par_options, *const c_char) -> i32,
		extension: unsafe extern "C" fn(*const par_host, *const c_char) -> *const c_void,
	}

	par_backend_ops {
		size: u32,
		abi: u32,
		create: Maybe<unsafe extern "C" fn(*const par_host, *const par_options, i32, i32,
			*mut *mut par_backend, *mut par_error) -> i32>,
		destroy: Maybe<unsafe extern "C" fn(*mut par_backend)>,
		effective_n_jobs: Maybe<unsafe extern "C" fn(*mut par_backend, i32) -> i32>,
		default_n_jobs: Maybe<unsafe extern "C" fn(*mut par_backend) -> i32>,
		configure: Maybe<unsafe extern "C" fn(*mut par_backend, *const par_call, *mut par_answer,
			*mut par_error) -> i32>,
		start_call: Maybe<unsafe extern "C" fn(*mut par_backend, *mut par_error) -> i32>,
		stop_call: Maybe<unsafe extern "C" fn(*mut par_backend)>,
		submit: Maybe<unsafe extern "C" fn(*mut par_backend, par_batch, *mut *mut c_void,
			*mut par_error) -> i32>,
		retrieve_result_callback: Maybe<unsafe extern "C" fn(*mut par_backend, par_batch, *mut c_void,
			i32, *mut par_error) -> i32>,
		retrieve_result: Maybe<unsafe extern "C" fn(*mut par_backend, par_batch, *mut c_void, i64,
			*mut par_error) -> i32>,
		kill: Maybe<unsafe extern "C" fn(*mut par_backend, par_batch, *mut c_void) -> i32>,
		compute_batch_size: Maybe<unsafe extern "C" fn(*mut par_backend) -> i32>,
		batch_completed: Maybe<unsafe extern "C" fn(*mut par_backend, i64, i64)>,
		abort_everything: Maybe<unsafe extern "C" fn(*mut par_backend, i32)>,
		retrieval_enter: Maybe<unsafe extern "C" fn(*mut par_backend)>,
		retrieval_exit: Maybe<unsafe extern "C" fn(*mut par_backend)>,
		get_nested_backend: Maybe<unsafe extern "C" fn(*mut par_backend, *mut par_nested) -> i32>,
		terminate: Maybe<unsafe extern "C" fn(*mut par_backend, *mut par_error) -> i32>,
		extension: Maybe<unsafe extern "C" fn(*mut par_backend, *const c_char) -> *const c_void>,
		poll: Maybe<unsafe extern "C" fn(*mut par_backend, i32) -> i32>,
		batch_waits: Maybe<unsafe extern "C" fn(*mut par_backend, par_batch, i32)>,
	}
}

/// A table in which everything is left out.
pub const NO_OPS: par_backend_ops = par_backend_ops {
	size: std::mem::size_of::<par_backend_ops>() as u32,
	abi: PAR_ABI,
	create: None,
	destroy: None,
	effective_n_jobs: None,
	default_n_jobs: None,
	configure: None,
	start_call: None,
	stop_call: None,
	submit: None,
	retrieve_result_callback: None,
	retrieve_result: None,
	kill: None,
	compute_batch_size: None,
	batch_completed: None,
	abort_everything: None,
	retrieval_enter: None,
	retrieval_exit: None,
	get_nested_backend: None,
	terminate: None,
	extension: None,
	poll: None,
	batch_waits: None,
};

/// par_fail(): the code, and the reason for it.
pub unsafe fn fail(error: *mut par_error, code: i32, reason: &str) -> i32 {
	if let Some(error) = error.as_mut() {
		let length = reason.len().min(error.reason.len() - 1);
		error.code = code;
		for (to, from) in error.reason.iter_mut().zip(reason.bytes().take(length).chain([0])) {
			*to = from as c_char;
		}
	}
	code
}

/// An ELF note, as PAR_PLUGIN() makes it.
#[repr(C, align(4))]
pub struct Note<const SIZE: usize> {
	pub name_size: u32,
	pub text_size: u32,
	pub kind: u32,
	pub name: [u8; 8],
	pub body: [u8; SIZE],
}

pub const fn body<const SIZE: usize>(text: &str) -> [u8; SIZE] {
	let mut body = [0; SIZE];
	let mut i = 0;
	while i < text.len() {
		body[i] = text.as_bytes()[i];
		i += 1;
	}
	body
}

/// PAR_PLUGIN(), of lines as `readelf -p .note.parloop` shows them.
#[macro_export]
macro_rules! par_plugin {
	($($line:literal)*) => {
		const TEXT: &str = concat!("abi 1.0\n", $($line, "\n",)* "\0");

		#[used]
		#[link_section = ".note.parloop"]
		static NOTE: parloop::Note<{ (TEXT.len() + 3) / 4 * 4 }> = parloop::Note {
			name_size: 8,
			text_size: TEXT.len() as u32,
			kind: 0x504c0001,
			name: *b"parloop\0",
			body: parloop::body(TEXT),
		};
	};
}
