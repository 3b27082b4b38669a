//! Stands for a payment provider that keeps idempotency keys of its own, as the good ones do.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::sleep;

#[derive(Clone, Default)]
pub(crate) struct Bank(Arc<Mutex<Book>>);

#[derive(Default)]
struct Book {
    /// The number and the amount of each.
    charges: BTreeMap<String, (usize, u32)>,
    /// How often somebody asked.
    asked: usize,
    is_down: bool,
}

impl Bank {
    /// Charges so much, once for each id: whoever asks again gets the same number.
    pub(crate) async fn charge(&self, id: &str, amount: u32) -> Result<usize, &'static str> {
        sleep(Duration::from_millis(100)).await;
        let number = self.with(|book| {
            book.asked += 1;
            if book.is_down {
                return Err("the bank is down");
            }
            let next = (book.charges.len() + 1, amount);
            Ok(book.charges.entry(id.to_owned()).or_insert(next).0)
        })?;
        sleep(Duration::from_millis(100)).await;
        Ok(number)
    }

    pub(crate) fn set_down(&self, is_down: bool) {
        self.with(|book| book.is_down = is_down);
    }

    /// How many charges there are, and how often the bank was asked.
    pub(crate) fn sums(&self) -> (usize, usize) {
        self.with(|book| (book.charges.len(), book.asked))
    }

    fn with<T>(&self, act: impl FnOnce(&mut Book) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
