use std::future::Future;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::*;

const EXCLUSIVE: Mode = Mode::Exclusive;
const PACE: Pace = Pace {
    blind: Duration::from_millis(50),
    watching: Duration::from_secs(10),
    expiry: Duration::from_secs(30),
    ttl: Duration::from_secs(40),
};

fn key() -> Key {
    Key::new("k").unwrap()
}

fn live() -> Wakes {
    let wakes = Wakes::default();
    wakes.live();
    wakes
}

/// How long it waits, and whether it was told to ask.
async fn waits(wake: &mut Wake, stand: Stand) -> (Duration, bool) {
    let start = tokio::time::Instant::now();
    wake.chance(stand, PACE).await;
    (start.elapsed(), start.elapsed() < PACE.blind)
}

async fn is_told(wake: &mut Wake, stand: Stand) -> bool {
    waits(wake, stand).await.1
}

fn line(ahead: usize, queue: usize) -> Stand {
    Stand::InLine { ahead, queue }
}

#[tokio::test(start_paused = true)]
async fn who_is_alone_asks_at_once() {
    let wakes = live();
    let mut wake = wakes.watch(&key(), EXCLUSIVE);
    wakes.freed(&key());
    let waited = waits(&mut wake, Stand::Outside).await;
    assert_eq!(waited, (Duration::ZERO, true));
    assert!(wake.prompted);
}

#[tokio::test(start_paused = true)]
async fn nothing_new_is_no_reason_to_ask() {
    let wakes = live();
    let mut wake = wakes.watch(&key(), EXCLUSIVE);
    wakes.freed(&Key::new("other").unwrap());
    wakes.freed(&key());
    wake.asks();
    let waited = waits(&mut wake, Stand::Outside).await;
    assert_eq!(waited, (PACE.watching, false));

    wakes.freed(&key());
    wakes.granted(&key());
    assert!(!is_told(&mut wake, Stand::Outside).await, "it is gone");
    wakes.freed(&key());
    assert!(is_told(&mut wake, Stand::Outside).await);
}

#[tokio::test(start_paused = true)]
async fn who_is_not_told_asks_as_often_as_ever() {
    let wakes = Wakes::default();
    let mut wake = wakes.watch(&key(), EXCLUSIVE);
    let waited = waits(&mut wake, Stand::Outside).await;
    assert_eq!(waited, (PACE.blind, false));
    // Something may have happened before.
    wakes.live();
    assert!(is_told(&mut wake, Stand::Outside).await);
    assert!(!wake.prompted, "it races with nobody");
    wake.asks();
    wakes.blind();
    let waited = waits(&mut wake, Stand::Outside).await;
    assert_eq!(waited.0, PACE.blind);
}

/// A change of which it is told, though not of all.
#[tokio::test(start_paused = true)]
async fn news_are_news_even_if_some_are_missed() {
    let wakes = Wakes::default();
    let mut wake = wakes.watch(&key(), EXCLUSIVE);
    wakes.freed(&key());
    assert!(is_told(&mut wake, Stand::Outside).await);
}

/// Others of the process come and go, and nobody is put off by it.
#[tokio::test(start_paused = true)]
async fn a_wait_is_no_longer_for_what_happens_meanwhile() {
    // All readers with one who comes and goes, and what timers are coarse.
    let crowd = Duration::from_millis(43);
    for (is_live, most) in [(false, PACE.blind), (true, crowd)] {
        let wakes = Wakes::default();
        wakes.set_live(is_live);
        let mut readers: Vec<Wake> = Vec::new();
        readers.resize_with(40, || wakes.watch(&key(), Mode::Shared));
        let mut wake = wakes.watch(&key(), Mode::Shared);
        if is_live {
            wakes.freed(&key());
        }
        let start = tokio::time::Instant::now();
        let restless = async {
            loop {
                tokio::time::sleep(Duration::from_millis(1)).await;
                wakes.granted(&key());
                drop(wakes.watch(&key(), Mode::Shared));
            }
        };
        tokio::select! {
            () = wake.chance(Stand::Outside, PACE) => {}
            () = restless => {}
        }
        assert!(start.elapsed() <= most, "{is_live}: {:?}", start.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn those_whom_one_stream_told_do_not_ask_as_one_when_it_breaks() {
    let wakes = live();
    let mut wake = wakes.watch(&key(), EXCLUSIVE);
    let start = tokio::time::Instant::now();
    let breaks = async {
        tokio::time::sleep(PACE.blind * 3).await;
        wakes.blind();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = wake.chance(Stand::Outside, PACE) => {}
        () = breaks => {}
    }
    assert_eq!(start.elapsed(), PACE.blind * 4);
}

#[tokio::test(start_paused = true)]
async fn of_one_process_one_asks() {
    let wakes = live();
    let mut first = wakes.watch(&key(), EXCLUSIVE);
    let mut second = wakes.watch(&key(), EXCLUSIVE);
    let mut reader = wakes.watch(&key(), Mode::Shared);
    wakes.freed(&key());
    assert!(!is_told(&mut second, Stand::Outside).await);
    assert!(is_told(&mut reader, Stand::Outside).await);
    assert!(is_told(&mut first, Stand::Outside).await);
    drop(first);
    assert!(is_told(&mut second, Stand::Outside).await, "it comes next");
    assert_eq!(wakes.waiters(), 2);
}

/// The holders' expiry is no change of the record.
#[tokio::test(start_paused = true)]
async fn one_asks_when_the_holders_expire() {
    let wakes = live();
    let mut first = wakes.watch(&key(), EXCLUSIVE);
    let mut second = wakes.watch(&key(), EXCLUSIVE);
    let pace = Pace {
        expiry: Duration::from_secs(3),
        ..PACE
    };
    let start = tokio::time::Instant::now();
    first.chance(Stand::Outside, pace).await;
    assert_eq!(start.elapsed(), pace.expiry);
    // And the other only because nobody did for so long.
    second.chance(Stand::Outside, pace).await;
    assert_eq!(start.elapsed(), pace.expiry + 2 * pace.watching);
}

/// Whoever was in its way when it was refused is long gone.
#[tokio::test(start_paused = true)]
async fn who_becomes_the_first_gives_the_holder_its_time() {
    let secs = Duration::from_secs;
    for (ttl, most) in [(secs(2), secs(2)), (secs(60), PACE.watching)] {
        let wakes = live();
        let first = wakes.watch(&key(), EXCLUSIVE);
        let mut second = wakes.watch(&key(), EXCLUSIVE);
        let pace = Pace {
            expiry: secs(3),
            ttl,
            ..PACE
        };
        let start = tokio::time::Instant::now();
        let leaves = async {
            tokio::time::sleep(secs(15)).await;
            drop(first);
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = second.chance(Stand::Outside, pace) => {}
            () = leaves => {}
        }
        assert_eq!(start.elapsed(), secs(15) + most);
    }
}

#[tokio::test(start_paused = true)]
async fn in_line_those_ask_whose_turn_it_may_be() {
    let permits = Mode::Permit { limit: 2 };
    for (mode, ahead, granted, told) in [
        (EXCLUSIVE, 0, 0, true),
        (EXCLUSIVE, 1, 0, false),
        (EXCLUSIVE, 1, 1, true),
        (EXCLUSIVE, 3, 2, false),
        (Mode::Shared, 0, 0, true),
        (Mode::Shared, 1, 0, false),
        (permits, 1, 0, true),
        (permits, 2, 0, false),
        (permits, 2, 1, true),
    ] {
        let wakes = live();
        let mut wake = wakes.watch(&key(), mode);
        for _ in 0..granted {
            wakes.granted(&key());
        }
        wakes.freed(&key());
        let asks = is_told(&mut wake, line(ahead, 9)).await;
        assert_eq!(asks, told, "{mode:?}, {ahead} ahead, {granted} granted");
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_passed_again_and_again_asks_whoever_has_it() {
    for (mode, stand, times, told) in [
        (EXCLUSIVE, Stand::Outside, PASSED, true),
        (EXCLUSIVE, Stand::Outside, PASSED - 1, false),
        (EXCLUSIVE, line(9, 9), PASSED, false),
    ] {
        let wakes = live();
        let mut wake = wakes.watch(&key(), mode);
        let mut second = wakes.watch(&key(), mode);
        for _ in 0..times {
            wakes.freed(&key());
            wakes.granted(&key());
        }
        assert!(!is_told(&mut second, stand).await, "not the first");
        let asks = is_told(&mut wake, stand).await;
        assert_eq!(asks, told, "{stand:?}, {times}");
        assert_eq!(wake.is_passed(), times >= PASSED);
        wake.asks();
        assert!(!wake.is_passed());
    }
}

#[test]
fn who_loses_a_race_holds_back() {
    let wakes = live();
    let mut wake = wakes.watch(&key(), EXCLUSIVE);
    wake.answered(false);
    assert_eq!(wake.window(), Duration::ZERO, "nobody told it to ask");
    for expected in [4, 8, 16, 32, 64, 128, 250, 250] {
        wake.prompted = true;
        wake.answered(false);
        assert_eq!(wake.window().as_millis(), expected);
    }
    wake.prompted = true;
    wake.answered(true);
    assert_eq!(wake.window(), Duration::from_millis(250).mul_f64(0.75));
    for _ in 0..30 {
        wake.prompted = true;
        wake.answered(true);
    }
    assert_eq!(wake.window(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn it_is_unused_when_nobody_waited_for_a_while() {
    let wakes = Wakes::default();
    let wake = wakes.watch(&key(), EXCLUSIVE);
    let linger = Duration::from_secs(1);
    let mut unused = Box::pin(wakes.unused(linger));
    let mut context = Context::from_waker(Waker::noop());
    assert_eq!(unused.as_mut().poll(&mut context), Poll::Pending);
    tokio::time::sleep(linger * 2).await;
    assert_eq!(unused.as_mut().poll(&mut context), Poll::Pending);
    drop(wake);
    assert_eq!(unused.as_mut().poll(&mut context), Poll::Pending);
    tokio::time::sleep(linger / 2).await;
    let again = wakes.watch(&key(), EXCLUSIVE);
    assert_eq!(unused.as_mut().poll(&mut context), Poll::Pending);
    drop(again);
    let start = tokio::time::Instant::now();
    unused.await;
    assert_eq!(start.elapsed(), linger);
    assert!(wakes.state().keys.is_empty());
}
