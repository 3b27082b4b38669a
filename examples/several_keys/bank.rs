//! What needs the locks: accounts in a system that knows no transactions.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::sleep;

/// Stands for three rows in a system that knows no transactions.
pub(crate) struct Bank(Mutex<BTreeMap<String, i32>>);

impl Default for Bank {
    fn default() -> Self {
        let accounts = ["a", "b", "c"].map(|account| (account.to_owned(), 100));
        Self(Mutex::new(accounts.into()))
    }
}

impl Bank {
    /// Reads both, thinks, writes both. If two do it at once, money is lost or made.
    pub(crate) async fn transfer(&self, from: &str, to: &str) {
        let [less, more] = [from, to].map(|account| self.accounts()[account]);
        sleep(Duration::from_millis(5)).await;
        self.accounts().insert(from.to_owned(), less - 1);
        self.accounts().insert(to.to_owned(), more + 1);
    }

    fn accounts(&self) -> MutexGuard<'_, BTreeMap<String, i32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn sum(&self) -> i32 {
        self.accounts().values().sum()
    }

    pub(crate) fn print(&self) {
        println!("account  before  after");
        for (account, balance) in self.accounts().iter() {
            println!("{account:7}  {:>6}  {balance:>5}", 100);
        }
        println!("sum      {:>6}  {:>5}", 300, self.sum());
    }
}
