//! When the guard ends the command: pure, told the time by its caller.

use std::time::Duration;

/// What the guard is to do now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing for so long, unless something is told before.
    Wait(Duration),
    /// Ask the command to end.
    Terminate,
    /// End it: others may be granted from now on.
    Kill,
}

/// How long the command may go on. Instants are those of [`clock::now`](super::clock::now).
#[derive(Debug)]
pub(super) struct Leash {
    grace: Duration,
    /// Until when the lease is certainly held, as last told.
    deadline: Duration,
    /// Nobody is left to tell of a later deadline.
    is_loose: bool,
    /// Since when the command has been asked to end. A renewal that comes later does not take that back.
    ending: Option<Duration>,
}

impl Leash {
    pub(super) fn new(grace: Duration, deadline: Duration) -> Self {
        Self {
            grace,
            deadline,
            is_loose: false,
            ending: None,
        }
    }

    /// The lease's deadline, as it is now.
    pub(super) fn tell(&mut self, deadline: Duration) {
        self.deadline = deadline;
    }

    /// Whoever holds the lease is gone.
    pub(super) fn let_go(&mut self) {
        self.is_loose = true;
    }

    pub(super) fn is_loose(&self) -> bool {
        self.is_loose
    }

    /// Whether the command has been asked to end.
    pub(super) fn is_ending(&self) -> bool {
        self.ending.is_some()
    }

    pub(super) fn step(&mut self, now: Duration) -> Step {
        if let Some(since) = self.ending {
            let end = since.saturating_add(self.grace).min(self.deadline);
            return match end.checked_sub(now) {
                Some(left) if !left.is_zero() => Step::Wait(left),
                _ => Step::Kill,
            };
        }
        let due = self.deadline.saturating_sub(self.grace);
        if !self.is_loose && now < due {
            return Step::Wait(due.saturating_sub(now));
        }
        self.ending = Some(now);
        Step::Terminate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = secs(3);

    const fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn leash() -> Leash {
        Leash::new(GRACE, secs(30))
    }

    #[test]
    fn without_a_renewal_it_is_asked_to_end_and_killed_at_the_deadline() {
        let mut leash = leash();
        assert_eq!(leash.step(secs(0)), Step::Wait(secs(27)));
        assert!(!leash.is_ending());
        assert_eq!(leash.step(secs(27)), Step::Terminate);
        assert!(leash.is_ending());
        assert_eq!(leash.step(secs(28)), Step::Wait(secs(2)));
        assert_eq!(leash.step(secs(30)), Step::Kill);
    }

    #[test]
    fn a_renewal_moves_the_deadline() {
        let mut leash = leash();
        leash.tell(secs(60));
        assert_eq!(leash.step(secs(27)), Step::Wait(secs(30)));
    }

    #[test]
    fn a_renewal_after_it_was_asked_to_end_comes_too_late() {
        let mut leash = leash();
        assert_eq!(leash.step(secs(28)), Step::Terminate);
        leash.tell(secs(60));
        assert_eq!(leash.step(secs(29)), Step::Wait(secs(2)));
        assert_eq!(leash.step(secs(31)), Step::Kill);
    }

    #[test]
    fn a_deadline_that_comes_nearer_counts() {
        let mut leash = leash();
        leash.tell(secs(10));
        assert_eq!(leash.step(secs(8)), Step::Terminate);
        leash.tell(secs(9));
        assert_eq!(leash.step(secs(8)), Step::Wait(secs(1)));
    }

    #[test]
    fn one_that_nobody_holds_ends_after_the_grace() {
        let mut leash = leash();
        leash.let_go();
        assert_eq!(leash.step(secs(1)), Step::Terminate);
        assert_eq!(leash.step(secs(1)), Step::Wait(GRACE));
        assert_eq!(leash.step(secs(4)), Step::Kill);
    }

    #[test]
    fn one_that_nobody_holds_ends_at_the_deadline_if_that_is_sooner() {
        let mut leash = leash();
        leash.let_go();
        assert_eq!(leash.step(secs(29)), Step::Terminate);
        assert_eq!(leash.step(secs(29)), Step::Wait(secs(1)));
        assert_eq!(leash.step(secs(30)), Step::Kill);
    }

    #[test]
    fn after_a_freeze_it_is_killed_at_once() {
        let mut leash = leash();
        assert_eq!(leash.step(secs(99)), Step::Terminate);
        assert_eq!(leash.step(secs(99)), Step::Kill);
    }
}
