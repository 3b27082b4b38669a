//! One case: plant, look, ask, and compare with the rules.

use std::collections::BTreeMap;
use std::fmt::{Debug, Display};
use std::time::Duration;

use anyhow::{Result, ensure};
use doclock::rules::{self, Released, Renewed, Verdict};
use doclock::{
    AcquireOutcome, AcquireRequest, Contention, Grant, Holder, Key, LockRecord, Mode, Occupant,
    ReleaseOutcome, ReleaseRequest, RenewOutcome, RenewRequest, Timestamp, Validity,
};

use super::{Database, now};

/// How far two measurements of one time may lie apart: both backends' uncertainty and a slow test.
const TOLERANCE: Duration = Duration::from_secs(6);

/// A difference between a backend and the rules.
#[derive(Debug)]
pub(super) struct Failure {
    /// In a few words, the same for the same kind of difference.
    pub(super) what: String,
    pub(super) detail: String,
}

/// How often each way to decide was taken.
#[derive(Debug, Default)]
pub(super) struct Seen(BTreeMap<String, usize>);

impl Seen {
    pub(super) fn note(&mut self, operation: &str, how: &str) {
        *self.0.entry(format!("{operation}: {how}")).or_default() += 1;
    }

    /// A test that never saw a case says nothing of it.
    pub(super) fn expect_all(&self) -> Result<()> {
        let acquire = [
            "plain grant",
            "grant by the rules",
            "existing",
            "held",
            "mended",
        ];
        let acquire = acquire.map(|how| ("acquire", how));
        let renew = ["renewed", "newer", "lost"].map(|how| ("renew", how));
        let release = ["released", "already", "not held"].map(|how| ("release", how));
        for (operation, how) in acquire.iter().chain(&renew).chain(&release) {
            let name = format!("{operation}: {how}");
            ensure!(
                self.0.get(&name).is_some_and(|times| *times > 4),
                "hardly ever seen: {name}"
            );
        }
        Ok(())
    }
}

/// One case on its way.
struct Case<'a, D: Database> {
    database: &'a D,
    key: &'a Key,
    planted: Option<D::Raw>,
    seen: Option<LockRecord>,
    started: Timestamp,
    requests: usize,
}

/// What a case left behind.
struct After<R> {
    raw: Option<R>,
    record: Option<LockRecord>,
    requests: usize,
    ended: Timestamp,
}

impl<'a, D: Database> Case<'a, D> {
    /// Plants a record and looks at it through the backend.
    async fn plant(
        database: &'a D,
        key: &'a Key,
        mut seen: Option<LockRecord>,
    ) -> Result<Self, Failure> {
        let planted = seen.as_ref().map(|record| database.encode(key, record));
        if let Some(raw) = &planted {
            database
                .plant(raw)
                .await
                .map_err(|error| failure("planting failed", error))?;
        }
        if let Some(record) = &mut seen {
            database.keeps(record);
        }
        let read = database.backend().inspect(key).await;
        let read = read.map_err(|error| failure("inspect failed", error))?;
        same("inspect reads another record", &read, &seen)?;
        Ok(Self {
            database,
            key,
            planted,
            seen,
            started: now(),
            requests: database.requests(),
        })
    }

    async fn look(&self) -> Result<After<D::Raw>, Failure> {
        let requests = self.database.requests() - self.requests;
        let ended = now();
        let raw = self.database.read(self.key).await;
        let record = self.database.backend().inspect(self.key).await;
        Ok(After {
            raw: raw.map_err(|error| failure("reading failed", error))?,
            record: record.map_err(|error| failure("inspect failed afterwards", error))?,
            requests,
            ended,
        })
    }

    fn unchanged(&self, after: &After<D::Raw>) -> Result<(), Failure> {
        let bytes = |raw: &Option<D::Raw>| raw.as_ref().map(|raw| self.database.bytes(raw));
        if bytes(&after.raw) == bytes(&self.planted) {
            return Ok(());
        }
        let detail = format!("before: {:?}\nafter: {:?}", self.planted, after.raw);
        Err(failure("something was written", detail))
    }

    /// By the backend's own reading, and by ours.
    fn stored(&self, after: &After<D::Raw>, mut expected: LockRecord) -> Result<(), Failure> {
        self.database.keeps(&mut expected);
        same("another record", &after.record.as_ref(), &Some(&expected))?;
        let mut fields = self
            .database
            .fields(&self.database.encode(self.key, &expected));
        if self.planted.is_none() {
            fields.remove("mine");
        }
        let raw = after.raw.as_ref().map(|raw| self.database.fields(raw));
        same("another raw record", &raw, &Some(fields))
    }

    /// What the backend took for the time is the time.
    fn sane(&self, stamp: Timestamp, after: &After<D::Raw>) -> Result<(), Failure> {
        let most = after.ended.saturating_add(TOLERANCE);
        let slack = Duration::from_millis(50);
        if stamp.saturating_add(slack) < self.started || stamp > most {
            return Err(failure(
                "a wrong time",
                format!(
                    "{stamp} written between {} and {}",
                    self.started, after.ended
                ),
            ));
        }
        Ok(())
    }

    /// [`worth`] of an attempt that was sent just now; and no less than was asked for.
    fn fresh(&self, validity: &Validity, holder: &Holder, least: Duration) -> Result<(), Failure> {
        worth(validity, holder)?;
        let until = self.started.saturating_add(validity.valid_for);
        if until > holder.expires_at || validity.refresh || validity.valid_for < least {
            return Err(failure(
                "another validity",
                format!("{validity:?} of {holder:?}"),
            ));
        }
        Ok(())
    }
}

/// The client believes in it no longer than the record says, from before the attempt that stands there was sent.
fn worth(validity: &Validity, holder: &Holder) -> Result<(), Failure> {
    same("another attempt stands", &validity.seq, &holder.seq)?;
    if validity.valid_for > holder.ttl.as_duration() {
        let detail = format!("{validity:?} of {holder:?}");
        return Err(failure("a validity beyond the ttl", detail));
    }
    Ok(())
}

impl<R> After<R> {
    fn cost(&self, most: usize) -> Result<(), Failure> {
        if self.requests > most {
            let what = format!("{} requests instead of {most}", self.requests);
            return Err(failure(&what, ""));
        }
        Ok(())
    }
}

pub(super) async fn acquire<D: Database>(
    database: &D,
    key: &Key,
    seen: Option<LockRecord>,
    mut request: AcquireRequest,
) -> Result<&'static str, Failure> {
    request.key = key.clone();
    let case = Case::plant(database, key, seen).await?;
    let outcome = database.backend().acquire(&request).await;
    let outcome = outcome.map_err(|error| failure("acquire failed", error))?;
    let after = case.look().await?;
    let seen = case.seen.as_ref();

    let stamp = acquired_at(&case, &after, &request);
    let time = database.time(stamp, seen.is_some());
    let admitted = rules::admit(seen, &request, &time);
    let looks = usize::from(request.waiting && database.looks());
    let evicts = match (seen, &admitted) {
        (Some(seen), Verdict::Granted(next)) => next.holders.len() <= seen.holders.len(),
        _ => false,
    };
    let plain = database.is_plain(seen, &request, case.started) && !(looks > 0 && evicts);
    let expected = if plain {
        without_eviction(&case, &request, &time)
    } else {
        admitted
    };

    match (expected, outcome) {
        (Verdict::Granted(next), AcquireOutcome::Granted(grant)) => {
            case.sane(stamp, &after)?;
            same("another token", &grant.token, &next.token)?;
            let mine = next.holder(&request.id).unwrap();
            case.fresh(
                &grant.validity,
                mine,
                request.ttl.as_duration().saturating_sub(request.margin),
            )?;
            case.stored(&after, (*next).clone())?;
            if plain {
                after.cost(1 + looks)?;
                return Ok("plain grant");
            }
            let created = usize::from(seen.is_none());
            after.cost(2 + created * looks)?;
            Ok("grant by the rules")
        }
        (Verdict::Existing(holder), AcquireOutcome::Granted(grant)) => {
            recognised(&case, &after, &request, &holder, &grant)?;
            Ok("existing")
        }
        (Verdict::Held { contention, mended }, AcquireOutcome::Held(found)) => {
            contended(&contention, &found)?;
            let Some(mended) = mended else {
                case.unchanged(&after)?;
                after.cost(1)?;
                return Ok("held");
            };
            case.sane(stamp, &after)?;
            case.stored(&after, *mended)?;
            after.cost(2)?;
            Ok("mended")
        }
        (expected, found) => Err(disagreement(&expected, &found)),
    }
}

/// What is granted at once needs nobody evicted on suspicion; and some do not evict at all then.
fn without_eviction<D: Database>(
    case: &Case<'_, D>,
    request: &AcquireRequest,
    time: &rules::ServerTime,
) -> Verdict {
    let mut request = request.clone();
    request.watched.clear();
    let verdict = rules::admit(case.seen.as_ref(), &request, time);
    match (verdict, &case.seen) {
        (Verdict::Granted(mut next), Some(seen)) if !case.database.plain_evicts() => {
            let mine = next.holder(&request.id).unwrap().clone();
            next.holders.clone_from(&seen.holders);
            next.holders.push(mine);
            Verdict::Granted(next)
        }
        (verdict, _) => verdict,
    }
}

/// The time that the backend decided by, from what it wrote; now, if it wrote nothing.
fn acquired_at<D: Database>(
    case: &Case<'_, D>,
    after: &After<D::Raw>,
    request: &AcquireRequest,
) -> Timestamp {
    let Some(record) = &after.record else {
        return case.started;
    };
    let stood = case.seen.as_ref().and_then(|seen| seen.holder(&request.id));
    if let (Some(mine), None) = (record.holder(&request.id), stood) {
        return mine.acquired_at;
    }
    // A mended expiry is the latest time, a ttl and the pad.
    let time = case.database.time(case.started, true);
    let ahead = time.latest.saturating_since(case.started) + time.pad;
    let ends = |record: &LockRecord| {
        let holders = record
            .holders
            .iter()
            .map(|holder| (holder.expires_at, holder.ttl));
        let waiters = record
            .queue
            .iter()
            .map(|waiter| (waiter.expires_at, waiter.ttl));
        holders.chain(waiters).collect::<Vec<_>>()
    };
    let seen = case.seen.as_ref().map(ends).unwrap_or_default();
    let mended = seen
        .into_iter()
        .zip(ends(record))
        .find(|(before, after)| before != after);
    mended.map_or(case.started, |(_, (expires_at, ttl))| {
        expires_at.saturating_sub(ttl.as_duration() + ahead)
    })
}

fn recognised<D: Database>(
    case: &Case<'_, D>,
    after: &After<D::Raw>,
    request: &AcquireRequest,
    holder: &Holder,
    grant: &Grant,
) -> Result<(), Failure> {
    worth(&grant.validity, holder)?;
    let mut record = case.seen.clone().unwrap();
    if request.mode != Mode::Exclusive && case.database.retokens() {
        record.token += 1;
        record.rev += 1;
        same(
            "another token of an existing grant",
            &grant.token,
            &record.token,
        )?;
        return case.stored(after, record);
    }
    let token = holder.token.unwrap_or(record.token);
    same("another token of an existing grant", &grant.token, &token)?;
    case.unchanged(after)
}

fn contended(expected: &Contention, found: &Contention) -> Result<(), Failure> {
    same("another reason", &found.reason, &expected.reason)?;
    let who = |contention: &Contention| -> Vec<Occupant> {
        let occupants = contention.occupants.iter().cloned();
        occupants
            .map(|occupant| Occupant {
                expires_in: Duration::ZERO,
                ..occupant
            })
            .collect()
    };
    same("other occupants", &who(found), &who(expected))?;
    let times = |contention: &Contention| {
        let occupants = contention
            .occupants
            .iter()
            .map(|occupant| occupant.expires_in);
        occupants.chain([contention.free_in]).collect::<Vec<_>>()
    };
    let near = times(found)
        .into_iter()
        .zip(times(expected))
        .all(|(found, expected)| found.abs_diff(expected) < TOLERANCE);
    if !near {
        return Err(failure(
            "other times",
            format!("{found:?}\ninstead of {expected:?}"),
        ));
    }
    Ok(())
}

pub(super) async fn renew<D: Database>(
    database: &D,
    key: &Key,
    seen: Option<LockRecord>,
    mut request: RenewRequest,
) -> Result<&'static str, Failure> {
    request.key = key.clone();
    let case = Case::plant(database, key, seen).await?;
    let outcome = database.backend().renew(&request).await;
    let outcome = outcome.map_err(|error| failure("renew failed", error))?;
    let after = case.look().await?;

    let standing = case.seen.as_ref().and_then(|seen| seen.holder(&request.id));
    let holder = after
        .record
        .as_ref()
        .and_then(|record| record.holder(&request.id));
    let stamp = match (standing, holder) {
        (_, Some(holder)) if request.restamp && holder.seq == request.seq => holder.acquired_at,
        (Some(before), Some(holder)) if holder.expires_at != before.expires_at => {
            let pad = database.time(case.started, true).pad;
            holder
                .expires_at
                .saturating_sub(holder.ttl.as_duration() + pad)
        }
        _ => case.started,
    };
    match (
        rules::renew(case.seen.as_ref(), &request, &database.time(stamp, true)),
        outcome,
    ) {
        (Renewed::Write(next), RenewOutcome::Renewed(validity)) => {
            case.sane(stamp, &after)?;
            let mine = next.holder(&request.id).unwrap();
            case.fresh(
                &validity,
                mine,
                request.ttl.as_duration().saturating_sub(request.margin),
            )?;
            let plain = standing.is_some_and(|holder| {
                let as_asked = holder.ttl <= request.ttl && holder.owner() == Some(&request.owner);
                !database.looks() || as_asked
            });
            after.cost(if plain { 1 } else { 2 })?;
            case.stored(&after, *next)?;
            Ok("renewed")
        }
        (Renewed::Newer { .. }, RenewOutcome::Renewed(validity)) => {
            worth(&validity, standing.unwrap())?;
            case.unchanged(&after)?;
            Ok("newer")
        }
        (Renewed::Lost, RenewOutcome::Lost) => {
            case.unchanged(&after)?;
            Ok("lost")
        }
        (expected, found) => Err(disagreement(&expected, &found)),
    }
}

pub(super) async fn release<D: Database>(
    database: &D,
    key: &Key,
    seen: Option<LockRecord>,
    mut request: ReleaseRequest,
) -> Result<&'static str, Failure> {
    request.key = key.clone();
    let case = Case::plant(database, key, seen).await?;
    let outcome = database.backend().release(&request).await;
    let outcome = outcome.map_err(|error| failure("release failed", error))?;
    let after = case.look().await?;

    let stamp = after
        .record
        .as_ref()
        .and_then(|record| record.free_at)
        .unwrap_or(case.started);
    match (
        rules::release(case.seen.as_ref(), &request, &database.time(stamp, true)),
        outcome,
    ) {
        (Released::Write(next), ReleaseOutcome::Released) => {
            case.sane(stamp, &after)?;
            let standing = case.seen.as_ref().and_then(|seen| seen.holder(&request.id));
            let is_mine = standing.is_some_and(|holder| holder.owner() == Some(&request.owner));
            after.cost(if is_mine { 1 } else { 2 })?;
            case.stored(&after, *next)?;
            Ok("released")
        }
        (Released::Already, ReleaseOutcome::Released) => {
            case.unchanged(&after)?;
            Ok("already")
        }
        (Released::NotHeld, ReleaseOutcome::NotHeld) => {
            case.unchanged(&after)?;
            Ok("not held")
        }
        (expected, found) => Err(disagreement(&expected, &found)),
    }
}

fn same<T: PartialEq + Debug>(what: &str, found: &T, expected: &T) -> Result<(), Failure> {
    if found == expected {
        return Ok(());
    }
    Err(failure(
        what,
        format!("found:    {found:?}\nexpected: {expected:?}"),
    ))
}

/// The name of a variant.
fn word(value: &impl Debug) -> String {
    let text = format!("{value:?}");
    text.chars()
        .take_while(char::is_ascii_alphanumeric)
        .collect()
}

fn failure(what: &str, detail: impl Display) -> Failure {
    Failure {
        what: what.to_owned(),
        detail: format!("{detail:#}"),
    }
}

/// The rules and the backend decided differently.
fn disagreement(expected: &impl Debug, found: &impl Debug) -> Failure {
    let what = format!(
        "{} by the rules, {} by the backend",
        word(expected),
        word(found)
    );
    failure(&what, format!("rules: {expected:#?}\nbackend: {found:#?}"))
}
