//! What must hold of each verdict.

use super::*;

impl World {
    pub(super) fn check_grant(
        &mut self,
        request: &AcquireRequest,
        next: &LockRecord,
        time: &ServerTime,
    ) {
        assert!(next.token > self.last_token, "I2");
        let (mine, others) = next.holders.split_last().unwrap();
        assert_eq!((mine.id(), mine.seq), (Some(&request.id), request.seq));
        assert!(mine.ttl >= request.ttl);
        assert!(
            mine.expires_at >= time.expiry(mine.ttl),
            "its ttl is its validity"
        );
        assert!(others.len() < request.mode.capacity(), "I10");
        assert_eq!(next.mode, request.mode);
        self.holds.retain(|end| *end > self.now);
        let holds = others.iter().filter(|holder| holder.id().is_none()).count();
        assert!(holds >= self.holds.len(), "a minimum hold holds");
        self.check_purge(next);
        self.check_slot(request, next, time);
        let again = admit(Some(next), request, time);
        assert_eq!(again, Verdict::Existing(mine.clone()), "idempotent");
        let Some(seen) = self.record.as_ref() else {
            return assert!(others.is_empty());
        };
        assert_ne!(seen.closed.as_ref(), Some(&request.id), "a late duplicate");
        assert_eq!(next.rev, seen.rev + 1);
        assert!(
            others.is_empty() || seen.mode.same_kind(request.mode),
            "I10"
        );
        self.check_evictions(request, seen, others);
        self.check_turn(request, seen, next, time);
    }

    fn check_evictions(&self, request: &AcquireRequest, seen: &LockRecord, others: &[Holder]) {
        for holder in &seen.holders {
            let same = |kept: &&Holder| {
                (kept.id(), kept.acquired_at, kept.ttl)
                    == (holder.id(), holder.acquired_at, holder.ttl)
            };
            if let Some(kept) = others.iter().find(same) {
                let mut plain = kept.clone();
                plain.expires_at = holder.expires_at;
                assert_eq!(&plain, holder);
                assert!(
                    kept.expires_at == holder.expires_at
                        || self.is_implausible(holder.expires_at, holder.ttl)
                );
                continue;
            }
            let is_mine = holder.owner() == Some(&request.owner);
            let mut watched = request.watched.iter();
            if !is_mine && !watched.any(|seen| Some(&seen.id) == holder.id()) {
                assert!(holder.expires_at.as_millis() <= self.now, "I12");
                let believed = holder.id().and_then(|id| self.valid_until.get(id));
                assert!(believed.is_none_or(|until| *until <= self.now), "I3");
            }
        }
    }

    fn check_slot(&mut self, request: &AcquireRequest, next: &LockRecord, time: &ServerTime) {
        let Some(slot) = request.slot else {
            let before = self.record.as_ref().and_then(|seen| seen.slot_started);
            return assert_eq!(next.slot_started, before);
        };
        let start = next.slot_started.unwrap();
        match slot.start {
            SlotStart::Every(_) => assert_eq!(start.as_millis(), self.slot(), "the present slot"),
            SlotStart::At(given) => assert!(start == given && given <= time.latest),
            SlotStart::Once => assert_eq!(start, Timestamp::default()),
        }
        assert!(self.started.last() <= Some(&start), "slots go forward");
        assert!(!self.done.contains(&start), "done is done");
        let is_first = self.started.insert(start);
        assert!(is_first || slot.until_done, "at most once");
        self.runs.insert(request.id.clone(), start);
        let is_pinned = next.pinned.is_some() && next.purge_at == next.pinned;
        let before = self.record.as_ref().and_then(|seen| seen.pinned);
        match slot.start {
            SlotStart::Once => assert_eq!(next.pinned, before),
            _ => assert!(is_pinned),
        }
    }

    pub(super) fn check_skipped(&self, request: &AcquireRequest) {
        let slot = request.slot.unwrap();
        let start = match slot.start {
            SlotStart::Every(_) => Timestamp::from_millis(self.slot()),
            SlotStart::At(given) => given,
            SlotStart::Once => Timestamp::default(),
        };
        let is_covered = self.started.last() > Some(&start);
        let is_done = self.done.contains(&start);
        let has_begun = !slot.until_done && self.started.contains(&start);
        assert!(is_covered || is_done || has_begun, "skipped {start}");
    }

    pub(super) fn check_queued(
        &self,
        request: &AcquireRequest,
        contention: &Contention,
        next: Option<&LockRecord>,
        time: &ServerTime,
    ) {
        assert_ne!(request.queueing, Queueing::Never);
        assert!(!contention.free_in.is_zero(), "a busy wait");
        let seen = self.record.as_ref().unwrap();
        let stands = next.unwrap_or(seen);
        let mine = stands.waiter(&request.id).unwrap();
        let due = time.expiry(WAITER_TTL).saturating_sub(ms(2000));
        assert!(mine.expires_at > due || mine.seq >= request.seq);
        // Granted, perhaps, to who just joined: only now is it known whom it stands behind.
        let again = admit(Some(stands), request, time);
        let is_still = matches!(again, Verdict::Queued { next: None, .. });
        let of_owner = |waiter: &Waiter| waiter.claimant.owner == request.owner;
        assert!(is_still || !seen.queue.iter().any(of_owner), "idempotent");
        let others = |record: &LockRecord| {
            let mut queue = record.queue.clone();
            queue.retain(|waiter| waiter.claimant.owner != request.owner);
            let claimants = queue.into_iter().map(|waiter| waiter.claimant);
            claimants.collect::<Vec<_>>()
        };
        assert_eq!(others(stands), others(seen), "I5");
        let mine = |waiter: &&Waiter| waiter.claimant.owner == request.owner;
        let place = |record: &LockRecord| record.queue.iter().position(|of| mine(&of));
        assert_eq!(stands.queue.iter().filter(mine).count(), 1);
        assert!(place(seen).is_none_or(|place_before| place(stands) == Some(place_before)));
        let Some(next) = next else { return };
        let mut plain = next.clone();
        plain.queue.clone_from(&seen.queue);
        plain.rev = seen.rev;
        self.undo_mends(&mut plain, seen);
        assert_eq!(&plain, seen, "only the queue was changed");
    }

    pub(super) fn check_refusal(
        &self,
        request: &AcquireRequest,
        contention: &Contention,
        mended: Option<&LockRecord>,
        time: &ServerTime,
    ) {
        let none = LockRecord::new(request.mode);
        let seen = self.record.as_ref().unwrap_or(&none);
        if let Some(mended) = mended {
            let mut plain = mended.clone();
            plain.rev -= 1;
            self.undo_mends(&mut plain, seen);
            assert_eq!(&plain, seen, "only the implausible was mended");
        }
        let is_closed = seen.closed.as_ref() == Some(&request.id);
        match contention.reason {
            Reason::Closed => return assert!(is_closed),
            Reason::Replaced => {
                let of_queue = seen.queue.iter().map(|waiter| &waiter.claimant.owner);
                let mut owners = of_queue.chain(seen.holders.iter().filter_map(Holder::owner));
                let stands = owners.any(|owner| *owner == request.owner);
                return assert!(stands && (is_closed || request.queued));
            }
            Reason::Busy | Reason::Queue | Reason::Border => {}
        }
        assert!(!contention.free_in.is_zero(), "a busy wait");
        // What it waits for is what it gets, if nobody does anything meanwhile.
        let then = ServerTime {
            earliest: time.earliest.saturating_add(contention.free_in),
            latest: time.latest.saturating_add(contention.free_in),
            stamp: time.stamp.saturating_add(contention.free_in),
            ..*time
        };
        let verdict = admit(mended.or(self.record.as_ref()), request, &then);
        let is_granted = matches!(verdict, Verdict::Granted(_));
        let border = |verdict: &Verdict| matches!(verdict, Verdict::Held { contention, .. } if contention.reason == Reason::Border);
        if contention.reason == Reason::Border {
            assert!(request.slot.is_some() && !border(&verdict), "{verdict:?}");
        } else {
            let may_border = request.slot.is_some() && border(&verdict);
            assert!(is_granted || may_border, "{verdict:?}");
        }
    }

    fn undo_mends(&self, plain: &mut LockRecord, seen: &LockRecord) {
        for (holder, was) in plain.holders.iter_mut().zip(&seen.holders) {
            self.undo_mend(&mut holder.expires_at, was.expires_at, was.ttl);
        }
        for (waiter, was) in plain.queue.iter_mut().zip(&seen.queue) {
            self.undo_mend(&mut waiter.expires_at, was.expires_at, was.ttl);
        }
    }

    fn undo_mend(&self, expires_at: &mut Timestamp, was: Timestamp, ttl: Ttl) {
        if *expires_at != was {
            assert!(self.is_implausible(was, ttl));
            assert!(expires_at.as_millis() >= self.now + ttl.as_millis());
            *expires_at = was;
        }
    }

    /// Further away than any clock in this trace can have written it.
    fn is_implausible(&self, expires_at: Timestamp, ttl: Ttl) -> bool {
        expires_at.as_millis() > self.now + ttl.as_millis()
    }

    pub(super) fn check_renewal(
        &self,
        request: &RenewRequest,
        standing: &Holder,
        next: &LockRecord,
        time: &ServerTime,
    ) {
        let holder = next.holder(&request.id).unwrap();
        assert_eq!(standing.token, Some(request.token), "I5");
        assert!(request.seq > standing.seq, "a late duplicate");
        assert_eq!(holder.seq, request.seq);
        assert_eq!(holder.ttl, standing.ttl.max(request.ttl));
        assert!(
            holder.expires_at >= time.expiry(holder.ttl),
            "its ttl is its validity"
        );
        assert!(!self.exact || holder.expires_at >= standing.expires_at);
        self.check_purge(next);
        let mut plain = next.clone();
        *plain.holder_mut(&request.id).unwrap() = standing.clone();
        let seen = self.record.as_ref().unwrap();
        (plain.rev, plain.purge_at) = (plain.rev - 1, seen.purge_at);
        assert_eq!(&plain, seen, "I5");
    }

    pub(super) fn check_release(
        &self,
        request: &ReleaseRequest,
        next: &LockRecord,
        time: &ServerTime,
    ) {
        let seen = self.record.as_ref().unwrap();
        let (mut holders, mut queue) = (seen.holders.clone(), seen.queue.clone());
        holders.retain(|holder| holder.id() != Some(&request.id));
        queue.retain(|waiter| waiter.claimant.id != request.id);
        let held = holders.len() < seen.holders.len();
        assert!(held != (queue.len() < seen.queue.len()), "I5");
        assert_eq!(
            (&next.holders[..holders.len()], &next.queue),
            (&holders[..], &queue),
            "I5"
        );
        let lingers = usize::from(held && request.linger.is_some());
        assert_eq!(next.holders.len(), holders.len() + lingers);
        assert_eq!((next.token, next.rev), (seen.token, seen.rev + 1));
        let again = release(Some(next), request, time);
        assert_eq!(again == Released::Already, held, "{again:?}");
        assert_eq!(again == Released::NotHeld, !held, "{again:?}");
    }

    fn check_purge(&self, next: &LockRecord) {
        let mut plausible = next
            .holders
            .iter()
            .filter(|holder| !self.is_implausible(holder.expires_at, holder.ttl));
        let day = ms(23 * HOUR);
        let keeps = |holder: &Holder| next.purge_at >= Some(holder.expires_at.saturating_add(day));
        assert!(plausible.all(keeps), "I14");
    }
}
