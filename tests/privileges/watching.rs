//! MongoDB: who may not open a change stream waits without.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Result;
use doclock::{LockClient, MongoBackend};
use mongodb::Client;
use mongodb::bson::doc;
use mongodb::event::EventHandler;
use mongodb::event::command::CommandEvent;
use mongodb::options::ClientOptions;

use super::mongodb::{DATABASE, PASSWORD, numbered, root_url, url};
use crate::support::{poll, servers};

/// Waits for a lock as this user, until it asked so often. How the attempts to open a stream ended.
async fn streams(url: &str, key: &str, times: usize) -> Result<Vec<bool>> {
    let opened = Arc::new(Mutex::new(Vec::new()));
    let asked = Arc::new(Mutex::new(0));
    let mut options = ClientOptions::parse(url).await?;
    let (seen, counted) = (Arc::clone(&opened), Arc::clone(&asked));
    options.command_event_handler = Some(EventHandler::callback(move |event| match event {
        CommandEvent::Succeeded(end) if end.command_name == "aggregate" => {
            seen.lock().unwrap().push(true);
        }
        CommandEvent::Failed(end) if end.command_name == "aggregate" => {
            seen.lock().unwrap().push(false);
        }
        CommandEvent::Succeeded(end) if end.command_name == "findAndModify" => {
            *counted.lock().unwrap() += 1;
        }
        _ => {}
    }));
    let client = Client::with_options(options)?;
    let locks = LockClient::new(MongoBackend::new(client.database(DATABASE)));
    let holder = Client::with_uri_str(self::url("locker")).await?;
    let holder = LockClient::new(MongoBackend::new(holder.database(DATABASE)));
    let held = holder.lock(key).acquire().await?;
    let waiting = tokio::spawn(locks.lock(key).wait(Duration::from_mins(1)).acquire());
    poll::until("it asks", Duration::from_mins(1), || async {
        *asked.lock().unwrap() >= times
    })
    .await?;
    held.release().await?;
    waiting.await??.release().await?;
    Ok(opened.lock().unwrap().clone())
}

#[tokio::test]
async fn without_the_right_waiters_poll() -> Result<()> {
    if servers::without("mongodb") {
        return Ok(());
    }
    let key = format!("watching:{}", doclock::LeaseId::random());
    assert_eq!(streams(&url("locker"), &key, 6).await?, [false], "once");

    let root = Client::with_uri_str(root_url()).await?;
    let admin = root.database("admin");
    let watch = numbered(2);
    let name = watch.get_str("createRole")?.to_owned();
    admin.run_command(watch).await?;
    let both = doc! {
        "createUser": "watcher", "pwd": PASSWORD, "roles": ["locker", name],
    };
    admin.run_command(both).await?;
    assert_eq!(streams(&url("watcher"), &key, 2).await?, [true]);
    Ok(())
}
