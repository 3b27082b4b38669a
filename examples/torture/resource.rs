//! What the locks protect: a register for each key. It is kept twice: fenced, which refuses a token that is lower than the
//! highest it has seen, and unfenced, which believes every writer. The second is the control: it must go wrong.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::child::{orders, say};
use crate::history::What;
use crate::journal::Journal;

struct Resource {
    journal: Journal,
    /// The highest token for each key.
    highest: Mutex<HashMap<String, u64>>,
    /// Otherwise even the fenced register accepts everything.
    fenced: bool,
}

/// Serves until it is told to stop.
pub(crate) async fn serve(folder: &Path, fenced: bool) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let resource = Arc::new(Resource {
        journal: Journal::open(folder, "resource", 0)?,
        highest: Mutex::default(),
        fenced,
    });
    let mut stopped = orders();
    say(&listener.local_addr()?.to_string());
    loop {
        tokio::select! {
            writer = listener.accept() => {
                tokio::spawn(Arc::clone(&resource).listen(writer?.0));
            }
            _ = stopped.changed() => return Ok(()),
        }
    }
}

impl Resource {
    async fn listen(self: Arc<Self>, mut writer: TcpStream) -> Result<()> {
        let (from, mut to) = writer.split();
        let mut lines = BufReader::new(from).lines();
        while let Some(line) = lines.next_line().await? {
            let mut words = line.split(' ');
            let mut word = || words.next().context("a word is missing");
            let (client, key, token) = (word()?.parse()?, word()?, word()?.parse()?);
            self.write(client, key, token)?;
            to.write_all(b"done\n").await?;
        }
        Ok(())
    }

    /// To both registers, one write at a time: the journal has them in the order in which they were accepted.
    fn write(&self, client: u32, key: &str, token: u64) -> Result<()> {
        let mut highest = self.highest.lock().unwrap_or_else(PoisonError::into_inner);
        let highest = highest.entry(key.to_owned()).or_default();
        let accepted = !self.fenced || token >= *highest;
        if accepted {
            *highest = token;
        }
        for (fenced, accepted) in [(true, accepted), (false, true)] {
            let key = key.to_owned();
            let write = What::Write {
                key,
                token,
                fenced,
                accepted,
            };
            self.journal.note_of(client, write)?;
        }
        Ok(())
    }
}

/// A client's connection to the resource.
pub(crate) struct Connection {
    stream: tokio::sync::Mutex<BufReader<TcpStream>>,
    client: u32,
}

impl Connection {
    pub(crate) async fn open(resource: SocketAddr, client: u32) -> Result<Self> {
        let stream = TcpStream::connect(resource).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream: tokio::sync::Mutex::new(BufReader::new(stream)),
            client,
        })
    }

    /// Writes with this token, and waits until it is accepted or refused: the resource's journal knows which.
    pub(crate) async fn write(&self, key: &str, token: u64) -> Result<()> {
        let mut stream = self.stream.lock().await;
        let line = format!("{} {key} {token}\n", self.client);
        stream.write_all(line.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_line(&mut answer).await?;
        anyhow::ensure!(answer == "done\n", "the resource says {answer:?}");
        Ok(())
    }
}
