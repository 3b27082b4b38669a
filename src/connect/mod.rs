//! A client from a URL, for services that have no database client of their own.

#[cfg(feature = "aws-config")]
mod dynamodb;
#[cfg(all(test, feature = "mongodb", feature = "aws-config"))]
mod fuzz;
#[cfg(feature = "mongodb")]
mod mongodb;

use crate::client::invalid;
use crate::{LockClient, LockClientBuilder, MemoryBackend, Result};

/// The environment variable that [`connect_from_env`] reads.
pub const URL_VARIABLE: &str = "DOCLOCK_URL";

/// Makes a client from a URL:
///
/// | URL | feature |
/// |---|---|
/// | `mongodb://host/database?collection=locks` | `mongodb` |
/// | `mongodb+srv://host/database?collection=locks` | `mongodb-srv` |
/// | `dynamodb://eu-west-1/locks` | `aws-config` |
/// | `memory:` | none; locks in this client only, for tests |
///
/// * `mongodb`: all options of the driver's own connection strings, and `collection` (`locks` by default).
/// * `dynamodb`: the host is the region (by the SDK's default chain if left out: `dynamodb:///locks`), the path is the
///   table. Options: `endpoint` for another server, `partition_key` for another name than `pk`, `sort_key` and
///   `sort_value` for a table with a sort key. Credentials come from the SDK's default chain; a loopback endpoint does
///   without.
///
/// Nothing is sent yet, and nothing is created: call [`LockClient::setup`] once per deployment.
///
/// A service that has a database client already passes it to `MongoBackend::new` or `DynamoBackend::new` instead.
///
/// # Errors
///
/// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) says what to write, and never shows the URL: it may have
/// credentials.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> doclock::Result<()> {
/// let locks = doclock::connect("memory:").await?;
/// let lease = locks.lock("item:1").acquire().await?;
/// # lease.release().await?;
/// # Ok(()) }
/// ```
pub async fn connect(url: &str) -> Result<LockClient> {
    Ok(LockClientBuilder::connect(url).await?.build())
}

impl LockClientBuilder {
    /// The settings of a client that is made from a URL: see [`connect`].
    ///
    /// # Errors
    ///
    /// As [`connect`].
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> doclock::Result<()> {
    /// let builder = doclock::LockClientBuilder::connect("memory:").await?;
    /// let locks = builder.on_event(|event| println!("{event:?}")).build();
    /// # drop(locks);
    /// # Ok(()) }
    /// ```
    #[cfg_attr(
        not(any(feature = "mongodb", feature = "aws-config")),
        expect(
            clippy::unused_async,
            reason = "a driver may have to ask for its options"
        )
    )]
    pub async fn connect(url: &str) -> Result<Self> {
        let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
        match scheme {
            #[cfg(feature = "mongodb")]
            "mongodb" | "mongodb+srv" => Ok(LockClient::builder(mongodb::connect(url).await?)),
            #[cfg(not(feature = "mongodb"))]
            "mongodb" | "mongodb+srv" => Err(missing_feature(scheme, "mongodb")),
            #[cfg(feature = "aws-config")]
            "dynamodb" => Ok(LockClient::builder(dynamodb::connect(url).await?)),
            #[cfg(not(feature = "aws-config"))]
            "dynamodb" => Err(missing_feature(scheme, "aws-config")),
            "memory" if url == "memory:" => Ok(LockClient::builder(MemoryBackend::new())),
            "memory" => Err(invalid("a memory URL has no parts: write `memory:`")),
            _ => Err(invalid(
                "the URL starts with no scheme that is known here: write mongodb://…, mongodb+srv://…, dynamodb://… or \
                 memory:",
            )),
        }
    }
}

/// Makes a client from the URL in the environment variable `DOCLOCK_URL`; see [`connect`].
///
/// # Errors
///
/// As [`connect`], and if the variable is not set or not Unicode.
pub async fn connect_from_env() -> Result<LockClient> {
    let url = std::env::var(URL_VARIABLE).map_err(|error| {
        invalid(format!(
            "the environment variable {URL_VARIABLE} is not set, or is no text: set it to a URL such as \
             dynamodb://eu-west-1/locks"
        ))
        .with_source(error)
    })?;
    connect(&url).await
}

#[cfg(not(all(feature = "mongodb", feature = "aws-config")))]
fn missing_feature(scheme: &str, feature: &str) -> crate::Error {
    invalid(format!(
        "{scheme}:// needs a feature of doclock that is off: write `doclock = {{ features = [\"{feature}\"] }}`"
    ))
}
