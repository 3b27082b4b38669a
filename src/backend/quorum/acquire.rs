//! Acquiring: one task for each member, which asks, waits for what the majority makes of it, and gives back what is not
//! wanted.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use super::decide::{Ballot, Standing, Tally, Vote, is_spent};
use super::error::{no_answer, short};
use super::merge::contention;
use super::seat::{Seat, Seats};
use super::{Member, QuorumBackend, end_of};
use crate::backend::{
    AcquireOutcome, AcquireRequest, Contention, Grant, Queueing, ReleaseOutcome, ReleaseRequest,
    RenewOutcome, RenewRequest,
};
use crate::rules::micros;
use crate::{Error, ErrorKind, Result};

/// How far ahead of our clock the token is that we ask for: a member that creates a record takes none below the latest
/// that its own time may be.
const LEAD: Duration = Duration::from_secs(3);

/// The least time that slower members have when others are in the way.
const PATIENCE: Duration = Duration::from_millis(20);

/// What becomes of a member's grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Wait,
    /// Its token is to become this.
    Raise(u64),
    Keep,
    GiveBack,
}

/// What a member has to say.
#[derive(Debug)]
enum Word {
    Granted(Ballot),
    Refused(Box<Contention>),
    Failed(Error),
}

impl QuorumBackend {
    pub(super) async fn attempt(&self, request: &AcquireRequest) -> Result<AcquireOutcome> {
        let sent = self.clock.now();
        let end = end_of(request.timeout);
        let mut asked = request.clone();
        asked.queueing = Queueing::Never;
        asked.queued = false;
        // Members that are asked for the same token agree at once.
        let proposed = micros(sent.wall.saturating_add(LEAD));
        asked.token_floor = asked.token_floor.max(proposed);

        let seats = self.acquisitions.enter(
            &request.id,
            self.members.len(),
            request.ttl.as_duration(),
            sent,
        );
        let mut count = Count::ask(self, &Arc::new(asked), &seats);
        let standing = count.election(end).await;
        if standing != Standing::Won {
            return count.refuse(standing, end).await;
        }
        let token = count.agree(end).await;
        let validity = count.tally.validity(token, request.ttl);
        let elapsed = self.clock.now().at_most_since(sent);
        match validity {
            Some(validity) if !is_spent(&validity, request.seq, elapsed) => {
                seats.hand_out(token);
                count.order(Order::Keep);
                Ok(AcquireOutcome::Granted(Grant {
                    token,
                    validity,
                    slot: None,
                }))
            }
            _ => count.refuse(Standing::Short, end).await,
        }
    }
}

/// The votes on one attempt. Dropped before its end, everything is given back.
struct Count {
    tally: Tally,
    words: mpsc::UnboundedReceiver<(usize, Word)>,
    orders: watch::Sender<Order>,
    tasks: Vec<JoinHandle<bool>>,
    refusals: Vec<Contention>,
    errors: Vec<Error>,
}

impl Count {
    fn ask(quorum: &QuorumBackend, request: &Arc<AcquireRequest>, seats: &Arc<Seats>) -> Self {
        let (said, words) = mpsc::unbounded_channel();
        let (orders, _) = watch::channel(Order::Wait);
        let tasks = quorum.members.iter().enumerate().map(|(number, member)| {
            let envoy = Envoy {
                number,
                member: Arc::clone(member),
                request: Arc::clone(request),
                seats: Arc::clone(seats),
                said: said.clone(),
                orders: orders.subscribe(),
            };
            tokio::spawn(envoy.run())
        });
        Self {
            tally: Tally::new(quorum.members.len()),
            tasks: tasks.collect(),
            words,
            orders,
            refusals: Vec::new(),
            errors: Vec::new(),
        }
    }

    /// Counts until there is a majority or can be none. Where others are in the way, whoever has not answered in twice the
    /// time that the majority took is not waited for.
    async fn election(&mut self, end: Instant) -> Standing {
        let start = Instant::now();
        let contended = |tally: &Tally| match tally.election() {
            Standing::Open if tally.is_contended() => Standing::Refused,
            standing => standing,
        };
        let standing = self.until(end, contended).await;
        if self.tally.election() != Standing::Open || standing != Standing::Refused {
            return standing;
        }
        let patience = start.elapsed().max(PATIENCE);
        let soon = end.min(Instant::now() + patience);
        match self.until(soon, Tally::election).await {
            Standing::Short if self.tally.election() == Standing::Open => Standing::Refused,
            standing => standing,
        }
    }

    /// Has the token raised to the greatest, until a majority has that one or cannot: the greatest of all that are heard
    /// meanwhile.
    async fn agree(&mut self, end: Instant) -> u64 {
        loop {
            let token = self.tally.token();
            if self.tally.agreement(token) != Standing::Open {
                return token;
            }
            self.order(Order::Raise(token));
            let settled = |tally: &Tally| match tally.agreement(token) {
                Standing::Open if tally.token() > token => Standing::Refused,
                standing => standing,
            };
            if self.until(end, settled).await != Standing::Refused {
                return token;
            }
        }
    }

    /// Counts until the votes decide, or the time is over.
    async fn until(&mut self, end: Instant, decides: impl Fn(&Tally) -> Standing) -> Standing {
        loop {
            let standing = decides(&self.tally);
            if standing != Standing::Open {
                return standing;
            }
            match timeout_at(end, self.words.recv()).await {
                Ok(Some((member, word))) => self.hear(member, word),
                Ok(None) => return Standing::Short,
                Err(_) => {
                    self.errors.push(no_answer());
                    return Standing::Short;
                }
            }
        }
    }

    fn hear(&mut self, member: usize, word: Word) {
        let vote = match word {
            Word::Granted(ballot) => Vote::For(ballot),
            Word::Refused(contention) => {
                self.refusals.push(*contention);
                Vote::Against
            }
            Word::Failed(error) => {
                self.errors.push(error);
                Vote::Failed
            }
        };
        self.tally.vote(member, vote);
    }

    fn order(&self, order: Order) {
        self.orders.send_replace(order);
    }

    /// Has everything given back, for as long as there is time, and tells why. What takes longer goes on by itself, and so
    /// does a member that has said nothing yet.
    async fn refuse(mut self, standing: Standing, end: Instant) -> Result<AcquireOutcome> {
        self.order(Order::GiveBack);
        let tally = &self.tally;
        let tasks = self.tasks.drain(..).enumerate();
        let heard = tasks.filter(|(member, _)| !tally.is_silent(*member));
        let given_back = timeout_at(end, join_all(heard.map(|(_, task)| task))).await;
        if standing == Standing::Refused {
            let missing = tally.majority() - tally.in_favour();
            if let Some(contention) = contention(self.refusals, missing) {
                return Ok(AcquireOutcome::Held(contention));
            }
        }
        let is_clean = |task: std::result::Result<bool, _>| task.unwrap_or(false);
        let all_clean = given_back.is_ok_and(|tasks| tasks.into_iter().all(is_clean));
        let nothing_left = all_clean && tally.silent() == 0;
        Err(short(&self.tally, self.errors, nothing_left))
    }
}

/// Talks to one member about one attempt.
struct Envoy {
    number: usize,
    member: Member,
    request: Arc<AcquireRequest>,
    seats: Arc<Seats>,
    said: mpsc::UnboundedSender<(usize, Word)>,
    orders: watch::Receiver<Order>,
}

impl Envoy {
    /// Whether certainly nothing of the attempt is left there, if it was given back.
    async fn run(mut self) -> bool {
        let seats = Arc::clone(&self.seats);
        let Some(seat) = seats.each.get(self.number) else {
            return true;
        };
        let mut seat = seat.lock().await;
        if self.is_unwanted() {
            return true;
        }
        let asked = timeout(self.request.timeout, self.member.acquire(&self.request)).await;
        let (word, stands) = match asked.unwrap_or_else(|_| Err(no_answer())) {
            Ok(AcquireOutcome::Granted(grant)) => granted(&mut seat, &grant),
            Ok(AcquireOutcome::Held(contention) | AcquireOutcome::Queued(contention)) => {
                (Word::Refused(Box::new(contention)), Stands::No)
            }
            Ok(AcquireOutcome::Skipped(_)) => (Word::Failed(no_slot()), Stands::No),
            Err(error) if error.kind() == ErrorKind::OutcomeUnknown => {
                (Word::Failed(error), Stands::Perhaps)
            }
            Err(error) => (Word::Failed(error), Stands::No),
        };
        self.say(word);
        match stands {
            Stands::No => true,
            stands => self.obey(&mut seat, stands).await,
        }
    }

    fn is_unwanted(&self) -> bool {
        let is_open = self.orders.has_changed().is_ok();
        let order = *self.orders.borrow();
        self.seats.is_over() || order == Order::GiveBack || (order != Order::Keep && !is_open)
    }

    /// Waits for what becomes of it.
    async fn obey(&mut self, seat: &mut Seat, stands: Stands) -> bool {
        loop {
            let order = *self.orders.borrow_and_update();
            match order {
                Order::Raise(token) if seat.token.is_some_and(|seen| seen < token) => {
                    let word = self.raise(seat, token).await;
                    self.say(word);
                }
                Order::Keep => {
                    seat.kept |= seat.token.is_some();
                    return true;
                }
                Order::GiveBack => return self.give_back(seat).await && stands == Stands::Yes,
                Order::Wait | Order::Raise(_) => {}
            }
            if self.orders.changed().await.is_err() && *self.orders.borrow() != Order::Keep {
                return self.give_back(seat).await && stands == Stands::Yes;
            }
        }
    }

    async fn raise(&self, seat: &mut Seat, token: u64) -> Word {
        let Some(seen) = seat.token else {
            return Word::Failed(no_answer());
        };
        let mut renewal = RenewRequest::new(&self.request, seen, self.request.seq);
        renewal.raise_token = Some(token);
        let before = seat.raising.replace(token);
        match renew(&self.member, seat, &renewal).await {
            Ok(RenewOutcome::Renewed(validity)) => Word::Granted(Ballot { token, validity }),
            Ok(RenewOutcome::Lost) => Word::Failed(Error::new(
                ErrorKind::Unavailable,
                "it was granted and lost at once: try again",
            )),
            Err(error) => {
                if error.kind() != ErrorKind::OutcomeUnknown {
                    // Asked for again, what was refused would keep the member from renewing what it has.
                    seat.raising = before;
                }
                Word::Failed(error)
            }
        }
    }

    /// Whether certainly nothing is left.
    async fn give_back(&self, seat: &mut Seat) -> bool {
        if seat.kept {
            // It is part of a lease that an earlier attempt of this acquisition was granted.
            return true;
        }
        let mut release =
            ReleaseRequest::new(&self.request.key, &self.request.owner, &self.request.id);
        release.timeout = self.request.timeout;
        release.attempt = Some(self.request.seq);
        (seat.token, seat.raising) = (None, None);
        seat.given_back = self.request.seq;
        let released = timeout(release.timeout, self.member.release(&release)).await;
        matches!(
            released,
            Ok(Ok(ReleaseOutcome::Released | ReleaseOutcome::NotHeld))
        )
    }

    fn say(&self, word: Word) {
        let _ = self.said.send((self.number, word));
    }
}

/// What stood there before and was given back may be ended late by that: it does not count, and is given back again.
fn granted(seat: &mut Seat, grant: &Grant) -> (Word, Stands) {
    if grant.validity.seq <= seat.given_back {
        let doubt = "an earlier attempt is being given back there: try again";
        let error = Error::new(ErrorKind::Unavailable, doubt);
        return (Word::Failed(error), Stands::Yes);
    }
    (seat.token, seat.raising) = (Some(grant.token), None);
    let ballot = Ballot {
        token: grant.token,
        validity: grant.validity,
    };
    (Word::Granted(ballot), Stands::Yes)
}

fn no_slot() -> Error {
    Error::new(
        ErrorKind::Other,
        "a member tells of a slot, and none was asked for",
    )
}

/// Whether the member may have something to give back.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stands {
    No,
    Yes,
    Perhaps,
}

/// Renews at one member, and takes note of its token.
pub(super) async fn renew(
    member: &Member,
    seat: &mut Seat,
    request: &RenewRequest,
) -> Result<RenewOutcome> {
    let renewed = timeout(request.timeout, member.renew(request)).await;
    let outcome = renewed.unwrap_or_else(|_| Err(no_answer()))?;
    match outcome {
        RenewOutcome::Renewed(_) => {
            seat.token = Some(request.raise_token.unwrap_or(request.token));
        }
        RenewOutcome::Lost => (seat.token, seat.kept) = (None, false),
    }
    seat.raising = None;
    Ok(outcome)
}
