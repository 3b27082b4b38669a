//! Several worker processes that do something together.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use futures_util::future::try_join_all;
use serde::de::DeserializeOwned;
use tempfile::TempDir;

use super::loops::{Loop, Loops, Until};
use super::sections::{Kind, Section, read};
use super::{Task, done, tell};
use crate::processes::workers::Worker;

pub struct Team {
    pub workers: Vec<Worker>,
    folder: TempDir,
    logs: Vec<PathBuf>,
}

impl Team {
    /// Processes that have talked to the server: the first request of each takes its time.
    pub async fn start(url: &str, size: usize) -> Result<Self> {
        let mut team = Self {
            workers: try_join_all((0..size).map(|_| Worker::start(url))).await?,
            folder: tempfile::tempdir()?,
            logs: Vec::new(),
        };
        let warm = Loop {
            key: "warm".to_owned(),
            kind: Kind::Reader,
            fair: false,
            hold: Duration::ZERO,
            rest: Duration::ZERO,
            until: Until::Times(1),
        };
        team.loops(&[warm]).await?;
        Ok(team)
    }

    /// A new file for one process to write in.
    pub fn log(&mut self) -> PathBuf {
        let path = self.folder.path().join(self.logs.len().to_string());
        self.logs.push(path.clone());
        path
    }

    /// What was written since the last call.
    pub fn entries<T: DeserializeOwned>(&mut self) -> Result<Vec<T>> {
        let logs: Vec<PathBuf> = self.logs.drain(..).collect();
        let entries = read(&logs)?;
        for log in logs {
            std::fs::remove_file(log)?;
        }
        Ok(entries)
    }

    /// Each process does a task with a file of its own. When all are done: what they wrote.
    pub async fn each<T: DeserializeOwned>(
        &mut self,
        task: impl Fn(usize, PathBuf) -> Task,
    ) -> Result<Vec<T>> {
        for index in 0..self.workers.len() {
            let task = task(index, self.log());
            tell(&mut self.workers[index], &task).await?;
        }
        try_join_all(self.workers.iter_mut().map(done)).await?;
        self.entries()
    }

    /// Each process does these loops.
    pub async fn loops(&mut self, loops: &[Loop]) -> Result<Vec<Section>> {
        self.each(|_, log| {
            Task::Loops(Loops {
                log,
                loops: loops.to_vec(),
            })
        })
        .await
    }
}
