//! The clock that `doclock run` and its guard share.

use std::time::Duration;

use nix::time::ClockId;

/// It goes on while the machine is suspended: so does the lease.
#[cfg(any(target_os = "linux", target_os = "android"))]
const CLOCK: ClockId = ClockId::CLOCK_BOOTTIME;
/// Elsewhere it is the one that may do so.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const CLOCK: ClockId = ClockId::CLOCK_MONOTONIC;

/// The time since the machine started, the same in all its processes.
pub(super) fn now() -> nix::Result<Duration> {
    Ok(CLOCK.now()?.into())
}
