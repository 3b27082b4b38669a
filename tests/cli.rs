//! The command `doclock`, run as a shell runs it.

mod command;
mod counter;
mod crashes;
mod doctor;
mod ends;
mod guide;
mod lost;
mod operate;
mod operator;
mod passed_on;
mod slots;
mod terminal;
mod watch;
