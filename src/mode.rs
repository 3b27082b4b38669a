//! Modes as types, so that the compiler knows what a lease allows beside it.
//!
//! The parameter of [`Lock`](crate::Lock) and [`Lease`](crate::Lease) is one of these, or [`Mode`](crate::Mode) where the
//! mode is chosen at run time.

/// Nobody else holds: the mode of [`LockClient::lock`](crate::LockClient::lock), and the only one whose fencing token can
/// guard writes: of two that hold at once, each would refuse the other's.
#[derive(Clone, Copy, Debug)]
pub enum Exclusive {}

/// Others may share it: the mode of [`LockClient::shared`](crate::LockClient::shared).
#[derive(Clone, Copy, Debug)]
pub enum Shared {}

/// One of several permits: the mode of [`LockClient::semaphore`](crate::LockClient::semaphore).
#[derive(Clone, Copy, Debug)]
pub enum Permit {}
