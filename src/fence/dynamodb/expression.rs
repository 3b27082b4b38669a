//! A user's update expression, as far as it must be understood: its words.

use std::collections::HashMap;

/// The same expression with one assignment more.
pub(super) fn with_assignment(update: &str, assignment: &str) -> String {
    // Each clause may occur only once.
    match words(update).find(|word| word.text.eq_ignore_ascii_case("SET")) {
        Some(set) => {
            let (before, after) = update.split_at(set.end);
            format!("{before} {assignment},{after}")
        }
        None => format!("{update} SET {assignment}").trim_start().to_owned(),
    }
}

/// Whether an expression names this attribute, by itself or by a placeholder.
pub(super) fn mentions(
    update: &str,
    names: Option<&HashMap<String, String>>,
    attribute: &str,
) -> bool {
    words(update).any(|word| {
        let root = word.text.split('.').next().unwrap_or_default();
        let name = names.and_then(|names| names.get(root));
        name.map_or(root, String::as_str) == attribute
    })
}

/// A condition as one term of a longer one. In parentheses, but for one that is: DynamoDB refuses a second pair.
pub(super) fn grouped(condition: &str) -> String {
    let condition = condition.trim();
    let mut depth = 0_i32;
    // An expression has no text in quotes: every parenthesis is one.
    let closed = condition.char_indices().find(|(_, c)| {
        depth += match c {
            '(' => 1,
            ')' => -1,
            _ => 0,
        };
        depth == 0
    });
    match closed {
        Some((end, ')')) if end + 1 == condition.len() => condition.to_owned(),
        _ => format!("({condition})"),
    }
}

/// A keyword, a path or a placeholder, and where it ends.
struct Word<'a> {
    text: &'a str,
    end: usize,
}

fn words(expression: &str) -> impl Iterator<Item = Word<'_>> {
    let mut rest = 0;
    std::iter::from_fn(move || {
        let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
        let unread = expression.get(rest..)?;
        let start = rest + unread.find(|c: char| is_part(c) || matches!(c, '#' | ':'))?;
        let word = expression.get(start..)?;
        // A sigil begins a word, also right behind another.
        let first = word.chars().next().map_or(0, char::len_utf8);
        let length = word.get(first..)?.find(|c| !is_part(c));
        let end = length.map_or(expression.len(), |length| start + first + length);
        rest = end;
        let text = expression.get(start..end)?;
        Some(Word { text, end })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OURS: &str = "#ours = :ours";

    #[test]
    fn the_assignment_joins_the_set_clause() {
        for (update, expected) in [
            ("", "SET #ours = :ours"),
            ("SET a = :a", "SET #ours = :ours, a = :a"),
            ("ADD n :one", "ADD n :one SET #ours = :ours"),
            (
                "REMOVE #set SeT\n#a=:a",
                "REMOVE #set SeT #ours = :ours,\n#a=:a",
            ),
            ("SET#a = :set", "SET #ours = :ours,#a = :set"),
            ("ADD a.#set :set", "ADD a.#set :set SET #ours = :ours"),
        ] {
            assert_eq!(with_assignment(update, OURS), expected);
        }
    }

    #[test]
    fn a_condition_is_put_into_one_pair_of_parentheses() {
        for (condition, expected) in [
            ("a = :a", "(a = :a)"),
            (" (a = :a) ", "(a = :a)"),
            ("(a = :a) OR (b = :b)", "((a = :a) OR (b = :b))"),
            ("((a = :a) OR (b = :b))", "((a = :a) OR (b = :b))"),
            ("NOT (a = :a)", "(NOT (a = :a))"),
            ("size(a) > :a", "(size(a) > :a)"),
            ("(a = :a", "((a = :a)"),
            ("", "()"),
        ] {
            assert_eq!(grouped(condition), expected);
        }
    }

    #[test]
    fn a_path_is_known_by_its_root() {
        let names = HashMap::from([("#f".to_owned(), "fence".to_owned())]);
        for update in [
            "SET fence = :a",
            "REMOVE a,#f",
            "SET a=#f",
            "ADD fence.a :b",
            "SET b=fence[0]",
        ] {
            assert!(mentions(update, Some(&names), "fence"), "{update}");
        }
        for update in [
            "SET fences = :fence",
            "SET a.fence = :a",
            "SET #fence = :fence",
        ] {
            assert!(!mentions(update, Some(&names), "fence"), "{update}");
        }
    }

    /// A clause with its keyword in any case, and actions whose names look like keywords.
    fn clause(keyword: &'static str, separator: &'static str) -> impl Strategy<Value = String> {
        let name = prop_oneof![
            Just("#set"),
            Just("#SET.a"),
            Just("reset"),
            Just("set_[1]"),
            Just("x.#set"),
        ];
        let cases = proptest::collection::vec(any::<bool>(), keyword.len());
        (cases, proptest::collection::vec(name, 1..4)).prop_map(move |(upper, names)| {
            let letters = keyword.chars().zip(upper);
            let keyword: String = letters
                .map(|(c, upper)| if upper { c } else { c.to_ascii_lowercase() })
                .collect();
            let actions: Vec<_> = names
                .iter()
                .map(|name| format!("{name}{separator}:set"))
                .collect();
            format!("{keyword} {}", actions.join(","))
        })
    }

    /// The clauses of an expression, each by its keyword: an independent reading, of what `clause` writes.
    fn clauses(expression: &str) -> Vec<(String, Vec<String>)> {
        let mut clauses: Vec<(String, Vec<String>)> = Vec::new();
        for word in expression.split_whitespace() {
            let keyword = word.to_ascii_uppercase();
            if ["SET", "REMOVE", "ADD", "DELETE"].contains(&keyword.as_str()) {
                clauses.push((keyword, Vec::new()));
            } else {
                let (_, actions) = clauses.last_mut().unwrap();
                actions.push(word.to_owned());
            }
        }
        clauses
    }

    proptest! {
        #[test]
        fn every_other_action_stays(
            clauses_of_user in proptest::sample::subsequence(vec![0_usize, 1, 2], 0..=3).prop_shuffle(),
            set in clause("SET", "="),
            remove in clause("REMOVE", ""),
            add in clause("ADD", "\t"),
        ) {
            let all = [set, remove, add];
            let user: Vec<_> = clauses_of_user.iter().map(|clause| all[*clause].clone()).collect();
            let user = user.join(" ");
            let with = with_assignment(&user, "#ours=:ours");
            let mut read = clauses(&with);
            let sets = read.iter().filter(|(keyword, _)| keyword == "SET").count();
            prop_assert_eq!(sets, 1, "{}", with);
            let at = read.iter().position(|(keyword, _)| keyword == "SET").unwrap();
            let ours = read[at].1.remove(0);
            prop_assert_eq!(ours.trim_end_matches(','), "#ours=:ours");
            if read[at].1.is_empty() {
                read.remove(at);
            }
            prop_assert_eq!(read, clauses(&user));
        }

        #[test]
        fn any_text_is_read_to_its_end(text in any::<String>()) {
            let with = with_assignment(&text, OURS);
            prop_assert!(with.contains(OURS));
            mentions(&text, None, "fence");
        }
    }
}
