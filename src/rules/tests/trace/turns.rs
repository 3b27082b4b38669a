//! I11: nobody who queued later is granted earlier, except past those that did not claim in their time. And nobody waits
//! for ever.

use super::*;

/// How long each must have had, by the true time: the slowest poll of the first in line, and a second for its request.
const CHANCE: i64 = 2000;

impl World {
    pub(super) fn pass(&mut self, length: i64) {
        let before = self.now;
        self.now += length;
        for id in self.waiters() {
            if self.claimable.contains_key(&id) || !self.would_be_granted(&id, self.now) {
                continue;
            }
            // While nobody writes, whose turn it is stays so.
            let (mut no, mut yes) = (before, self.now);
            while no + 1 < yes {
                let middle = i64::midpoint(no, yes);
                if self.would_be_granted(&id, middle) {
                    yes = middle;
                } else {
                    no = middle;
                }
            }
            self.claimable.insert(id, yes);
        }
    }

    /// To be called after each write.
    pub(super) fn note_turns(&mut self) {
        let waiters = self.waiters();
        let before = std::mem::take(&mut self.claimable);
        for id in waiters {
            if self.would_be_granted(&id, self.now) {
                let since = before.get(&id).copied().unwrap_or(self.now);
                self.claimable.insert(id, since);
            }
        }
    }

    fn waiters(&self) -> Vec<LeaseId> {
        let queue = self.record.iter().flat_map(|record| &record.queue);
        queue.map(|waiter| waiter.claimant.id.clone()).collect()
    }

    /// By the server that is the last to know.
    fn would_be_granted(&self, id: &LeaseId, now: i64) -> bool {
        let attempt = self.next_attempt(self.acquisition(id));
        let time = self.time_at(now, if self.exact { 0.0 } else { 1.0 });
        let verdict = admit(self.record.as_ref(), &attempt, &time);
        matches!(verdict, Verdict::Granted(_))
    }

    pub(super) fn check_turn(
        &self,
        request: &AcquireRequest,
        seen: &LockRecord,
        next: &LockRecord,
        time: &ServerTime,
    ) {
        let is_live = |waiter: &&Waiter| {
            waiter.expires_at > time.earliest && waiter.claimant.owner != request.owner
        };
        let live: Vec<&Waiter> = seen.queue.iter().filter(is_live).collect();
        let stays = |waiter: &&Waiter| next.waiter(&waiter.claimant.id).is_some();
        let kept = live.iter().copied().filter(stays);
        let kept = kept.map(|waiter| waiter.claimant.id.as_str());
        assert!(kept.eq(line(next)), "the others keep their order");

        let is_dead = |holder: &Holder| {
            let mut watched = request.watched.iter();
            holder.expires_at <= time.earliest
                || watched.any(|seen| Some(&seen.id) == holder.id() && seen.seq == holder.seq)
        };
        let mut own = seen.holders.iter();
        let own = own.find(|holder| holder.owner() == Some(&request.owner));
        if own.is_some_and(|holder| !is_dead(holder)) {
            return assert_eq!(next.queue.len(), live.len(), "a take-over passes nobody");
        }
        let is_mine = |waiter: &Waiter| waiter.claimant.owner == request.owner;
        let place = seen.queue.iter().position(is_mine);
        let in_order = place.is_some() || request.queueing != Queueing::Fair;
        assert!(in_order || live.is_empty(), "a newcomer goes behind all");
        let place = place.unwrap_or(seen.queue.len());
        assert!(
            seen.queue[place..]
                .iter()
                .filter(is_live)
                .all(|of| stays(&of))
        );
        let ahead: Vec<&Waiter> = seen.queue[..place].iter().filter(is_live).collect();
        let (stay, passed): (Vec<&Waiter>, Vec<&Waiter>) =
            ahead.into_iter().partition(|of| stays(of));
        let mut limits = stay.iter().map(|waiter| waiter.mode);
        let fits = limits.all(|mode| {
            let beside = next.holders.len() + stay.len();
            mode.same_kind(request.mode) && beside <= mode.capacity().min(request.mode.capacity())
        });
        assert!(fits, "those ahead have room beside it");
        for waiter in passed {
            assert_eq!(next.holders.len(), 1, "nobody is passed while it is held");
            // At a border it is nobody's turn.
            if self.acquisition(&waiter.claimant.id).slot.is_some() {
                continue;
            }
            let since = self.claimable.get(&waiter.claimant.id);
            // A record does not tell that somebody ahead has just left: the next one may have been too slow to see it.
            if self.last_left.is_some_and(|left| self.now - left < CHANCE) {
                continue;
            }
            let had = since.map(|since| self.now - since);
            assert!(had >= Some(CHANCE), "I11: {waiter:?} had {had:?}");
        }
    }

    /// All others stop. It asks when it is told to, and at least once in a while.
    pub(super) fn one_who_keeps_asking_is_granted(&mut self, mode: Mode) {
        let first = AcquireRequest {
            queueing: Queueing::Fair,
            ..acquire("z1", mode)
        };
        self.acquisitions.push(first.clone());
        for _ in 0..40 {
            let attempt = self.next_attempt(&first);
            let (Verdict::Queued { contention, .. } | Verdict::Held { contention, .. }) =
                self.acquire(&attempt, &self.time(0.5))
            else {
                return;
            };
            // For holders as long as they last; a place in line may come up at any moment.
            let is_held = contention.free_in < Duration::MAX && !contention.occupants.is_empty();
            let most = if is_held {
                contention.free_in
            } else {
                ms(1000)
            };
            let wait = contention.free_in.min(most);
            self.pass(i64::try_from(wait.as_millis()).unwrap());
        }
        panic!("{first:?} is never granted: {:?}", self.record);
    }
}
