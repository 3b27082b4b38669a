//! What `doclock run` is asked for.

use std::ffi::OsString;
use std::time::{Duration, SystemTime};

use doclock::{Job, Lock, LockClient, Mode};

use super::help;
use crate::exit::Exit;
use crate::span::{instant, span, span_or_forever};

/// Run a command while holding a lock
#[derive(clap::Args)]
#[command(long_about = help::ABOUT, after_help = help::EXAMPLES, after_long_help = help::DETAILS)]
pub(crate) struct Args {
    /// How long the lock stays taken if this machine dies
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = span)]
    ttl: Duration,
    /// How long to wait while others hold the lock, or `forever`
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = span_or_forever)]
    wait: Duration,
    /// Give up at once if others hold the lock
    #[arg(long, conflicts_with = "wait")]
    no_wait: bool,
    /// Hold it together with other shared holders, and with nobody else
    #[arg(long)]
    shared: bool,
    /// Hold one of so many permits
    #[arg(long, value_name = "N", conflicts_with = "shared")]
    permits: Option<u32>,
    /// Get it in the order of arrival
    #[arg(long)]
    fair: bool,
    /// Keep others out for at least so long, even if the command ends sooner
    #[arg(long, value_name = "DURATION", value_parser = span)]
    min_hold: Option<Duration>,
    /// End the command after so long
    #[arg(long, value_name = "DURATION", value_parser = span)]
    max_hold: Option<Duration>,
    #[command(flatten)]
    slots: Slots,
    /// Who holds it, to take one's own lock over after a crash; only if the one before is certainly dead
    #[arg(long)]
    owner: Option<String>,
    /// A few words for people who look at the lock
    #[arg(long)]
    label: Option<String>,
    /// The exit code if others held the lock for all of the wait
    #[arg(long, value_name = "CODE", default_value_t = Exit::BUSY.code())]
    busy_exit_code: u8,
    /// What is locked
    pub(super) key: String,
    /// The command and its arguments
    #[arg(last = true, required = true)]
    pub(super) command: Vec<OsString>,
}

/// What a job that runs once has nothing of.
const SHARING: [&str; 2] = ["shared", "permits"];

/// When the command is to run at most once.
#[derive(clap::Args)]
#[group(skip)]
struct Slots {
    /// Run at most once in each period since the Unix epoch, on whichever machine comes first
    #[arg(long, value_name = "DURATION", value_parser = span, group = "slots", conflicts_with_all = SHARING)]
    once_per: Option<Duration>,
    /// Run at most once for this instant, such as 2030-01-31T03:00:00Z
    #[arg(long, value_name = "INSTANT", value_parser = instant, group = "slots", conflicts_with_all = SHARING)]
    slot: Option<SystemTime>,
    /// Run again in the same period, or for the same instant, until the command has succeeded once
    #[arg(long, requires = "slots")]
    at_least_once: bool,
}

impl Args {
    /// The lock that was asked for.
    pub(super) fn lock(&self, locks: &LockClient) -> Lock<Mode> {
        let mode = match self.permits {
            Some(limit) => Mode::Permit { limit },
            None if self.shared => Mode::Shared,
            None => Mode::Exclusive,
        };
        self.options(locks.lock_as(&self.key, mode))
    }

    /// The scheduled job that was asked for, if one was.
    pub(super) fn job(&self, locks: &LockClient) -> Option<Job> {
        let lock = || self.options(locks.lock(&self.key));
        let job = match (self.slots.once_per, self.slots.slot) {
            (Some(period), _) => lock().once_per(period),
            (None, Some(start)) => lock().once_per_slot(start),
            (None, None) => return None,
        };
        Some(if self.slots.at_least_once {
            job.at_least_once()
        } else {
            job
        })
    }

    pub(super) fn busy_exit(&self) -> Exit {
        Exit::new(self.busy_exit_code)
    }

    /// What was asked for a lock of any mode.
    fn options<M: 'static>(&self, lock: Lock<M>) -> Lock<M> {
        let wait = if self.no_wait {
            Duration::ZERO
        } else {
            self.wait
        };
        let mut lock = lock.ttl(self.ttl).wait(wait);
        if self.fair {
            lock = lock.fair();
        }
        if let Some(min_hold) = self.min_hold {
            lock = lock.min_hold(min_hold);
        }
        if let Some(max_hold) = self.max_hold {
            lock = lock.max_hold(max_hold);
        }
        if let Some(owner) = &self.owner {
            lock = lock.owner(owner);
        }
        if let Some(label) = &self.label {
            lock = lock.label(label);
        }
        lock
    }

    /// How long before the end of the lease the command is asked to end: with a ttl of ten seconds or more, two renewals
    /// in a row may remain without an answer before that.
    pub(super) fn grace(&self) -> Duration {
        const LONGEST: Duration = Duration::from_secs(10);
        let ttl = self.lease_ttl();
        (ttl.min(self.max_hold.unwrap_or(ttl)) / 8).min(LONGEST)
    }

    /// How often the guard is told until when the lease is held: some times for each renewal, which comes after a third of
    /// the ttl.
    pub(super) fn telling(&self) -> Duration {
        (self.lease_ttl() / 20).clamp(Duration::from_millis(10), Duration::from_secs(1))
    }

    /// A minimum hold raises the ttl.
    fn lease_ttl(&self) -> Duration {
        self.ttl.max(self.min_hold.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::{Cli, Command};

    fn grace(options: &str) -> Duration {
        let words = format!("doclock run {options} k -- true");
        match Cli::parse_from(words.split(' ')).command {
            Command::Run(args) => args.grace(),
            _ => Duration::ZERO,
        }
    }

    /// What is left of a lease after so many renewals that were waited for in vain: half of what was left, or five seconds,
    /// and a pause.
    fn left(ttl: Duration, failures: u32) -> Duration {
        let due = ttl.saturating_sub(ttl / 10 + ttl / 3);
        (0..failures).fold(due, |left, failure| {
            let pause = Duration::from_millis(50) * 2_u32.pow(failure);
            left.saturating_sub((left / 2).min(Duration::from_secs(5)) + pause)
        })
    }

    #[test]
    fn two_renewals_may_fail() {
        for ttl in [10, 30, 60, 3600, 86400] {
            let grace = grace(&format!("--ttl {ttl}s"));
            assert!(
                grace <= left(Duration::from_secs(ttl), 2),
                "{ttl}: {grace:?}"
            );
        }
    }

    #[test]
    fn the_life_of_a_lease_is_what_counts() {
        for (options, seconds) in [
            ("--ttl 24s", 3),
            ("--ttl 24h", 10),
            ("--ttl 1s --min-hold 24s", 3),
            ("--ttl 1h --max-hold 24s", 3),
        ] {
            assert_eq!(grace(options), Duration::from_secs(seconds), "{options}");
        }
    }
}
