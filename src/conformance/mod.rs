//! The suite that every [`Backend`] must pass. Run it on yours.
//!
//! Each case is a function here that proves one sentence of the trait's [contract](Backend#contract), and panics with
//! what it saw if the sentence does not hold. Write a [`Fixture`] that says how your store is reached, and let
//! [`conformance_tests!`](crate::conformance_tests) make a test of each case:
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use doclock::conformance::{Fixture, Omission};
//! use doclock::{Backend, Key, MemoryBackend};
//!
//! struct Memory(MemoryBackend);
//!
//! #[async_trait::async_trait]
//! impl Fixture for Memory {
//!     async fn connect(&self) -> Arc<dyn Backend> {
//!         Arc::new(self.0.clone())
//!     }
//!
//!     async fn purge(&self, key: &Key) {
//!         self.0.purge(key);
//!     }
//!
//!     // The resolution of its clock.
//!     fn uncertainty(&self) -> Duration {
//!         Duration::from_millis(2)
//!     }
//!
//!     fn without(&self) -> &'static [Omission] {
//!         &[Omission::Damage, Omission::Silence]
//!     }
//! }
//!
//! doclock::conformance_tests!(memory, Memory(MemoryBackend::new()));
//! # fn main() {}
//! ```
//!
//! `cargo test memory::a_release_frees_the_key` then runs one of them.
//!
//! Every case locks keys that nobody else has, `conformance:<case>:<random>`, so cases run side by side on one
//! database and leave other locks alone. None asserts how fast the store is; each is given up after five minutes.

#![allow(
    clippy::missing_panics_doc,
    clippy::panic,
    reason = "a case panics when its backend breaks the contract: that is what it is for"
)]

mod acquire;
mod broken;
mod cancel;
mod concurrency;
mod damage;
mod expiry;
mod force;
mod handing;
mod holds;
mod input;
mod lacking;
mod leaving;
mod line;
mod list;
mod lost;
mod many;
mod modes;
mod once;
mod owner;
mod permits;
mod places;
mod queue;
mod release;
mod renew;
mod scene;
mod slots;
mod starts;
mod store;
mod token;
mod upgrades;

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::{Backend, Key};

/// After this long a case hangs.
const GIVE_UP: Duration = Duration::from_mins(5);

/// How the suite reaches a store, and what it may do to it behind the backend's back. Like [`Backend`], it is
/// implemented by the attribute of the crate `async-trait`.
///
/// The fixture is made anew for each case. It should lead to the same store each time, or to an empty one.
#[async_trait]
pub trait Fixture: Send + Sync {
    /// A handle of its own on the store, set up and ready, as one more process would have. Called on the runtime that
    /// will use it, and several times in some cases: all handles must see the same locks.
    async fn connect(&self) -> Arc<dyn Backend>;

    /// Removes the record of a key as the database's TTL or an operator would.
    async fn purge(&self, key: &Key);

    /// How far off the store's idea of time may be: how much longer than its ttl a dead lease may stand. Bounds how
    /// long cases wait for a take-over.
    fn uncertainty(&self) -> Duration {
        Duration::from_secs(8)
    }

    /// What this store cannot be tested for. The cases about it pass, and say on the standard error that they were
    /// left out.
    fn without(&self) -> &'static [Omission] {
        &[]
    }

    /// Breaks the record of a key, which is well-formed and there. Returns the name of the broken field as the store
    /// has it: the backend's error must name it. For [`Damage::Foreign`] an empty name will do.
    async fn damage(&self, key: &Key, damage: Damage) -> String {
        panic!(
            "{damage:?} on `{key}`: implement `Fixture::damage`, or name `Omission::Damage` in `Fixture::without`"
        );
    }

    /// What the store has under a key, whole and exact, in any form that can be compared.
    async fn image(&self, key: &Key) -> String {
        panic!(
            "`{key}`: implement `Fixture::image`, or name `Omission::Damage` in `Fixture::without`"
        );
    }

    /// A handle on a server that takes requests and never answers.
    async fn silent(&self) -> Arc<dyn Backend> {
        panic!("implement `Fixture::silent`, or name `Omission::Silence` in `Fixture::without`");
    }
}

/// What a store may lack; see [`Fixture::without`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Omission {
    /// [`Backend::list`] is not implemented. It must say [`Unsupported`](crate::ErrorKind::Unsupported), then.
    List,
    /// The store cannot hold anything but well-formed records: they are typed, and nobody else writes there.
    Damage,
    /// There is no server that could fall silent.
    Silence,
    /// Of several who ask for a free key at the same moment none need be granted: they may refuse each other, and ask
    /// again.
    FirstTry,
    /// The store collects no records: they have no [`LockRecord::purge_at`](crate::LockRecord::purge_at).
    Purge,
    /// [`Mode::Permit`](crate::Mode::Permit) is not offered. An acquire must say
    /// [`Unsupported`](crate::ErrorKind::Unsupported), then, as for all that follow.
    Permits,
    /// [`Queueing::Fair`](crate::Queueing::Fair) is not, and nobody queues otherwise.
    Queues,
    /// [`AcquireRequest::slot`](crate::AcquireRequest::slot) is not.
    Slots,
    /// [`AcquireRequest::replaces`](crate::AcquireRequest::replaces) is not.
    Upgrades,
}

/// How a record is broken; see [`Fixture::damage`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Damage {
    /// Under the key lies something else: a document or item of another program, with none of a record's fields.
    Foreign,
    /// The format is a later one.
    Future,
    /// The field is not there.
    Missing(Field),
    /// The field is there and has a type that it never has: a boolean will do for each.
    WrongType(Field),
}

/// A field of a record; see [`Damage`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Field {
    /// The format's version.
    Version,
    /// [`LockRecord::rev`](crate::LockRecord::rev).
    Rev,
    /// [`LockRecord::token`](crate::LockRecord::token).
    Token,
    /// The name in [`LockRecord::mode`](crate::LockRecord::mode).
    Mode,
    /// The limit in [`LockRecord::mode`](crate::LockRecord::mode).
    Limit,
    /// [`LockRecord::holders`](crate::LockRecord::holders).
    Holders,
    /// [`LockRecord::queue`](crate::LockRecord::queue).
    Queue,
    /// The owner of the only holder.
    HolderOwner,
    /// The id of the only holder.
    HolderId,
    /// [`Holder::acquired_at`](crate::Holder::acquired_at) of the only holder.
    HolderAcquiredAt,
    /// [`Holder::expires_at`](crate::Holder::expires_at) of the only holder.
    HolderExpiresAt,
    /// [`Holder::ttl`](crate::Holder::ttl) of the only holder.
    HolderTtl,
    /// [`Holder::seq`](crate::Holder::seq) of the only holder.
    HolderSeq,
    /// The owner of the only waiter.
    WaiterOwner,
    /// The id of the only waiter.
    WaiterId,
    /// The name in [`Waiter::mode`](crate::Waiter::mode) of the only waiter.
    WaiterMode,
    /// The limit in [`Waiter::mode`](crate::Waiter::mode) of the only waiter.
    WaiterLimit,
    /// [`Waiter::enqueued_at`](crate::Waiter::enqueued_at) of the only waiter.
    WaiterEnqueuedAt,
    /// [`Waiter::expires_at`](crate::Waiter::expires_at) of the only waiter.
    WaiterExpiresAt,
    /// [`Waiter::ttl`](crate::Waiter::ttl) of the only waiter.
    WaiterTtl,
    /// [`Waiter::seq`](crate::Waiter::seq) of the only waiter.
    WaiterSeq,
}

impl Field {
    /// The fields that every record has.
    pub const OF_RECORDS: [Self; 7] = [
        Self::Version,
        Self::Rev,
        Self::Token,
        Self::Mode,
        Self::Limit,
        Self::Holders,
        Self::Queue,
    ];
    /// The fields that every holder has.
    pub const OF_HOLDERS: [Self; 6] = [
        Self::HolderOwner,
        Self::HolderId,
        Self::HolderAcquiredAt,
        Self::HolderExpiresAt,
        Self::HolderTtl,
        Self::HolderSeq,
    ];
    /// The fields that every waiter has.
    pub const OF_WAITERS: [Self; 8] = [
        Self::WaiterOwner,
        Self::WaiterId,
        Self::WaiterMode,
        Self::WaiterLimit,
        Self::WaiterEnqueuedAt,
        Self::WaiterExpiresAt,
        Self::WaiterTtl,
        Self::WaiterSeq,
    ];
}

/// Makes a module with one `#[test]` for each case of the [suite](crate::conformance).
///
/// `conformance_tests!(name, fixture)`: the module's name, and an expression that makes the
/// [`Fixture`](crate::conformance::Fixture). The expression is evaluated for each case, within its runtime; it may
/// `.await`, and `return` to leave the store out (say so, then). The tests need neither a runtime nor macros of tokio.
///
/// Attributes before the name are the module's: `conformance_tests!(#[cfg(unix)] name, fixture)`.
#[macro_export]
macro_rules! conformance_tests {
    ($(#[$attribute:meta])* $name:ident, $fixture:expr $(,)?) => {
        $(#[$attribute])*
        mod $name {
            #[allow(unused_imports)]
            use super::*;

            $crate::__conformance_tests!($fixture);
        }
    };
}

/// The one list of the cases: what it names is public, and becomes a test. A case that it forgets is dead code, which
/// the compiler reports.
macro_rules! cases {
    ($dollar:tt $($subject:ident: $($case:ident)*;)*) => {
        $(pub use $subject::{$($case),*};)*

        /// The name of every case.
        pub const CASES: &[&str] = &[$($(stringify!($case)),*),*];

        #[doc(hidden)]
        #[macro_export]
        macro_rules! __conformance_tests {
            ($dollar fixture:expr) => {$($(
                #[test]
                fn $case() {
                    $crate::conformance::__run(stringify!($case), async {
                        let fixture = $dollar fixture;
                        if !$crate::conformance::__is_lacking(stringify!($case), &fixture).await {
                            $crate::conformance::$case(&fixture).await;
                        }
                    });
                }
            )*)*};
        }
    };
}

cases! { $
    acquire:
        a_free_key_is_granted
        a_held_key_is_refused_without_an_error
        a_retry_is_granted_again_and_writes_nothing
        a_retry_names_the_attempt_that_stands
        a_retry_in_another_mode_is_no_grant
        a_late_duplicate_of_a_released_acquisition_is_refused
        a_late_duplicate_beside_the_next_holder_is_refused;
    token:
        the_token_grows_over_releases
        the_token_grows_over_an_expiry
        the_token_grows_over_the_removal_of_the_record
        a_removed_record_lets_nobody_back_in;
    expiry:
        an_expired_lease_is_evicted_and_not_before_it_expires
        a_renewed_lease_is_evicted_no_earlier_than_the_renewal_says
        a_watched_holder_is_evicted_though_its_record_is_live
        a_watched_holder_that_was_renewed_is_not_evicted
        only_the_watched_sharer_is_evicted
        a_refusal_shows_the_living_only;
    renew:
        a_renewal_prolongs_the_lease
        a_renewal_keeps_what_the_holder_says_of_itself
        a_repeated_renewal_changes_nothing
        an_older_renewal_changes_nothing
        a_renewal_may_raise_the_ttl_and_never_lowers_it
        an_expired_lease_that_nobody_evicted_is_renewed;
    lost:
        a_renewal_after_an_eviction_is_lost
        a_renewal_after_a_release_is_lost
        a_renewal_of_nothing_is_lost_and_creates_nothing
        a_renewal_of_a_strangers_id_is_lost
        a_renewal_with_another_token_is_lost;
    many:
        many_renewals_answer_in_their_order
        many_renewals_may_be_none;
    release:
        a_release_frees_the_key
        a_repeated_release_is_released
        a_release_of_nothing_is_not_held_and_creates_nothing
        a_release_of_a_strangers_id_leaves_the_holder
        a_release_after_an_eviction_leaves_the_next_holder
        a_repeated_release_leaves_the_next_holder
        a_release_ends_an_expired_lease;
    force:
        a_forced_release_ends_the_holder_and_returns_it
        a_forced_release_ends_every_sharer
        a_forced_release_of_nothing_ends_nobody;
    owner:
        an_owner_takes_its_own_lock_over
        a_replaced_lease_is_lost
        a_late_duplicate_of_a_replaced_acquisition_is_refused
        a_take_over_keeps_the_later_expiry
        a_lease_of_another_kind_is_not_taken_over
        a_sole_sharer_becomes_exclusive
        a_sharer_beside_others_does_not_become_exclusive;
    modes:
        sharers_stand_side_by_side
        an_exclusive_lock_and_sharers_exclude_each_other
        permits_and_sharers_exclude_each_other
        a_sharers_retry_takes_no_second_place
        a_sharers_release_leaves_the_others
        a_sharer_is_renewed_whatever_came_after_it
        the_257th_sharer_is_refused;
    permits:
        permits_are_limited
        a_released_permit_makes_room
        the_newest_limit_rules
        expired_permits_make_room
        a_limit_changes_while_others_hold_and_wait
        a_lower_limit_in_the_queue_is_respected;
    queue:
        those_who_queue_are_granted_in_their_order
        sharers_that_queue_are_granted_together
        a_try_does_not_pass_the_queue
        a_newcomer_beside_all_who_queue_is_granted
        who_waits_joins_the_queue_that_it_meets
        a_stream_of_one_mode_does_not_starve_another
        a_crowd_that_queues_is_served;
    places:
        a_place_lives_six_seconds_and_is_refreshed
        a_retry_takes_no_second_place
        an_owners_next_acquisition_takes_its_place
        a_full_queue_takes_nobody_in;
    leaving:
        a_release_leaves_the_queue
        a_late_duplicate_of_one_who_queued_is_refused
        a_dead_waiter_is_passed
        a_dead_waiter_is_not_passed_while_others_hold
        the_first_in_line_evicts_a_dead_holder;
    upgrades:
        an_upgrade_is_not_kept_waiting_by_the_queue
        a_refused_upgrade_does_not_queue
        a_takeover_takes_nobodys_place
        a_permit_is_exchanged_for_one_of_another_limit
        a_change_needs_the_lease_that_it_replaces;
    handing:
        a_lock_is_handed_to_its_owners_next_acquisition
        a_lock_is_handed_on_beside_those_who_queue
        a_lease_that_is_gone_is_not_handed_on
        a_repeated_handing_is_one;
    slots:
        a_slot_runs_at_most_once
        a_slot_runs_until_it_is_done
        a_covered_slot_is_skipped
        the_record_of_a_slot_is_pinned
        a_run_waits_in_the_queue;
    starts:
        a_present_slot_is_told_by_the_store
        a_slot_in_the_future_waits;
    once:
        the_one_run_is_granted_until_it_is_done
        the_one_run_may_be_at_most_one
        one_of_many_gets_the_one_run
        the_one_run_does_not_pin_its_record
        a_release_leaves_its_state
        a_release_says_how_long_the_record_is_kept
        a_repeated_release_is_released_only_if_its_state_stands;
    holds:
        a_minimum_hold_keeps_everybody_out_until_it_ends
        a_minimum_hold_takes_a_place_of_its_mode
        a_repeated_release_lingers_once
        a_minimum_hold_that_is_over_leaves_nothing
        those_who_queue_wait_for_a_minimum_hold;
    input:
        odd_names_are_plain_names
        keys_that_look_alike_are_different_keys
        the_longest_names_and_payloads_come_back_as_they_were
        the_longest_ttl_is_kept;
    store:
        an_answered_operation_is_seen_through_every_handle
        inspect_of_nothing_is_nothing
        every_write_raises_the_revision
        a_record_outlives_its_lease
        setup_may_be_repeated_by_many_at_once
        a_call_to_a_silent_server_ends_in_time;
    list:
        a_list_has_exactly_the_keys_with_the_prefix
        a_list_without_a_prefix_has_every_key
        a_list_shows_the_records_as_they_are;
    damage:
        what_is_no_record_is_left_as_it_is
        a_later_format_is_left_as_it_is
        a_record_without_a_field_is_left_as_it_is
        a_field_of_a_wrong_type_is_left_as_it_is
        a_holder_without_a_field_is_left_as_it_is
        a_holders_field_of_a_wrong_type_is_left_as_it_is
        a_damaged_record_is_not_listed;
    broken:
        a_waiter_without_a_field_is_left_as_it_is
        a_waiters_field_of_a_wrong_type_is_left_as_it_is;
    concurrency:
        one_of_many_gets_an_absent_key
        one_of_many_gets_a_free_key
        one_of_many_gets_an_expired_key
        increments_under_the_lock_lose_nothing
        permits_never_exceed_their_limit
        an_exclusive_lock_never_meets_a_sharer;
    cancel:
        a_dropped_acquire_holds_for_one_ttl_at_most
        a_dropped_renewal_can_be_repeated
        a_dropped_release_can_be_repeated;
}

#[doc(hidden)]
pub use lacking::__is_lacking;

/// Runs a case on a runtime of its own, so that whoever tests needs no features of tokio.
#[doc(hidden)]
pub fn __run<T>(name: &str, case: impl Future<Output = T>) -> T {
    let bounded = async {
        let done = tokio::time::timeout(GIVE_UP, case).await;
        done.unwrap_or_else(|_| panic!("{name} hangs: it was given up after {GIVE_UP:?}"))
    };
    match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime.block_on(bounded),
        Err(error) => panic!("{name} has no runtime: {error}"),
    }
}

/// Whether the fixture leaves this out. Says so past the test harness, which swallows what passing tests print.
fn leaves_out(fixture: &dyn Fixture, omission: Omission, case: &str) -> bool {
    let out = fixture.without().contains(&omission);
    if out {
        let line = format!("conformance: {case} LEFT OUT, the fixture is without {omission:?}\n");
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
    out
}
