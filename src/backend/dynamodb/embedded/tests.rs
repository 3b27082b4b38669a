//! That an expression names the map's attributes where it named the item's, and nothing else changes.

use proptest::prelude::*;

use super::*;

/// Names at the head of a path: after anything but a dot.
fn heads(text: &str) -> Vec<&str> {
    let mut heads = Vec::new();
    for (at, _) in text.match_indices('#') {
        if !text[..at].ends_with('.') {
            let rest = &text[at..];
            let end = rest[1..].find(|c: char| c != '_' && !c.is_ascii_alphanumeric());
            heads.push(&rest[..end.map_or(rest.len(), |end| end + 1)]);
        }
    }
    heads
}

proptest! {
    #[test]
    fn every_path_moves_and_nothing_else(
        text in r"([#:]?[a-z_]{1,6}[0-9]?(\.#[a-z_]{1,4})?[ ,()=<>+]{1,2}){0,12}",
    ) {
        let moved = moved_paths(&text);
        for head in heads(&moved) {
            prop_assert!(matches!(head, "#lock" | "#pk"), "{head} was left behind in {moved}");
        }
        prop_assert_eq!(moved.replace("#lock.", ""), text.replace("#lock.", ""));
        let ours = heads(&text).into_iter();
        let ours = ours.filter(|head| !matches!(*head, "#lock" | "#pk"));
        prop_assert_eq!(heads(&moved).len(), heads(&text).len());
        prop_assert_eq!(moved.matches("#lock.#").count(), ours.count());
    }
}

#[test]
fn paths_of_every_kind() {
    for (text, moved) in [
        ("#rev", "#lock.#rev"),
        ("#holders.#me.#id = :id", "#lock.#holders.#me.#id = :id"),
        (
            "size(#queue) = :zero AND #mode IN (:exclusive, :shared)",
            "size(#lock.#queue) = :zero AND #lock.#mode IN (:exclusive, :shared)",
        ),
        ("attribute_exists(#pk)", "attribute_exists(#pk)"),
        ("SET #lock = :lock", "SET #lock = :lock"),
        ("#pkg", "#lock.#pkg"),
        (
            "REMOVE #queue.#me, #tickets.#me",
            "REMOVE #lock.#queue.#me, #lock.#tickets.#me",
        ),
    ] {
        assert_eq!(moved_paths(text), moved);
    }
}

/// Nothing that is written sets a time to collect the record: it would be the item's.
#[test]
fn no_moved_expression_sets_a_time_to_purge() {
    for expression in [
        Expression::exclusive(false, None),
        Expression::exclusive(false, Some(7)),
        Expression::sharable(None),
        Expression::sharable(Some(7)),
        Expression::renewal(true, true, true, None),
        Expression::renewal(true, true, true, Some(7)),
        Expression::renewal(false, false, false, None),
    ] {
        assert!(expression.update.contains("#purge_at"), "{expression:?}");
        let moved = expression.moved("lock");
        assert!(!moved.update.contains("purge"), "{}", moved.update);
        assert!(!moved.all_values().contains_key(":purge"));
    }
}

#[test]
fn a_key_is_an_items_own_and_back() {
    let number = || AttributeValue::N("-7.5".to_owned());
    for (partition, sort) in [
        (text("a \"quoted\" string \u{7f}\u{85}\n"), None),
        (text("7"), None),
        (number(), None),
        (text("[\"a\",\"b\"]"), None),
        (text("a"), Some(number())),
        (number(), Some(text("{\"N\":\"1\"}"))),
    ] {
        let json = key_json(&partition, sort.as_ref()).unwrap();
        let key = crate::document::key(&json).unwrap();
        let values: Vec<_> = [Some(partition), sort].into_iter().flatten().collect();
        assert_eq!(item_key(&key), values, "{key}");
    }
}
