//! MongoDB: users with exactly the page's roles.

use std::sync::OnceLock;

use anyhow::{Context, Result};
use doclock::{Backend, Error, ErrorKind, Key, MongoBackend};
use mongodb::bson::{self, Bson, Document, doc};
use mongodb::{Client, Database};

use super::blocks;
use crate::support::replica_set::ReplicaSet;
use crate::support::servers::{self, Shared, shared};

/// The database and the collection that the page gives the rights on.
pub const DATABASE: &str = "app";
pub const PASSWORD: &str = "only-for-tests";

/// The command that makes the role of a lock's user, or of the one that calls `setup`.
fn role(setup: bool) -> Document {
    numbered(usize::from(setup))
}

pub fn numbered(number: usize) -> Document {
    let role = blocks("### MongoDB").swap_remove(number);
    bson::to_document(&role).expect("a document")
}

/// A node that wants a password, as root; beside it there are the page's users.
pub fn root_url() -> &'static str {
    static SERVER: Shared<ReplicaSet> = OnceLock::new();
    shared("mongodb", &SERVER, async || {
        let set = ReplicaSet::start_with_auth().await?;
        let url = set.url();
        make_users(&url).await?;
        Ok((set, url))
    })
}

/// Makes a user of the same name for each of the page's roles.
async fn make_users(root: &str) -> Result<()> {
    let admin = Client::with_uri_str(root).await?.database("admin");
    for setup in [false, true] {
        make_user(&admin, role(setup)).await?;
    }
    Ok(())
}

pub async fn make_user(admin: &Database, role: Document) -> Result<String> {
    let name = role.get_str("createRole")?.to_owned();
    admin.run_command(role).await?;
    let user = doc! { "createUser": &name, "pwd": PASSWORD, "roles": [&name] };
    admin.run_command(user).await?;
    Ok(name)
}

/// Where one of these users is asked for its password.
pub fn url(user: &str) -> String {
    let root = root_url();
    let url = root.replace("root:secret@", &format!("{user}:{PASSWORD}@"));
    assert!(url.contains(user), "{root} is not root's");
    url
}

pub async fn backend(url: &str) -> MongoBackend {
    let client = Client::with_uri_str(url).await.unwrap();
    MongoBackend::new(client.database(DATABASE))
}

/// What every client does, and what those who look after the locks do.
async fn everything(backend: &MongoBackend) -> Vec<(&'static str, Result<(), Error>)> {
    let key = Key::new(format!("privileges:{}", doclock::LeaseId::random())).unwrap();
    let owner = doclock::Owner::random();
    let ttl = doclock::Ttl::new(std::time::Duration::from_secs(10)).unwrap();
    let request = doclock::AcquireRequest::new(&key, &owner, doclock::Mode::Exclusive, ttl);
    let renewal = doclock::RenewRequest::new(&request, 1, 2);
    let release = doclock::ReleaseRequest::new(&key, &owner, &request.id);
    vec![
        ("acquire", backend.acquire(&request).await.map(drop)),
        ("renew", backend.renew(&renewal).await.map(drop)),
        ("release", backend.release(&release).await.map(drop)),
        ("inspect", backend.inspect(&key).await.map(drop)),
        ("list", backend.list("privileges", None).await.map(drop)),
    ]
}

/// The same role under another name, without one of its actions.
fn without(action: &str, setup: bool) -> Result<Document> {
    let mut role = role(setup);
    let name = format!("{}-without-{action}", role.get_str("createRole")?);
    role.insert("createRole", name);
    let privilege = role.get_array_mut("privileges")?.first_mut();
    let privilege = privilege.and_then(Bson::as_document_mut);
    let actions = privilege
        .context("no privilege")?
        .get_array_mut("actions")?;
    actions.retain(|other| other.as_str() != Some(action));
    Ok(role)
}

async fn user_without(action: &str, setup: bool) -> Result<MongoBackend> {
    let root = Client::with_uri_str(root_url()).await?;
    let admin = root.database("admin");
    let user = make_user(&admin, without(action, setup)?).await?;
    Ok(backend(&url(&user)).await)
}

fn actions(setup: bool) -> Result<Vec<String>> {
    let role = role(setup);
    let privileges = role.get_array("privileges")?;
    assert_eq!(privileges.len(), 1);
    let privilege = privileges[0].as_document().context("no privilege")?;
    let actions = privilege.get_array("actions")?.iter();
    Ok(actions
        .filter_map(|action| Some(action.as_str()?.to_owned()))
        .collect())
}

#[tokio::test]
async fn every_action_at_run_time_is_needed() -> Result<()> {
    if servers::without("mongodb") {
        return Ok(());
    }
    for (operation, result) in everything(&backend(&url("locker")).await).await {
        result.context(operation)?;
    }
    let mut refused = Vec::new();
    for action in actions(false)? {
        let backend = user_without(&action, false).await?;
        for (operation, result) in everything(&backend).await {
            let Err(error) = result else { continue };
            assert_eq!(
                error.kind(),
                ErrorKind::PermissionDenied,
                "{operation}: {error:?}"
            );
            refused.push(format!("{action}: {operation}"));
        }
        let is_needed = refused.iter().any(|refusal| refusal.starts_with(&action));
        assert!(is_needed, "`{action}` is too much");
    }
    let wanted = [
        "find: acquire",
        "find: renew",
        "find: release",
        "find: inspect",
        "find: list",
        "insert: acquire",
        "update: acquire",
        "update: renew",
        "update: release",
    ];
    assert_eq!(refused, wanted);
    Ok(())
}

#[tokio::test]
async fn every_action_of_setup_is_needed() -> Result<()> {
    if servers::without("mongodb") {
        return Ok(());
    }
    let root = Client::with_uri_str(root_url()).await?;
    let left = root.database(DATABASE).collection::<Document>("locks");
    let probes = doc! { "_id": { "$regex": "^doclock-setup-", "$options": "i" } };
    for action in actions(true)? {
        let result = user_without(&action, true).await?.setup().await;
        if action == "remove" {
            result?;
            assert_eq!(left.count_documents(probes.clone()).await?, 2);
            left.delete_many(probes.clone()).await?;
            continue;
        }
        let error = result.err().context(action)?;
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error:?}");
    }
    backend(&url("lockerSetup")).await.setup().await?;
    Ok(())
}
