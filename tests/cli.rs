//! The command `doclock`, run as a shell runs it.

mod command;
mod counter;
mod crashes;
mod ends;
mod lost;
mod passed_on;
mod slots;
mod terminal;
