//! One case: plant, look, ask, and compare with the rules.

mod acquire;
mod keep;

use std::collections::BTreeMap;
use std::fmt::{Debug, Display};
use std::time::Duration;

use anyhow::{Result, ensure};
use doclock::{Holder, Key, LockRecord, Timestamp, Validity};

use super::{Database, now};

pub(super) use acquire::acquire;
pub(super) use keep::{release, renew};

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
    pub(super) fn expect_all(&self, never: &[&str]) -> Result<()> {
        let acquire = [
            "plain grant",
            "plain turn",
            "handed on",
            "grant by the rules",
            "turn by the rules",
            "grant after joining",
            "existing",
            "stands in the queue",
            "joined",
            "refreshed",
            "took its own place over",
            "held",
            "behind a queue",
            "closed or replaced",
            "mended",
            "skipped",
            "skipped by the server",
            "too early",
        ];
        let acquire = acquire.map(|how| ("acquire", how));
        let renew = ["renewed", "raised", "passed", "newer", "lost"].map(|how| ("renew", how));
        let release = [
            "released",
            "given back",
            "lingers",
            "left the queue",
            "already",
            "not held",
        ];
        let release = release.map(|how| ("release", how));
        for (operation, how) in acquire.iter().chain(&renew).chain(&release) {
            let name = format!("{operation}: {how}");
            ensure!(
                never.contains(&&*name) || self.0.get(&name).is_some_and(|times| *times > 4),
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
