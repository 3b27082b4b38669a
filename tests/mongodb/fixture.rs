//! A collection of a test's own, the commands that its backend sends, and raw access to its documents.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use doclock::{
    AcquireOutcome, AcquireRequest, Backend, Grant, Key, Mode, MongoBackend, Owner, Ttl,
};
use mongodb::bson::{Bson, DateTime, Document, RawDocumentBuf, doc};
use mongodb::event::EventHandler;
use mongodb::event::command::CommandEvent;
use mongodb::options::{ClientOptions, CreateCollectionOptions};
use mongodb::{Client, Collection, Database};

use crate::support::servers;

const DATABASE: &str = "doclock_mongodb";

type Hook = Box<dyn FnOnce() + Send>;

/// The commands that a backend sent, and what a test does just before one of them.
#[derive(Clone, Default)]
pub struct Commands {
    names: Arc<Mutex<Vec<String>>>,
    hook: Arc<Mutex<Option<(usize, Hook)>>>,
}

impl Commands {
    /// Those since the last call.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.names.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Runs this before the `nth` command from now on is sent, from 1.
    pub fn before(&self, nth: usize, act: impl FnOnce() + Send + 'static) {
        self.take();
        *self.hook.lock().unwrap_or_else(PoisonError::into_inner) = Some((nth, Box::new(act)));
    }

    fn started(&self, name: String) {
        let sent = {
            let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
            names.push(name);
            names.len()
        };
        let mut hook = self.hook.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, act)) = hook.take_if(|(nth, _)| *nth == sent) {
            act();
        }
    }

    fn handler(&self) -> EventHandler<CommandEvent> {
        let commands = self.clone();
        // Not the asynchronous one: the driver does not wait for that before it sends.
        EventHandler::callback(move |event| {
            if let CommandEvent::Started(started) = event {
                commands.started(started.command_name);
            }
        })
    }
}

pub struct Fixture {
    pub backend: MongoBackend,
    pub commands: Commands,
    /// The backend's own client.
    pub client: Client,
    /// By a client of its own, whose commands are not counted.
    pub raw: Collection<Document>,
    pub admin: Client,
    pub app_name: String,
}

impl Fixture {
    pub async fn new() -> Result<Self> {
        Self::with(|_| {}, None).await
    }

    pub async fn with(
        set: impl FnOnce(&mut ClientOptions),
        collection: Option<CreateCollectionOptions>,
    ) -> Result<Self> {
        Self::on(servers::mongodb_url(), set, collection).await
    }

    pub async fn on(
        url: &str,
        set: impl FnOnce(&mut ClientOptions),
        collection: Option<CreateCollectionOptions>,
    ) -> Result<Self> {
        let app_name = format!("t{}", Owner::random());
        let commands = Commands::default();
        let mut options = ClientOptions::parse(url).await?;
        let admin = Client::with_options(options.clone())?;
        options.command_event_handler = Some(commands.handler());
        options.app_name = Some(app_name.clone());
        set(&mut options);
        let database = |client: &Client| -> Database { client.database(DATABASE) };
        let client = Client::with_options(options)?;
        let counted = database(&client).collection::<Document>(&app_name);
        database(&admin)
            .create_collection(&app_name)
            .with_options(collection)
            .await?;
        let backend = MongoBackend::with_collection(counted);
        backend.inspect(&Key::new("warm")?).await?;
        commands.take();
        Ok(Self {
            backend,
            commands,
            client,
            raw: database(&admin).collection(&app_name),
            admin,
            app_name,
        })
    }

    pub async fn document(&self, key: &str) -> Result<Option<Document>> {
        Ok(self.raw.find_one(doc! { "_id": key }).await?)
    }

    /// The document's very bytes.
    pub async fn bytes(&self, key: &str) -> Result<RawDocumentBuf> {
        let raw = self.raw.clone_with_type::<RawDocumentBuf>();
        raw.find_one(doc! { "_id": key })
            .await?
            .context("no document")
    }

    pub async fn put(&self, key: &str, document: &Document) -> Result<()> {
        self.raw
            .replace_one(doc! { "_id": key }, document)
            .upsert(true)
            .await?;
        Ok(())
    }

    pub async fn set(&self, key: &str, fields: Document) -> Result<()> {
        let set = self
            .raw
            .update_one(doc! { "_id": key }, doc! { "$set": fields });
        anyhow::ensure!(set.await?.matched_count == 1, "no document");
        Ok(())
    }

    /// Everything that replication saw of this collection's documents.
    pub async fn oplog(&self) -> Result<u64> {
        let oplog = self
            .admin
            .database("local")
            .collection::<Document>("oplog.rs");
        let namespace = self.raw.namespace().to_string();
        Ok(oplog.count_documents(doc! { "ns": namespace }).await?)
    }

    /// Puts this document under a key (none: removes what is there), from another thread: the caller may block.
    pub fn interfere(
        &self,
        key: &'static str,
        document: Option<Document>,
    ) -> impl FnOnce() + Send + use<> {
        let name = self.app_name.clone();
        elsewhere(async move || {
            let client = Client::with_uri_str(servers::mongodb_url()).await?;
            let raw = client.database(DATABASE).collection::<Document>(&name);
            match document {
                Some(document) => raw
                    .replace_one(doc! { "_id": key }, document)
                    .await
                    .map(|_| ())?,
                None => raw.delete_one(doc! { "_id": key }).await.map(|_| ())?,
            }
            Ok(())
        })
    }

    pub async fn granted(&self, request: &AcquireRequest) -> Result<Grant> {
        match self.backend.acquire(request).await? {
            AcquireOutcome::Granted(grant) => Ok(grant),
            held => anyhow::bail!("not granted: {held:?}"),
        }
    }

    /// Lets a fault meet this fixture's backend only, `times` times.
    pub async fn fail(&self, times: i32, data: Document) -> Result<()> {
        fail(&self.admin, &self.app_name, times, data).await
    }

    /// Lets a fault meet it from now on, from another thread: the caller may block.
    pub fn failing(&self, times: i32, data: Document) -> impl FnOnce() + Send + use<> {
        let name = self.app_name.clone();
        elsewhere(async move || {
            let client = Client::with_uri_str(servers::mongodb_url()).await?;
            fail(&client, &name, times, data).await
        })
    }
}

async fn fail(admin: &Client, app_name: &str, times: i32, mut data: Document) -> Result<()> {
    data.insert("appName", app_name);
    let mode = doc! { "times": times };
    let command = doc! { "configureFailPoint": "failCommand", "mode": mode, "data": data };
    admin.database("admin").run_command(command).await?;
    Ok(())
}

fn elsewhere<F: Future<Output = Result<()>>>(
    act: impl FnOnce() -> F + Send + 'static,
) -> impl FnOnce() + Send {
    move || {
        let thread = std::thread::spawn(|| tokio::runtime::Runtime::new()?.block_on(act()));
        thread.join().unwrap().unwrap();
    }
}

pub fn secs(n: u64) -> Ttl {
    Ttl::new(Duration::from_secs(n)).unwrap()
}

pub fn request(key: &str, mode: Mode) -> AcquireRequest {
    AcquireRequest::new(&Key::new(key).unwrap(), &Owner::random(), mode, secs(30))
}

pub fn past() -> Bson {
    DateTime::from_millis(1_600_000_000_000).into()
}

pub fn soon(ms: i64) -> Bson {
    DateTime::from_millis(DateTime::now().timestamp_millis() + ms).into()
}

/// A record that is free, with every optional field.
pub fn free() -> Document {
    doc! {
        "v": 1, "rev": 7_i64, "token": 41_i64, "mode": "permit", "limit": 3_i64, "holders": [], "queue": [],
        "freeAt": past(), "closed": "c", "slotStarted": past(), "slotDone": past(), "pinned": past(),
        "state": "{}", "purgeAt": past(),
    }
}

/// One whose holder, with every optional field, expired; and the rest of a minimum hold, expired too.
pub fn dead(id: &str) -> Document {
    let mut document = free();
    let holder = doc! {
        "owner": "o", "id": id, "token": 41_i64, "acquiredAt": past(), "expiresAt": past(), "ttlMs": 1000_i64,
        "seq": 1_i64, "label": "l", "data": "1",
    };
    let linger =
        doc! { "acquiredAt": past(), "expiresAt": past(), "ttlMs": 1000_i64, "seq": 0_i64 };
    document.insert("holders", vec![holder, linger]);
    document
}
