//! The command `doclock`, run as a process.

mod doctor;
mod operate;
mod operator;
mod watch;
