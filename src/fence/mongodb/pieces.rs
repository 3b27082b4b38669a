//! What makes a user's filter and update guarded ones: documents in, documents out.

use ::mongodb::bson::{Bson, Document, doc};
use ::mongodb::options::UpdateModifications;

use super::super::invalid;
use crate::{Error, Result};

/// What matches the user's filter, and has no token or one that is not newer. Anything else in the field matches neither.
pub(super) fn filter(filter: Document, field: &str, token: i64) -> Document {
    let older = doc! {
        // An array matches by its elements.
        "$not": { "$type": "array" },
        "$type": ["int", "long"],
        "$lte": token,
    };
    doc! { "$and": [filter, { "$or": [{ field: { "$exists": false } }, { field: older }] }] }
}

/// The user's update, and the token.
pub(super) fn update(
    update: UpdateModifications,
    field: &str,
    token: i64,
) -> Result<UpdateModifications> {
    match update {
        UpdateModifications::Document(document) => {
            raised(document, field, token).map(UpdateModifications::Document)
        }
        UpdateModifications::Pipeline(mut stages) => {
            if stages.iter().any(|stage| is_named_by(stage, field)) {
                return Err(touched(field));
            }
            stages.push(doc! { "$set": { field: token } });
            Ok(UpdateModifications::Pipeline(stages))
        }
        _ => Err(invalid(
            "an update of a kind that is not known here: use a document or a pipeline",
        )),
    }
}

fn raised(mut update: Document, field: &str, token: i64) -> Result<Document> {
    if let Some(name) = update.keys().find(|name| !name.starts_with('$')) {
        return Err(invalid(format!(
            "`{name}` is no update operator: a whole document cannot replace another behind a fence; use `$set`"
        )));
    }
    if is_named_by(&update, field) {
        return Err(touched(field));
    }
    let fields = update
        .entry("$max".to_owned())
        .or_insert_with(|| doc! {}.into());
    let Bson::Document(fields) = fields else {
        return Err(invalid("`$max` of the update is no document"));
    };
    fields.insert(field, token);
    Ok(update)
}

/// Whether an update's operator, or a stage, names the fence's own field.
fn is_named_by(update: &Document, field: &str) -> bool {
    let is_field = |path: &str| path.split('.').next() == Some(field);
    update.iter().any(|(operator, operand)| match operand {
        Bson::Document(fields) => fields.iter().any(|(name, value)| {
            let renamed = value.as_str().filter(|_| operator == "$rename");
            is_field(name) || renamed.is_some_and(is_field)
        }),
        Bson::String(name) => is_field(name),
        Bson::Array(names) => names.iter().filter_map(Bson::as_str).any(is_field),
        _ => false,
    })
}

/// Whether a filter says which one document it means, so that an upsert cannot insert beside it.
pub(super) fn pins_id(filter: &Document) -> bool {
    match filter.get("_id") {
        None | Some(Bson::RegularExpression(_)) => false,
        Some(Bson::Document(id)) => match id.keys().next() {
            Some(first) if first.starts_with('$') => id.len() == 1 && first == "$eq",
            _ => true,
        },
        Some(_) => true,
    }
}

pub(super) fn touched(field: &str) -> Error {
    invalid(format!(
        "field `{field}` keeps the fencing token, and is written by the fence alone: leave it out, or name another one by \
         `Fence::field`"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    fn document(update: UpdateModifications) -> Document {
        match update {
            UpdateModifications::Document(document) => document,
            UpdateModifications::Pipeline(stages) => doc! { "stages": stages },
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_token_is_merged_into_any_update() {
        let guarded = |user: UpdateModifications| document(update(user, "fence", 7).unwrap());
        let max = doc! { "fence": 7_i64 };
        assert_eq!(guarded(doc! {}.into()), doc! { "$max": &max });
        assert_eq!(
            guarded(doc! { "$inc": { "n": 1 }, "$max": { "top": 3 } }.into()),
            doc! { "$inc": { "n": 1 }, "$max": { "top": 3, "fence": 7_i64 } }
        );
        assert_eq!(
            guarded(vec![doc! { "$unset": ["a", "b"] }].into()),
            doc! { "stages": [{ "$unset": ["a", "b"] }, { "$set": max }] }
        );
    }

    #[test]
    fn an_update_of_the_fence_itself_is_refused() {
        let updates: [UpdateModifications; 9] = [
            doc! { "$set": { "fence": 1 } }.into(),
            doc! { "$max": { "fence": 1 } }.into(),
            doc! { "$unset": { "fence.a": "" } }.into(),
            doc! { "$rename": { "a": "fence" } }.into(),
            doc! { "$setOnInsert": { "fence": 1 } }.into(),
            vec![doc! { "$set": { "fence": 1 } }].into(),
            vec![doc! { "$unset": "fence" }].into(),
            vec![doc! { "$unset": ["a", "fence"] }].into(),
            doc! { "name": "a whole document" }.into(),
        ];
        for user in updates {
            let shown = format!("{user:?}");
            let error = update(user, "fence", 7).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{shown}");
        }
        // A value is none of its business.
        update(
            doc! { "$set": { "a": "fence", "fences": 1 } }.into(),
            "fence",
            7,
        )
        .unwrap();
    }

    #[test]
    fn only_equality_pins_an_id() {
        for pinned in [
            doc! { "_id": 1, "a": 2 },
            doc! { "_id": { "a": 1 } },
            doc! { "_id": { "$eq": 1 } },
        ] {
            assert!(pins_id(&pinned), "{pinned}");
        }
        for loose in [
            doc! { "a": 1 },
            doc! { "_id": { "$in": [1] } },
            doc! { "_id": { "$eq": 1, "$gt": 0 } },
            doc! { "_id": { "$regex": "^a" } },
        ] {
            assert!(!pins_id(&loose), "{loose}");
        }
    }
}
