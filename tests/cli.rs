//! The command `doclock`, run as a process.

mod command;
mod doctor;
