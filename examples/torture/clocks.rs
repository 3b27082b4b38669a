//! What time it is for a client.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use doclock::LockClient;
use fastrand::Rng;
use serde::{Deserialize, Serialize};

use crate::skewed::{self, Skewed};
use crate::support::{install, servers};

const HOUR_MS: i64 = 3_600_000;

/// A client's clock.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Clock {
    Right,
    /// The library's time of day is an hour off.
    Ahead,
    Behind,
    /// It jumps to and fro.
    Stepping,
    /// So is everybody's in this process.
    FakedAhead,
    FakedBehind,
}

impl Clock {
    /// Half of all are right.
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let wrong = [
            Self::Ahead,
            Self::Behind,
            Self::Stepping,
            Self::FakedAhead,
            Self::FakedBehind,
        ];
        if rng.bool() {
            Self::Right
        } else {
            wrong[rng.usize(..wrong.len())]
        }
    }

    /// What to count it as.
    pub(crate) fn fault(self) -> Option<&'static str> {
        match self {
            Self::Right => None,
            Self::Ahead => Some("client an hour ahead"),
            Self::Behind => Some("client an hour behind"),
            Self::Stepping => Some("client with a stepping clock"),
            Self::FakedAhead => Some("client process an hour ahead"),
            Self::FakedBehind => Some("client process an hour behind"),
        }
    }

    /// For the process that goes by it.
    pub(crate) fn env(self) -> Result<Vec<(String, String)>> {
        match self {
            Self::FakedAhead => faketime("+1h"),
            Self::FakedBehind => faketime("-1h"),
            Self::Right | Self::Ahead | Self::Behind | Self::Stepping => Ok(Vec::new()),
        }
    }

    /// A lock client that goes by it.
    pub(crate) async fn connect(self, url: &str) -> Result<LockClient> {
        let offset = match self {
            Self::Right | Self::FakedAhead | Self::FakedBehind => {
                return Ok(doclock::connect(url).await?);
            }
            Self::Ahead => HOUR_MS,
            Self::Behind => -HOUR_MS,
            Self::Stepping => 0,
        };
        let clock = Arc::new(offset.to_string().parse::<Skewed>()?);
        if matches!(self, Self::Stepping) {
            tokio::spawn(step(Arc::clone(&clock)));
        }
        skewed::connect(url, clock).await
    }
}

async fn step(clock: Arc<Skewed>) {
    let mut rng = Rng::new();
    loop {
        for by in [HOUR_MS, -HOUR_MS] {
            tokio::time::sleep(Duration::from_millis(rng.u64(500..6000))).await;
            clock.step(by);
        }
    }
}

/// The environment of a process whose time of day is off by this; nothing if the contributor leaves `libfaketime` out. The
/// monotonic clock stays right: it is what the history goes by.
pub(crate) fn faketime(offset: &str) -> Result<Vec<(String, String)>> {
    if servers::without("faketime") {
        return Ok(Vec::new());
    }
    let library = install::faketime()?;
    let env = [
        ("LD_PRELOAD", library.as_str()),
        ("FAKETIME", offset),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ];
    Ok(env
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec())
}
