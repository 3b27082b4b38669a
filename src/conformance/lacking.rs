//! What a store need not offer, and what it must say then.

use super::scene::{LONG, Scene};
use super::{Fixture, Omission, leaves_out};
use crate::{ErrorKind, LeaseId, Mode, Queueing, Slot, SlotStart, Timestamp};

/// The cases that are about nothing else.
const ABOUT: &[(Omission, &[&str])] = &[
    (
        Omission::Permits,
        &[
            "only_the_watched_sharer_is_evicted",
            "permits_and_sharers_exclude_each_other",
            "permits_are_limited",
            "a_released_permit_makes_room",
            "the_newest_limit_rules",
            "expired_permits_make_room",
            "a_limit_changes_while_others_hold_and_wait",
            "a_lower_limit_in_the_queue_is_respected",
            "a_permit_is_exchanged_for_one_of_another_limit",
            "permits_never_exceed_their_limit",
        ],
    ),
    (
        Omission::Queues,
        &[
            "a_limit_changes_while_others_hold_and_wait",
            "a_lower_limit_in_the_queue_is_respected",
            "those_who_queue_are_granted_in_their_order",
            "sharers_that_queue_are_granted_together",
            "a_try_does_not_pass_the_queue",
            "a_newcomer_beside_all_who_queue_is_granted",
            "who_waits_joins_the_queue_that_it_meets",
            "a_stream_of_one_mode_does_not_starve_another",
            "a_crowd_that_queues_is_served",
            "a_place_lives_six_seconds_and_is_refreshed",
            "a_retry_takes_no_second_place",
            "an_owners_next_acquisition_takes_its_place",
            "a_full_queue_takes_nobody_in",
            "a_release_leaves_the_queue",
            "a_late_duplicate_of_one_who_queued_is_refused",
            "a_dead_waiter_is_passed",
            "a_dead_waiter_is_not_passed_while_others_hold",
            "the_first_in_line_evicts_a_dead_holder",
            "an_upgrade_is_not_kept_waiting_by_the_queue",
            "a_takeover_takes_nobodys_place",
            "a_lock_is_handed_on_beside_those_who_queue",
            "a_run_waits_in_the_queue",
            "those_who_queue_wait_for_a_minimum_hold",
        ],
    ),
    (
        Omission::Slots,
        &[
            "a_slot_runs_at_most_once",
            "a_slot_runs_until_it_is_done",
            "a_covered_slot_is_skipped",
            "the_record_of_a_slot_is_pinned",
            "a_run_waits_in_the_queue",
            "a_present_slot_is_told_by_the_store",
            "a_slot_in_the_future_waits",
            "the_one_run_is_granted_until_it_is_done",
            "the_one_run_may_be_at_most_one",
            "one_of_many_gets_the_one_run",
            "the_one_run_does_not_pin_its_record",
        ],
    ),
    (
        Omission::Upgrades,
        &[
            "a_sole_sharer_becomes_exclusive",
            "a_sharer_beside_others_does_not_become_exclusive",
            "an_upgrade_is_not_kept_waiting_by_the_queue",
            "a_refused_upgrade_does_not_queue",
            "a_takeover_takes_nobodys_place",
            "a_permit_is_exchanged_for_one_of_another_limit",
            "a_change_needs_the_lease_that_it_replaces",
            "a_lock_is_handed_to_its_owners_next_acquisition",
            "a_lock_is_handed_on_beside_those_who_queue",
            "a_lease_that_is_gone_is_not_handed_on",
            "a_repeated_handing_is_one",
        ],
    ),
];

/// Whether a case is about what the store lacks. Then the backend must say so, and do nothing.
pub async fn __is_lacking(case: &str, fixture: &dyn Fixture) -> bool {
    for (omission, cases) in ABOUT {
        if cases.contains(&case) && leaves_out(fixture, *omission, case) {
            is_refused(fixture, *omission).await;
            return true;
        }
    }
    false
}

async fn is_refused(fixture: &dyn Fixture, omission: Omission) {
    let scene = Scene::open(fixture, "lacking").await;
    let mut request = scene.exclusive(LONG);
    match omission {
        Omission::Permits => request.mode = Mode::Permit { limit: 2 },
        Omission::Queues => request.queueing = Queueing::Fair,
        Omission::Slots => {
            request.slot = Some(Slot::new(SlotStart::At(Timestamp::from_millis(1_000))));
        }
        Omission::Upgrades => request.replaces = Some(LeaseId::random()),
        _ => return,
    }
    let outcome = scene.backend.acquire(&request).await;
    let kind = outcome.as_ref().err().map(crate::Error::kind);
    assert_eq!(
        kind,
        Some(ErrorKind::Unsupported),
        "a backend whose fixture is without {omission:?} must say that they are unsupported: {outcome:?}"
    );
    scene.is_still(None, "what is unsupported").await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_the_name_of_a_case() {
        for case in ABOUT.iter().flat_map(|(_, cases)| *cases) {
            assert!(super::super::CASES.contains(case), "{case}");
        }
    }
}
