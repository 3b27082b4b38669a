//! Members in memory, in virtual time, with every fault.

mod acquiring;
mod amnesia;
mod clients;
mod keeping;
mod member;
mod requests;
mod tokens;

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::{Grant, Key, LeaseId, Mode, Owner, Ttl, Validity};
use member::{Fault, Faulty, Virtual};

const TTL: Duration = Duration::from_secs(10);

/// A quorum, and what can be done to its members.
struct Scene {
    members: Vec<Arc<Faulty>>,
    quorum: QuorumBackend,
}

impl Scene {
    fn of(members: usize) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(Virtual::before_all_tokens());
        let members: Vec<_> = (0..members)
            .map(|_| Arc::new(Faulty::new(&clock)))
            .collect();
        let quorum = quorum(&members).clock(clock);
        Self { members, quorum }
    }

    /// One more process.
    fn other(&self) -> QuorumBackend {
        quorum(&self.members).clock(Arc::clone(&self.quorum.clock))
    }

    /// These members suffer it from now on, and the others nothing.
    fn only(&self, numbers: &[usize], fault: Fault) {
        for (number, member) in self.members.iter().enumerate() {
            member.suffer(numbers.contains(&number).then_some(fault));
        }
    }

    /// How many members have a live holder of this id.
    async fn standing(&self, request: &AcquireRequest) -> usize {
        let mut standing = 0;
        for member in &self.members {
            let record = member.inner().inspect(&request.key).await.unwrap();
            standing +=
                usize::from(record.is_some_and(|record| record.holder(&request.id).is_some()));
        }
        standing
    }
}

fn quorum(members: &[Arc<Faulty>]) -> QuorumBackend {
    let members = members.iter().map(|member| Arc::clone(member) as Member);
    QuorumBackend::new(members.collect()).unwrap()
}

fn request(mode: Mode) -> AcquireRequest {
    let mut request = AcquireRequest::new(
        &Key::new("k").unwrap(),
        &Owner::random(),
        mode,
        Ttl::new(TTL).unwrap(),
    );
    request.timeout = Duration::from_secs(1);
    request
}

fn exclusive() -> AcquireRequest {
    request(Mode::Exclusive)
}

fn ending(request: &AcquireRequest) -> ReleaseRequest {
    let mut release = ReleaseRequest::new(&request.key, &request.owner, &request.id);
    release.timeout = request.timeout;
    release
}

fn next_attempt(request: &AcquireRequest) -> AcquireRequest {
    let mut next = request.clone();
    next.seq += 1;
    next
}

async fn granted(quorum: &QuorumBackend, request: &AcquireRequest) -> Grant {
    match quorum.acquire(request).await.unwrap() {
        AcquireOutcome::Granted(grant) => grant,
        other => panic!("{other:?}"),
    }
}

async fn released(quorum: &QuorumBackend, request: &AcquireRequest) {
    let outcome = quorum.release(&ending(request)).await.unwrap();
    assert_eq!(outcome, ReleaseOutcome::Released);
}

async fn renewed(
    quorum: &QuorumBackend,
    request: &AcquireRequest,
    token: u64,
    seq: u64,
) -> RenewOutcome {
    let renewal = RenewRequest::new(request, token, seq);
    quorum.renew(&renewal).await.unwrap()
}

/// What all spawned tasks do that need no time.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

#[test]
fn a_quorum_has_three_to_nine_members() {
    for count in [0, 1, 2, 10] {
        let members = (0..count).map(|_| Arc::new(crate::MemoryBackend::new()) as Member);
        let error = QuorumBackend::new(members.collect()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{count}");
    }
}

#[test]
fn a_member_is_named_once_and_is_no_quorum() {
    let member = || Arc::new(crate::MemoryBackend::new()) as Member;
    let (twice, members) = (member(), || (0..3).map(|_| member()).collect());
    let nested = Arc::new(QuorumBackend::new(members()).unwrap()) as Member;
    for wrong in [
        vec![twice.clone(), member(), twice],
        vec![member(), nested, member()],
    ] {
        let error = QuorumBackend::new(wrong).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    }
}

/// What one quorum asks of its members, another one in their place could not do.
#[tokio::test(start_paused = true)]
async fn what_is_asked_of_members_alone_is_refused_before_any_request() {
    let scene = Scene::of(3);
    let request = exclusive();
    let mut raise = RenewRequest::new(&request, 1, 2);
    raise.raise_token = Some(7);
    let mut give_back = ending(&request);
    give_back.attempt = Some(1);
    for error in [
        scene.quorum.renew(&raise).await.unwrap_err(),
        scene.quorum.release(&give_back).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    }
    assert_eq!(requests::sent(&scene), [0; 3]);
}

#[tokio::test(start_paused = true)]
async fn a_request_may_have_any_time() {
    let scene = Scene::of(3);
    let mut request = exclusive();
    request.timeout = Duration::MAX;
    let grant = granted(&scene.quorum, &request).await;
    let outcome = renewed(&scene.quorum, &request, grant.token, 2).await;
    assert!(matches!(outcome, RenewOutcome::Renewed(_)), "{outcome:?}");
    released(&scene.quorum, &request).await;
}

#[tokio::test(start_paused = true)]
async fn what_a_majority_cannot_promise_is_refused_before_any_request() {
    let scene = Scene::of(3);
    let mut fair = exclusive();
    fair.queueing = Queueing::Fair;
    let mut run = exclusive();
    run.slot = Some(crate::Slot::new(crate::SlotStart::At(
        crate::Timestamp::default(),
    )));
    let mut change = exclusive();
    change.replaces = Some(LeaseId::random());
    for refused in [request(Mode::Permit { limit: 2 }), fair, run, change] {
        let error = scene.quorum.acquire(&refused).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    }
    assert_eq!(
        scene
            .members
            .iter()
            .map(|member| member.requests())
            .sum::<usize>(),
        0
    );
}

#[test]
fn nothing_of_a_member_is_shown_but_what_it_shows_of_itself() {
    let shown = format!("{:?}", Scene::of(3).quorum);
    assert!(
        shown.starts_with("QuorumBackend { members: [Faulty"),
        "{shown}"
    );
}
