//! What stands in an item: keys of every shape, the user's own attributes, tokens that outlive it.

use doclock::{Backend, Error, ErrorKind, LeaseId, Mode, Payload, ReleaseRequest, RenewRequest};

use super::*;

on_both! {
    async fn a_lock_fits_a_single_table_design(server: Server) {
        let table = unique("single");
        let backend = server.cold(&table).partition_key("Table").sort_key("Order.By", "#lock");
        backend.setup().await?;
        let mine = request("user:1", Mode::Exclusive)?;
        let grant = granted(&backend, &mine).await?;
        held(&backend, &request("user:1", Mode::Exclusive)?).await?;
        backend.renew(&RenewRequest::new(&mine, grant.token, 2)).await?;
        let neighbour = Item::from([("Table".into(), text("user:1")), ("Order.By".into(), text("profile"))]);
        server.put(&table, neighbour).await?;
        for index in 0..3 {
            granted(&backend, &request(&format!("job:{index}"), Mode::Shared)?).await?;
        }
        let mut keys = listed(&backend, "").await?;
        keys.sort();
        assert_eq!(keys, ["job:0", "job:1", "job:2", "user:1"]);
        assert_eq!(listed(&backend, "job:").await?.len(), 3);
        backend.release(&ReleaseRequest::new(&mine.key, &mine.owner, &mine.id)).await?;
        assert!(record(&backend, &mine.key).await?.holders.is_empty());
        let error = server.cold(&table).inspect(&mine.key).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotSetUp, "{error}");
    }

    async fn every_key_and_owner_comes_back_as_it_was(server: Server) {
        let (backend, _) = server.backend().await?;
        let long = "é".repeat(512);
        for key in ["$$ROOT", "a.b.c", "#pk", ":one", "it's", "\"q\"", "🔒 key", "holders.#me", &long] {
            let mut mine = request(key, Mode::Exclusive)?;
            let owner: String = key.chars().take(100).collect();
            mine.owner = Owner::new(owner)?;
            mine.id = LeaseId::new("#id.$:x")?;
            mine.label = Some(doclock::Label::new("a \"label\" #1")?);
            mine.data = Some(Payload::new(&["d.$#"])?);
            granted(&backend, &mine).await?;
            let shown = record(&backend, &mine.key).await?;
            let holder = &shown.holders[0];
            assert_eq!((holder.owner(), holder.id()), (Some(&mine.owner), Some(&mine.id)));
            assert_eq!((&holder.label, &holder.data), (&mine.label, &mine.data));
            let purge_at = shown.purge_at.context("no purge_at")?;
            let kept = purge_at.saturating_since(holder.expires_at.saturating_add(doclock::RETENTION));
            assert!(kept < Duration::from_secs(1) && purge_at.as_millis() % 1000 == 0, "{shown:?}");
        }
        let mut keys = listed(&backend, "").await?;
        assert_eq!(keys.len(), 9);
        keys.retain(|key| key == "$$ROOT" || *key == long);
        assert_eq!(keys.len(), 2);
        assert_eq!(listed(&backend, "holders.#").await?, ["holders.#me"]);
    }

    async fn the_users_own_attributes_stay(server: Server) {
        let (backend, table) = server.backend().await?;
        let mine = request("key", Mode::Exclusive)?;
        granted(&backend, &mine).await?;
        let mut item = server.item(&table, "key").await?.context("no item")?;
        item.insert("owner".into(), AttributeValue::L(vec![text("mine"), number("1.5")]));
        item.insert("$x.y".into(), AttributeValue::Null(true));
        server.put(&table, item.clone()).await?;
        let extras = |item: &Item| (item.get("owner").cloned(), item.get("$x.y").cloned());

        held(&backend, &request("key", Mode::Shared)?).await?;
        assert_eq!(server.item(&table, "key").await?.as_ref(), Some(&item), "a refusal wrote");
        let mut heir = request("key", Mode::Shared)?;
        heir.owner = mine.owner;
        heir.replaces = Some(mine.id);
        granted(&backend, &heir).await?;
        granted(&backend, &request("key", Mode::Shared)?).await?;
        backend.release(&ReleaseRequest::new(&heir.key, &heir.owner, &heir.id)).await?;
        let after = server.item(&table, "key").await?.context("no item")?;
        assert_eq!(extras(&after), extras(&item));
        assert_ne!(after, item);
    }

    /// No purge and no operator makes the token go back.
    async fn tokens_outlive_the_item(server: Server) {
        let (backend, table) = server.backend().await?;
        let mut last = 0;
        for mode in [Mode::Exclusive, Mode::Exclusive, Mode::Shared, Mode::Permit { limit: 2 }] {
            let grant = granted(&backend, &request("key", mode)?).await?;
            assert!(grant.token > last, "{} after {last}", grant.token);
            assert!(grant.token < 1 << 53);
            last = grant.token;
            until_past(last).await?;
            server.delete(&table, "key").await?;
        }
    }

    /// The entry is its owner's, but what counts is whose acquisition stands there.
    async fn an_older_acquisition_touches_nothing(server: Server) {
        let (backend, table) = server.backend().await?;
        let old = request("key", Mode::Shared)?;
        let token = granted(&backend, &old).await?.token;
        let mut newer = request("key", Mode::Shared)?;
        newer.owner = old.owner.clone();
        granted(&backend, &newer).await?;
        let before = server.item(&table, "key").await?;
        assert_eq!(backend.renew(&RenewRequest::new(&old, token, 2)).await?, doclock::RenewOutcome::Lost);
        backend.release(&ReleaseRequest::new(&old.key, &old.owner, &old.id)).await?;
        assert_eq!(held(&backend, &old).await?.reason, doclock::Reason::Replaced);
        let stranger = ReleaseRequest::new(&old.key, &old.owner, &LeaseId::random());
        assert_eq!(backend.release(&stranger).await?, doclock::ReleaseOutcome::NotHeld);
        assert_eq!(server.item(&table, "key").await?, before);
        // The id is what counts, whatever owner is named with it.
        let release = ReleaseRequest::new(&newer.key, &Owner::random(), &newer.id);
        assert_eq!(backend.release(&release).await?, doclock::ReleaseOutcome::Released);
    }

    /// Whoever is not the newest acquisition of its owner does not come back.
    async fn a_closed_acquisition_stays_closed(server: Server) {
        let (backend, _) = server.backend().await?;
        let mine = request("key", Mode::Exclusive)?;
        granted(&backend, &mine).await?;
        backend.release(&ReleaseRequest::new(&mine.key, &mine.owner, &mine.id)).await?;
        assert_eq!(held(&backend, &mine).await?.reason, doclock::Reason::Closed);
        let mut shared = mine;
        shared.mode = Mode::Shared;
        assert_eq!(held(&backend, &shared).await?.reason, doclock::Reason::Closed);
    }
}

async fn listed(backend: &DynamoBackend, prefix: &str) -> Result<Vec<String>, Error> {
    let (mut keys, mut page) = (Vec::new(), None);
    loop {
        let found = backend.list(prefix, page.as_deref()).await?;
        let names = found.records.iter().map(|(key, _)| key.to_string());
        keys.extend(names);
        page = found.next;
        if page.is_none() {
            return Ok(keys);
        }
    }
}
