//! layout.rs - prints what parloop.rs says of each struct, for the compiler of the header to agree.
mod parloop;

fn main() {
	parloop::print_layouts();
}
