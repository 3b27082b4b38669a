//! Names and payloads: whatever the user chooses is data, and comes back as it was.

use std::collections::BTreeMap;

use super::Fixture;
use super::scene::{LONG, Scene, assert_all_differ, fresh_key, renewal, valid};
use crate::record::{MAX_PAYLOAD_BYTES, MAX_TTL};
use crate::{
    AcquireRequest, ErrorKind, Key, Label, LeaseId, MAX_KEY_BYTES, MAX_OWNER_BYTES, Mode, Owner,
    Payload, Ttl,
};

/// What one query language or another makes something of.
const ODD: [&str; 22] = [
    "$$ROOT",
    "$$REMOVE",
    "$set",
    "$",
    ".",
    "a.b.c",
    "..",
    "#token",
    ":id",
    "\"double\" and 'single'",
    "back\\slash \\u0000 \\n",
    "100 %s %d %%",
    "{\"json\": [1, null]}",
    "; DROP TABLE locks; --",
    "*?[a-z]+(.*)|^$",
    "a/b//c",
    " spaces around ",
    "null",
    "0",
    "héllo wörld, 你好, שלום",
    "🔒👩‍👩‍👧",
    "\u{feff}\u{200b}\u{202e}\u{e000}",
];

/// A name is a plain name: as key, owner, id, label or payload, whatever it means to the database.
pub async fn odd_names_are_plain_names(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "odd").await;
    for odd in ODD {
        let name = format!("{}:{odd}", fresh_key("odd"));
        let scene = scene.on(valid(Key::new(name)));
        round_trip(&scene, Mode::Exclusive, odd).await;
        round_trip(&scene, Mode::Shared, odd).await;
    }
}

/// A whole life of a lease with these names.
async fn round_trip(scene: &Scene<'_>, mode: Mode, odd: &str) {
    let mut request = scene.request(mode, LONG);
    request.owner = valid(Owner::new(odd));
    request.id = valid(LeaseId::new(format!("{odd}{}", LeaseId::random())));
    request.label = Some(valid(Label::new(odd)));
    request.data = Some(valid(Payload::new(&BTreeMap::from([(odd, odd)]))));
    let grant = scene.granted(&request).await;
    assert_is_kept(scene, &request).await;
    let refusal = scene.held_untouched(&scene.exclusive(LONG)).await;
    let occupant = refusal.occupants.first();
    let claimant = occupant.and_then(|occupant| occupant.claimant.as_ref());
    assert_eq!(
        claimant.map(|of| &of.owner),
        Some(&request.owner),
        "{refusal:?}"
    );
    scene.renewed(&renewal(&request, &grant, 2)).await;
    assert_is_kept(scene, &request).await;
    scene.released(&request).await;
    let closed = scene.record().await.closed;
    assert_eq!(closed.as_ref(), Some(&request.id), "{odd}");
}

async fn assert_is_kept(scene: &Scene<'_>, request: &AcquireRequest) {
    let holder = scene.holder(request).await;
    assert_eq!(holder.owner(), Some(&request.owner));
    assert_eq!(holder.label, request.label);
    let json = |payload: &Option<Payload>| payload.as_ref().map(|p| p.as_json().to_owned());
    assert_eq!(json(&holder.data), json(&request.data));
}

/// Keys are compared byte by byte: not by case, not by how an accent is written, not without trailing spaces.
pub async fn keys_that_look_alike_are_different_keys(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "alike").await;
    let base = fresh_key("alike");
    let endings = [
        "k", "K", "k ", " k", "é", "e\u{301}", "ﬁ", "fi", "ß", "ss", "k.", "1", "01",
    ];
    let mut tokens = Vec::new();
    for ending in endings {
        let scene = scene.on(valid(Key::new(format!("{base}:{ending}"))));
        let request = scene.exclusive(LONG);
        tokens.push((scene.granted(&request).await.token, ending));
        scene.held_untouched(&scene.exclusive(LONG)).await;
    }
    let owners = ["k", "K", "é", "e\u{301}"].map(|owner| valid(Owner::new(owner)));
    for owner in owners {
        let mut request = scene.shared(LONG);
        request.owner = owner;
        scene.granted(&request).await;
    }
    assert_eq!(
        scene.record().await.holders.len(),
        4,
        "owners are compared byte by byte"
    );
    assert_all_differ(tokens, "keys");
}

/// Keys of 1,024 bytes, owners and labels of 256, payloads of 4,096: on a record with room for several of them.
pub async fn the_longest_names_and_payloads_come_back_as_they_were(fixture: &dyn Fixture) {
    let start = Scene::open(fixture, "long").await;
    for filling in ["x", "\"", "€"] {
        let scene = start.on(valid(Key::new(filled(
            start.key.as_str(),
            filling,
            MAX_KEY_BYTES,
        ))));
        let mut request = scene.shared(LONG);
        request.owner = valid(Owner::new(filled("", filling, MAX_OWNER_BYTES)));
        request.label = Some(valid(Label::new(filled("", filling, MAX_OWNER_BYTES))));
        let json = filled("", "€", MAX_PAYLOAD_BYTES - 2);
        request.data = Some(valid(Payload::new(&json)));
        let grant = scene.granted(&request).await;
        assert_is_kept(&scene, &request).await;
        for _ in 0..3 {
            let mut other = scene.shared(LONG);
            other.data = request.data.clone();
            scene.granted(&other).await;
        }
        scene.renewed(&renewal(&request, &grant, 2)).await;
        assert_is_kept(&scene, &request).await;
        scene.released(&request).await;
    }
    let error = Key::new("x".repeat(MAX_KEY_BYTES + 1)).err();
    assert_eq!(
        error.map(|error| error.kind()),
        Some(ErrorKind::InvalidInput)
    );
}

/// `start`, filled up to exactly so many bytes.
fn filled(start: &str, filling: &str, bytes: usize) -> String {
    let mut text = start.to_owned();
    while text.len() + filling.len() <= bytes {
        text.push_str(filling);
    }
    let rest = bytes - text.len();
    text.push_str(&"x".repeat(rest));
    text
}

/// The longest ttl is kept to the millisecond.
pub async fn the_longest_ttl_is_kept(fixture: &dyn Fixture) {
    let scene = Scene::open(fixture, "longest").await;
    let request = scene.exclusive(MAX_TTL);
    let grant = scene.granted(&request).await;
    let valid_for = grant.validity.valid_for;
    assert!(valid_for <= MAX_TTL && valid_for > MAX_TTL / 2, "{grant:?}");
    let holder = scene.holder(&request).await;
    assert_eq!(Ok(holder.ttl), Ttl::new(MAX_TTL).map_err(|_| ()));
    let lives = holder.expires_at.saturating_since(holder.acquired_at);
    assert!(lives >= MAX_TTL, "{holder:?}");
}
