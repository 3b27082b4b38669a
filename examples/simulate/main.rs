//! Locks in a simulated world.
#[path = "../history/mod.rs"]
mod history;

fn main() {}
