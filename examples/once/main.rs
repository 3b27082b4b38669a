//! A web service that takes payments: each is made once, however often and by however many it is asked for.
//!
//! ```sh
//! cargo run --all-features --example once
//! cargo run --all-features --example once -- --url mongodb://localhost/test
//! ```
//!
//! Without `--url` the records are in an embedded DynamoDB emulator. In a database of yours it leaves a few small ones,
//! `example:payment:…`, which the database's TTL removes after two days.
//!
//! What to copy is `pay` and `look`; the rest stands for the bank and the clients.

mod bank;
mod caller;
#[path = "../support/mod.rs"]
mod support;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use clap::Parser;
use doclock::{ErrorKind, LockClient, Outcome, Status};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use crate::bank::Bank;
use crate::caller::Caller;

/// A web service that takes payments, each of them once.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    common: support::Common,
}

#[derive(Clone)]
struct Shop {
    locks: LockClient,
    bank: Bank,
}

/// What is stored, and told to everybody who asks again.
#[derive(Serialize, Deserialize)]
struct Receipt {
    number: usize,
    amount: u32,
}

type Answer = (StatusCode, String);

/// `POST /payments`, with an `Idempotency-Key`.
async fn pay(State(shop): State<Shop>, headers: HeaderMap, body: String) -> Answer {
    let id = headers.get("idempotency-key");
    let id = id.and_then(|id| id.to_str().ok()).map(str::to_owned);
    let (Some(id), Ok(amount)) = (id, body.parse()) else {
        return (StatusCode::BAD_REQUEST, "an amount and a key".to_owned());
    };
    // Where clients have accounts, the account belongs into the id: two may choose the same key.
    // In a task of its own: if the client hangs up, this handler is dropped, and what it awaits with it.
    let paid = tokio::spawn(async move {
        let once = shop.locks.once(format!("example:payment:{id}"));
        once.ttl(Duration::from_secs(10))
            .wait(Duration::from_secs(2))
            .run(async |_lease| {
                let number = shop.bank.charge(&id, amount).await?;
                Ok::<_, &'static str>(Receipt { number, amount })
            })
            .await
    });
    match paid.await {
        Ok(Ok(Outcome::Ran(receipt))) => (StatusCode::CREATED, told(&receipt)),
        // The same key for something else.
        Ok(Ok(Outcome::Repeated(receipt))) if receipt.amount != amount => {
            (StatusCode::UNPROCESSABLE_ENTITY, told(&receipt))
        }
        Ok(Ok(Outcome::Repeated(receipt))) => (StatusCode::OK, told(&receipt)),
        Ok(Ok(Outcome::Failed(error))) => (StatusCode::BAD_GATEWAY, error.to_owned()),
        Ok(Ok(Outcome::FailedBefore(error))) => (StatusCode::BAD_GATEWAY, error),
        Ok(Err(error)) if error.kind() == ErrorKind::WaitTimeout => {
            (StatusCode::CONFLICT, "it is being paid".to_owned())
        }
        // A key that is too long.
        Ok(Err(error)) if error.kind() == ErrorKind::InvalidInput => {
            (StatusCode::BAD_REQUEST, error.to_string())
        }
        // Nobody knows: the client asks again with the same key.
        Ok(Err(error)) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
        Err(panic) => (StatusCode::INTERNAL_SERVER_ERROR, panic.to_string()),
    }
}

/// `GET /payments/{id}`, for those who poll.
async fn look(State(shop): State<Shop>, Path(id): Path<String>) -> Answer {
    let once = shop.locks.once(format!("example:payment:{id}"));
    match once.status::<Receipt>().await {
        Ok(Some(Status::Done(receipt))) => (StatusCode::OK, told(&receipt)),
        Ok(Some(Status::Failed(error))) => (StatusCode::OK, format!("failed: {error}")),
        Ok(Some(_)) => (StatusCode::ACCEPTED, "it is being paid".to_owned()),
        Ok(None) => (StatusCode::NOT_FOUND, "no such payment".to_owned()),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
    }
}

fn told(receipt: &Receipt) -> String {
    format!("receipt {}: {} paid", receipt.number, receipt.amount)
}

async fn serve(shop: Shop) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let service = Router::new()
        .route("/payments", post(pay))
        .route("/payments/{id}", get(look))
        .with_state(shop);
    tokio::spawn(async move { axum::serve(listener, service).await });
    Ok(address)
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse().common;
    let locks = doclock::connect(&args.database().await?).await?;
    let bank = Bank::default();
    let shop = Shop {
        locks: locks.clone(),
        bank: bank.clone(),
    };
    let caller = Caller(serve(shop).await?);
    // Of this run: in a database of yours those of the last one are still known.
    let run = fastrand::u32(1000..10_000);
    let [red, green, blue] = ["red", "green", "blue"].map(|name| format!("{name}-{run}"));
    println!("A shop takes payments, by keys that its clients choose.");
    println!();
    println!("{:<10}  {:<28}  answer", "key", "request");
    let row = |key: &str, what: &str, (status, body): (u16, String)| {
        println!("{key:<10}  {what:<28}  {status} {body}");
        (status, body)
    };

    let (one, two, three) = tokio::join!(
        caller.pay(&red, 30),
        caller.pay(&red, 30),
        caller.pay(&red, 30)
    );
    let mut told = Vec::new();
    for answer in [one?, two?, three?] {
        told.push(row(&red, "30, three at once", answer));
    }
    told.push(row(&red, "30, again", caller.pay(&red, 30).await?));
    let first = &told.first().context("nobody was told")?.1;
    let agree = told.iter().all(|(_, body)| body == first);
    ensure!(agree, "two receipts: please report this bug");
    row(&red, "40, with the same key", caller.pay(&red, 40).await?);
    bank.set_down(true);
    row(
        &green,
        "50, while the bank is down",
        caller.pay(&green, 50).await?,
    );
    row(&green, "how is it?", caller.look(&green).await?);
    bank.set_down(false);
    row(&green, "50, again", caller.pay(&green, 50).await?);
    caller.hang_up(&blue, 20).await?;
    println!("{blue:<10}  {:<28}  -", "20, and hung up");
    row(&blue, "how is it?", caller.look(&blue).await?);
    row(&blue, "20, again", caller.pay(&blue, 20).await?);
    row(&blue, "how is it?", caller.look(&blue).await?);

    let (charges, asked) = bank.sums();
    ensure!(
        (charges, asked) == (3, 4),
        "{charges} charges, {asked} times asked for: please report this bug"
    );
    println!();
    println!(
        "3 payments, each charged once. The bank was asked {asked} times, once while it was down."
    );
    locks.shutdown().await;
    args.say_what_is_next("docs/patterns/once.md");
    Ok(())
}
