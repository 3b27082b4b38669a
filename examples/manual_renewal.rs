//! A batch that renews its lease by hand between two chunks, and stops where it was when the lease is lost.
//!
//! ```sh
//! cargo run --all-features --example manual_renewal
//! cargo run --all-features --example manual_renewal -- --stall 4     # chunk 4 takes far too long
//! cargo run --all-features --example manual_renewal -- --url mongodb://localhost/test
//! ```
//!
//! Leases renew themselves unless told not to. By hand is for work that may hang: what does not come back to renew
//! loses its lock. The locks are in memory unless `--url` names a database.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use doclock::{ErrorKind, Lease};

const TTL: Duration = Duration::from_secs(2);
/// What one chunk takes, at most, if all is well.
const CHUNK: Duration = Duration::from_millis(500);
const CHUNKS: u32 = 8;

/// Imports eight chunks under a lock that is renewed by hand.
#[derive(Parser)]
struct Args {
    /// Where the locks are: mongodb://…, mongodb+srv://…, dynamodb://… or memory:
    #[arg(long, default_value = "memory:")]
    url: String,
    /// The chunk that takes longer than the lease lives
    #[arg(long, value_name = "CHUNK")]
    stall: Option<u32>,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let args = Args::parse();
    let locks = doclock::connect(&args.url).await?;
    locks.setup().await?; // once per deployment

    let lock = locks.lock("import").ttl(TTL).manual_renewal();
    let Some(lease) = lock.try_acquire().await? else {
        println!("Another import is at work.");
        return Ok(ExitCode::SUCCESS);
    };
    let done = import(&lease, args.stall).await?;
    if done == CHUNKS {
        lease
            .release()
            .await
            .context("all is imported, but not alone")?;
        println!("All is imported.");
    } else {
        println!(
            "Lost the lock after chunk {done}: stopped. The next run starts with chunk {}.",
            done + 1
        );
    }
    locks.shutdown().await;
    Ok(if done == CHUNKS {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Imports chunk after chunk while the lease is held. Returns the last one that was done under the lock.
async fn import(lease: &Lease, stall: Option<u32>) -> Result<u32> {
    for chunk in 1..=CHUNKS {
        if !renew(lease).await? {
            return Ok(chunk - 1);
        }
        write_chunk(chunk, stall).await;
        // The write must be alone until its end, or the next run repeats it. It may meet another's: send
        // `lease.token()` along and let the receiver compare, as examples/inventory.rs does.
        if !lease.is_held() {
            return Ok(chunk - 1);
        }
        println!(
            "chunk {chunk} of {CHUNKS}, {:.1} s left",
            lease.remaining().as_secs_f64()
        );
    }
    Ok(CHUNKS)
}

/// Prolongs the lease, so that one chunk fits in. False once the lease is lost.
async fn renew(lease: &Lease) -> Result<bool> {
    match lease.renew().await {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::LeaseLost => Ok(false),
        // No answer, say. The lease lives on: if it lives for long enough, the next renewal may do.
        Err(error) if error.is_retryable() && lease.remaining() > CHUNK => {
            println!("not renewed, going on with what is left: {error}");
            Ok(true)
        }
        Err(error) => Err(error.into()),
    }
}

/// Stands for the work.
async fn write_chunk(chunk: u32, stall: Option<u32>) {
    let slow = stall == Some(chunk);
    tokio::time::sleep(if slow { TTL * 2 } else { CHUNK / 2 }).await;
}
