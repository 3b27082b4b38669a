//! The one record that every mode and pattern lives in, as all backends understand it.

use std::time::Duration;

use crate::key::check;
use crate::time::Timestamp;
use crate::{Error, ErrorKind, Key, LeaseId, Owner, Result};

/// The format that this crate writes. A record with another one is refused, never overwritten.
pub const FORMAT: i64 = 1;
/// The most holders, and the most waiters, that a record may have.
pub const MAX_PARTIES: usize = 256;
/// The longest time to live.
pub const MAX_TTL: Duration = Duration::from_hours(24);
/// The shortest time to live.
pub const MIN_TTL: Duration = Duration::from_millis(100);
/// How long after a record's last expiry the database may collect it, at least: longer than any ttl and
/// any error of a clock together, so that no purge can meet a live lease.
pub const RETENTION: Duration = Duration::from_hours(48);
/// The longest that a record is kept for its result.
pub(crate) const MAX_KEEP: Duration = Duration::from_hours(100 * 365 * 24);
/// How long an entry of the queue lives without a refresh, whatever the ttl of the lease that it waits for.
pub const WAITER_TTL: Ttl = Ttl(Duration::from_secs(6));
/// The most bytes of a payload.
pub const MAX_PAYLOAD_BYTES: usize = 4096;

/// What a lease allows beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Mode {
    /// One holder, nobody beside it.
    Exclusive,
    /// Any number of holders (up to 256), no exclusive one beside them.
    Shared,
    /// Up to `limit` holders: a semaphore.
    Permit {
        /// How many may hold at once, 1 to 256. The newest request's limit rules.
        limit: u32,
    },
}

impl Mode {
    /// The mode's name in a record.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Exclusive => "exclusive",
            Self::Shared => "shared",
            Self::Permit { .. } => "permit",
        }
    }

    /// The limit as a record has it: 0 for all modes but permits.
    #[must_use]
    pub fn limit(self) -> u32 {
        match self {
            Self::Permit { limit } => limit,
            _ => 0,
        }
    }

    /// How many leases of this mode may stand side by side.
    #[must_use]
    pub fn capacity(self) -> usize {
        match self {
            Self::Exclusive => 1,
            Self::Shared => MAX_PARTIES,
            Self::Permit { limit } => MAX_PARTIES.min(limit as usize),
        }
    }

    /// Whether both are exclusive, both shared or both permits, whatever the limit.
    #[must_use]
    pub fn same_kind(self, other: Self) -> bool {
        self.name() == other.name()
    }

    /// The mode with this name and limit, as they stand in a record.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::CorruptRecord`] for another name, or a limit that does not fit it.
    pub fn from_record(name: &str, limit: i64) -> Result<Self> {
        Self::checked(name, limit).map_err(|(field, what)| Error::corrupt(field, what))
    }

    /// The same, or which field is wrong, and how.
    pub(crate) fn checked(name: &str, limit: i64) -> Result<Self, (&'static str, String)> {
        let permits = u32::try_from(limit).ok();
        let permits = permits.filter(|limit| *limit as usize <= MAX_PARTIES);
        match (name, permits) {
            ("exclusive", Some(0)) => Ok(Self::Exclusive),
            ("shared", Some(0)) => Ok(Self::Shared),
            ("permit", Some(limit @ 1..)) => Ok(Self::Permit { limit }),
            ("exclusive" | "shared" | "permit", _) => {
                Err(("limit", format!("is {limit}, which does not fit the mode")))
            }
            _ => Err(("mode", "is none that this version knows".into())),
        }
    }
}

/// How long a lease lives without renewal: 100 ms to 24 h, in whole milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ttl(Duration);

impl Ttl {
    /// Checks and takes a time to live; a fraction of a millisecond is cut off.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if it is out of range.
    pub fn new(ttl: Duration) -> Result<Self> {
        if ttl < MIN_TTL || ttl > MAX_TTL {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("the ttl is {ttl:?}: choose one between 100 ms and 24 h"),
            ));
        }
        let whole = Duration::from_millis(u64::from(ttl.subsec_millis()));
        Ok(Self(Duration::from_secs(ttl.as_secs()) + whole))
    }

    /// The time to live as a duration.
    #[must_use]
    pub const fn as_duration(self) -> Duration {
        self.0
    }

    /// The time to live in milliseconds, at most 86,400,000.
    #[must_use]
    pub fn as_millis(self) -> i64 {
        i64::try_from(self.0.as_millis()).unwrap_or(i64::MAX)
    }

    /// A ttl as it stands in a record: any that this crate can have written, a minimum hold included.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::CorruptRecord`] if it is none.
    pub fn from_record(field: &str, ms: i64) -> Result<Self> {
        let duration = Duration::from_millis(u64::try_from(ms).unwrap_or(0));
        if duration.is_zero() || duration > MAX_TTL {
            return Err(Error::corrupt(field, format_args!("is {ms}")));
        }
        Ok(Self(duration))
    }
}

/// A few words for people, on a lease: at most 256 bytes without control characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Label(String);

impl Label {
    /// Checks and takes a label.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if it is empty, too long, or has control characters.
    pub fn new(label: impl AsRef<str>) -> Result<Self> {
        check("label", label.as_ref(), crate::key::MAX_OWNER_BYTES)
            .map(|label| Self(label.as_ref().into()))
    }

    /// The label's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// JSON on a lease or a record, for others to read: at most 4,096 bytes.
///
/// `Debug` shows its length only: it may be nobody else's business.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Payload(String);

impl Payload {
    /// Serializes a value.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if it does not serialize to JSON, or is too long.
    pub fn new(value: &impl serde::Serialize) -> Result<Self> {
        let invalid = |message: String| Error::new(ErrorKind::InvalidInput, message);
        let json = serde_json::to_string(value)
            .map_err(|error| invalid("the data is not JSON".into()).with_source(error))?;
        if json.len() > MAX_PAYLOAD_BYTES {
            return Err(invalid(format!(
                "the data has {} bytes as JSON, at most {MAX_PAYLOAD_BYTES} are allowed: store it elsewhere and name the place",
                json.len()
            )));
        }
        Ok(Self(json))
    }

    /// A payload as it stands in a record. It is not parsed until somebody asks for it.
    #[must_use]
    pub fn from_record(json: String) -> Self {
        Self(json)
    }

    /// The JSON text.
    #[must_use]
    pub fn as_json(&self) -> &str {
        &self.0
    }

    /// Reads the value back.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::CorruptRecord`] if it is not of that type.
    pub fn parse<T: serde::de::DeserializeOwned>(&self) -> Result<T> {
        self.parse_as("data")
    }

    /// The same, of another field.
    pub(crate) fn parse_as<T: serde::de::DeserializeOwned>(&self, field: &str) -> Result<T> {
        serde_json::from_str(&self.0).map_err(|error| {
            // Where, but not the parser's own words: they quote what they do not expect.
            let (line, column) = (error.line(), error.column());
            Error::corrupt(
                field,
                format_args!("is not of the expected type at line {line}, column {column}"),
            )
        })
    }
}

impl std::fmt::Debug for Payload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Payload({} bytes)", self.0.len())
    }
}

/// Everything that the database knows of one key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct LockRecord {
    /// Raised by one with every write; what compare-and-swap compares.
    pub rev: u64,
    /// The last fencing token that was issued.
    pub token: u64,
    /// The mode of the present holders, or of the last ones.
    pub mode: Mode,
    /// Who holds, live or expired.
    pub holders: Vec<Holder>,
    /// Who waits fairly, in order of arrival.
    pub queue: Vec<Waiter>,
    /// When it last became free.
    pub free_at: Option<Timestamp>,
    /// The id of the last released acquisition. An acquire with it is a late duplicate, and refused.
    pub closed: Option<LeaseId>,
    /// The start of the newest slot that a scheduled run began in.
    pub slot_started: Option<Timestamp>,
    /// The start of the newest slot that a scheduled run succeeded in.
    pub slot_done: Option<Timestamp>,
    /// Set on a record that is never purged: what `purge_at` is set to instead of a time.
    pub pinned: Option<Timestamp>,
    /// A payload that survives release.
    pub state: Option<Payload>,
    /// When the database may collect the record.
    pub purge_at: Option<Timestamp>,
}

impl LockRecord {
    /// A record that nobody holds and no token was issued from.
    #[must_use]
    pub fn new(mode: Mode) -> Self {
        Self {
            rev: 0,
            token: 0,
            mode,
            holders: Vec::new(),
            queue: Vec::new(),
            free_at: None,
            closed: None,
            slot_started: None,
            slot_done: None,
            pinned: None,
            state: None,
            purge_at: None,
        }
    }

    /// The holder of this acquisition.
    #[must_use]
    pub fn holder(&self, id: &LeaseId) -> Option<&Holder> {
        self.holders.iter().find(|holder| holder.id() == Some(id))
    }

    /// The place in the queue of this acquisition.
    #[must_use]
    pub fn waiter(&self, id: &LeaseId) -> Option<&Waiter> {
        self.queue.iter().find(|waiter| waiter.claimant.id == *id)
    }

    pub(crate) fn holder_mut(&mut self, id: &LeaseId) -> Option<&mut Holder> {
        self.holders
            .iter_mut()
            .find(|holder| holder.id() == Some(id))
    }
}

/// Who an entry of a record belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Claimant {
    /// Who it is.
    pub owner: Owner,
    /// Which of its acquisitions.
    pub id: LeaseId,
}

/// One entry of [`LockRecord::holders`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Holder {
    /// Whose it is. `None`: the rest of a minimum hold, that nobody owns and nobody may enter.
    pub claimant: Option<Claimant>,
    /// Its fencing token, where the record keeps one for each holder.
    pub token: Option<u64>,
    /// When it was granted.
    pub acquired_at: Timestamp,
    /// When it expires unless renewed.
    pub expires_at: Timestamp,
    /// How long it lives without renewal.
    pub ttl: Ttl,
    /// Grows with each attempt to acquire or renew it.
    pub seq: u64,
    /// A few words for people.
    pub label: Option<Label>,
    /// A payload for other programs.
    pub data: Option<Payload>,
}

impl Holder {
    /// A holder without token, label and data.
    #[must_use]
    pub fn new(
        claimant: Option<Claimant>,
        acquired_at: Timestamp,
        expires_at: Timestamp,
        ttl: Ttl,
        seq: u64,
    ) -> Self {
        Self {
            claimant,
            token: None,
            acquired_at,
            expires_at,
            ttl,
            seq,
            label: None,
            data: None,
        }
    }

    /// Who holds.
    #[must_use]
    pub fn owner(&self) -> Option<&Owner> {
        self.claimant.as_ref().map(|claimant| &claimant.owner)
    }

    /// Which acquisition holds.
    #[must_use]
    pub fn id(&self) -> Option<&LeaseId> {
        self.claimant.as_ref().map(|claimant| &claimant.id)
    }
}

/// One entry of [`LockRecord::queue`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Waiter {
    /// Whose it is.
    pub claimant: Claimant,
    /// What it waits for.
    pub mode: Mode,
    /// When it joined the queue.
    pub enqueued_at: Timestamp,
    /// When it counts as dead unless refreshed.
    pub expires_at: Timestamp,
    /// How long it lives without a refresh.
    pub ttl: Ttl,
    /// Grows with each refresh.
    pub seq: u64,
}

impl Waiter {
    /// A waiter.
    #[must_use]
    pub fn new(
        claimant: Claimant,
        mode: Mode,
        enqueued_at: Timestamp,
        expires_at: Timestamp,
        ttl: Ttl,
        seq: u64,
    ) -> Self {
        Self {
            claimant,
            mode,
            enqueued_at,
            expires_at,
            ttl,
            seq,
        }
    }
}

/// One page of the records of a backend.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ListPage {
    /// The records, with their keys.
    pub records: Vec<(Key, LockRecord)>,
    /// Where the next page starts, if there may be one.
    pub next: Option<String>,
}

impl ListPage {
    /// A page, and where the next one starts.
    #[must_use]
    pub fn new(records: Vec<(Key, LockRecord)>, next: Option<String>) -> Self {
        Self { records, next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ttls_are_checked() {
        for bad in [0, 1, 99, 86_400_001, u64::MAX] {
            let error = Ttl::new(Duration::from_millis(bad)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{bad}");
        }
        for good in [100, 86_400_000] {
            assert_eq!(
                Ttl::new(Duration::from_millis(good)).unwrap().as_millis(),
                i64::try_from(good).unwrap()
            );
        }
        assert_eq!(
            Ttl::new(Duration::from_micros(100_999))
                .unwrap()
                .as_millis(),
            100
        );
    }

    #[test]
    fn a_ttl_in_a_record_is_any_that_can_have_been_written() {
        for good in [1, 86_400_000] {
            assert_eq!(Ttl::from_record("ttl", good).unwrap().as_millis(), good);
        }
        for bad in [i64::MIN, -1, 0, 86_400_001] {
            let error = Ttl::from_record("ttl", bad).unwrap_err();
            assert!(error.to_string().contains("`ttl`"), "{error}");
        }
    }

    #[test]
    fn a_mode_and_its_limit_fit_each_other() {
        for (name, limit, field) in [
            ("exclusive", 1, "`limit`"),
            ("shared", 2, "`limit`"),
            ("permit", 0, "`limit`"),
            ("permit", -1, "`limit`"),
            ("other", 0, "`mode`"),
        ] {
            let error = Mode::from_record(name, limit).unwrap_err();
            assert!(error.to_string().contains(field), "{name} {limit}: {error}");
        }
    }

    #[test]
    fn payloads_are_checked_and_not_shown() {
        let payload = Payload::new(&["secret"]).unwrap();
        assert_eq!(format!("{payload:?}"), "Payload(10 bytes)");
        assert_eq!(payload.parse::<Vec<String>>().unwrap(), ["secret"]);
        assert_eq!(
            payload.parse::<u8>().unwrap_err().kind(),
            ErrorKind::CorruptRecord
        );
        assert!(Payload::new(&"x".repeat(MAX_PAYLOAD_BYTES - 2)).is_ok());
        assert!(Payload::new(&"x".repeat(MAX_PAYLOAD_BYTES - 1)).is_err());
    }

    #[test]
    fn a_mode_is_read_with_its_own_limit_only() {
        for mode in [Mode::Exclusive, Mode::Shared, Mode::Permit { limit: 3 }] {
            let read = Mode::from_record(mode.name(), i64::from(mode.limit()));
            assert_eq!(read.unwrap(), mode);
        }
        for (name, limit) in [
            ("exclusive", 1),
            ("permit", 0),
            ("permit", 257),
            ("shared", -1),
            ("owl", 0),
        ] {
            assert!(Mode::from_record(name, limit).is_err(), "{name} {limit}");
        }
    }
}
