//! Many names in few words: `web-001` to `web-380` are `web-[001-380]`.

use std::collections::BTreeMap;

/// Fewer than this many in a row stand for themselves.
const LEAST_RUN: usize = 3;

/// Names that differ in one number alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folded {
    /// What stands for them.
    pub text: String,
    /// How many they are.
    pub names: usize,
}

/// Folds names, in an order that depends on nothing but the names. One that is there twice counts once.
pub fn fold<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<Folded> {
    // By what is around the number, the number itself.
    let mut groups: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for name in names {
        let (before, number, after) = split(name);
        groups.entry((before, after)).or_default().push(number);
    }
    let mut folded = Vec::with_capacity(groups.len());
    for ((before, after), mut numbers) in groups {
        numbers.sort_unstable_by_key(|digits| (digits.len(), *digits));
        numbers.dedup();
        fold_group(before, after, &numbers, &mut folded);
    }
    folded
}

fn fold_group(before: &str, after: &str, numbers: &[&str], folded: &mut Vec<Folded>) {
    let (mut ranges, mut in_ranges) = (Vec::new(), 0);
    let mut from = 0;
    while from < numbers.len() {
        let mut to = from;
        while to + 1 < numbers.len() && follows(numbers[to], numbers[to + 1]) {
            to += 1;
        }
        let count = to - from + 1;
        if count >= LEAST_RUN {
            ranges.push(format!("{}-{}", numbers[from], numbers[to]));
            in_ranges += count;
        } else {
            for number in &numbers[from..=to] {
                folded.push(Folded { text: format!("{before}{number}{after}"), names: 1 });
            }
        }
        from = to + 1;
    }
    if in_ranges > 0 {
        let text = format!("{before}[{}]{after}", ranges.join(","));
        folded.push(Folded { text, names: in_ranges });
    }
}

/// What is before the last number of a name, its digits, and what is behind it.
fn split(name: &str) -> (&str, &str, &str) {
    let digit = |c: char| c.is_ascii_digit();
    let Some(last) = name.rfind(digit) else { return (name, "", "") };
    let begin = name[..=last].rfind(|c: char| !digit(c)).map_or(0, |at| at + char_length(name, at));
    // More digits than a number has are no number.
    if last + 1 - begin > 18 {
        return (name, "", "");
    }
    (&name[..begin], &name[begin..=last], &name[last + 1..])
}

fn char_length(name: &str, at: usize) -> usize {
    name[at..].chars().next().map_or(1, char::len_utf8)
}

/// Whether people count from one to the other: `099` to `100`, `9` to `10`, and not `09` to `10` of another width.
fn follows(one: &str, next: &str) -> bool {
    let (Ok(number), Ok(after)) = (one.parse::<u64>(), next.parse::<u64>()) else { return false };
    let padded = one.len() > 1 && one.starts_with('0');
    number + 1 == after && (one.len() == next.len() || !padded && !next.starts_with('0'))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn told(names: &[&str]) -> Vec<(String, usize)> {
        fold(names.iter().copied()).into_iter().map(|folded| (folded.text, folded.names)).collect()
    }

    #[test]
    fn a_row_of_names_is_one_word() {
        let names: Vec<String> = (1..=380).map(|number| format!("web-{number:03}")).collect();
        let all = fold(names.iter().map(String::as_str));
        assert_eq!(all, [Folded { text: "web-[001-380]".to_owned(), names: 380 }]);
        assert_eq!(told(&["a9.eu", "a10.eu", "a8.eu", "a11.eu"]), [("a[8-11].eu".to_owned(), 4)]);
        let names = ["n1", "n2", "n3", "n7", "n10", "n11", "n12", "n1"];
        assert_eq!(told(&names), [("n7".to_owned(), 1), ("n[1-3,10-12]".to_owned(), 6)]);
    }

    #[test]
    fn what_does_not_follow_stands_for_itself() {
        assert_eq!(told(&["web-1", "web-2"]), [("web-1".to_owned(), 1), ("web-2".to_owned(), 1)]);
        assert_eq!(told(&["08", "09", "10", "7"]), [("7".to_owned(), 1), ("[08-10]".to_owned(), 3)]);
        assert_eq!(told(&["ä1ä", "ä2ä", "ä3ä", "ö"]), [("ä[1-3]ä".to_owned(), 3), ("ö".to_owned(), 1)]);
        let long = "9".repeat(30);
        assert_eq!(told(&[&long]), [(long.clone(), 1)]);
        assert_eq!(told(&[]), []);
    }

    proptest! {
        #[test]
        fn every_name_counts_once(names in proptest::collection::vec("[a-c]{0,2}[0-9]{0,4}[ä]{0,1}", 0..60)) {
            let different: BTreeSet<&str> = names.iter().map(String::as_str).collect();
            let folded = fold(names.iter().map(String::as_str));
            prop_assert_eq!(folded.iter().map(|folded| folded.names).sum::<usize>(), different.len());
        }
    }
}
