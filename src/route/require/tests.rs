//! What requirements come to, case by case.

use super::*;

const NAMES: [&str; 3] = ["a", "b", "c"];

fn require(text: &str) -> Require {
    let index = |name: &str| NAMES.iter().position(|known| *known == name).map(CheckIndex);
    Require::parse(text).unwrap().resolve(index).unwrap()
}

fn outcome(letter: char) -> Outcome {
    match letter {
        'A' => Outcome::Absent,
        'V' => Outcome::Valid,
        'I' => Outcome::Invalid,
        other => panic!("{other}"),
    }
}

/// Runs a request whose checks end as `outcomes` says; returns the outcome, the check to blame
/// and those that were asked, such as `A a ab`.
fn run(text: &str, outcomes: &str) -> String {
    let outcomes: Vec<_> = outcomes.chars().map(outcome).collect();
    let mut known = vec![None; NAMES.len()];
    let mut asked = String::new();
    loop {
        match require(text).next(&known) {
            Step::Ask(CheckIndex(check)) => {
                assert!(known[check].is_none(), "asked twice");
                known[check] = Some(outcomes[check]);
                asked.push_str(NAMES[check]);
            }
            Step::Done(outcome, blame) => {
                let outcome = match outcome {
                    Outcome::Absent => 'A',
                    Outcome::Valid => 'V',
                    Outcome::Invalid => 'I',
                };
                let blame = blame.map_or("-", |check| NAMES[check.0]);
                return format!("{outcome} {blame} {asked}");
            }
        }
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn the_truth_table_holds() {
    // Requirement, outcomes of a, b and c: outcome, check to blame, checks asked.
    for (text, outcomes, expected) in [
        ("a", "VAA", "V - a"),
        ("a", "AAA", "A a a"),
        ("a", "IAA", "I a a"),
        ("a?", "VAA", "V - a"),
        ("a?", "AAA", "V - a"),
        ("a?", "IAA", "I a a"),
        // Both are needed; the first that fails ends it.
        ("a and b", "VVA", "V - ab"),
        ("a and b", "VAA", "A b ab"),
        ("a and b", "VIA", "I b ab"),
        ("a and b", "AVA", "A a a"),
        ("a and b", "AIA", "A a a"),
        ("a and b", "IVA", "I a a"),
        // Only absence moves on.
        ("a or b", "VAA", "V - a"),
        ("a or b", "AVA", "V - ab"),
        ("a or b", "AAA", "A a ab"),
        ("a or b", "AIA", "I b ab"),
        ("a or b", "IVA", "I a a"),
        ("a or b?", "AAA", "V - ab"),
        ("a or b?", "AIA", "I b ab"),
        // The second may be absent, not invalid.
        ("a and b?", "VAA", "V - ab"),
        ("a and b?", "VVA", "V - ab"),
        ("a and b?", "VIA", "I b ab"),
        ("a and b?", "AVA", "A a a"),
        // A group is anonymous only when nothing of it was presented.
        ("(a and b)?", "VVA", "V - ab"),
        ("(a and b)?", "AAA", "V - ab"),
        ("(a and b)?", "VAA", "A b ab"),
        ("(a and b)?", "AVA", "A a ab"),
        ("(a and b)?", "AIA", "I b ab"),
        ("(a and b)?", "VIA", "I b ab"),
        ("(a and b)?", "IVA", "I a a"),
        ("(a or b)?", "AAA", "V - ab"),
        ("(a or b)?", "AIA", "I b ab"),
        ("(a or b)?", "IAA", "I a a"),
        // On the left of `or`, what is missing moves on; what is invalid does not.
        ("a and b or c", "AAV", "V - abc"),
        ("a and b or c", "AAA", "A a abc"),
        ("a and b or c", "AVV", "V - abc"),
        ("a and b or c", "VAV", "V - abc"),
        ("a and b or c", "VAA", "A b abc"),
        ("a and b or c", "AIV", "I b ab"),
        ("a and b or c", "VIV", "I b ab"),
        ("a and b or c", "VAI", "I c abc"),
        ("a and b or c", "VVI", "V - ab"),
        ("a and b or a and c", "VAV", "V - abc"),
        ("a and b or a and c", "VAA", "A c abc"),
        ("a and b or a and c", "AAV", "A a ab"),
        ("a or b and c", "AVA", "A c abc"),
        ("a or b and c", "AAV", "A a ab"),
        ("b and (a and c) or a", "AVI", "I c bac"),
        // Half a credential is not anonymous, whatever else is optional.
        ("a and b or c?", "AAA", "V - abc"),
        ("a and b or c?", "VAA", "A b abc"),
        ("a and b or c?", "VAV", "V - abc"),
        ("(a and b or c)?", "AAA", "V - abc"),
        ("(a and b or c)?", "VAA", "A b abc"),
        // An optional part that is absent counts as nothing presented, one that is valid does not.
        ("a? and b or c", "AAV", "V - abc"),
        ("a? and b or c", "VAA", "A b abc"),
        ("a? and b or c", "VAV", "V - abc"),
        ("(a? and b)?", "AAA", "V - ab"),
        ("(a? and b)?", "VAA", "A b ab"),
        ("(a and b?)?", "AVA", "A a ab"),
        ("(a and b?)?", "VAA", "V - ab"),
        // Parentheses bind.
        ("a and (b or c)", "VAV", "V - abc"),
        ("a and (b or c)", "VAA", "A b abc"),
        ("a and (b or c)", "VIV", "I b ab"),
        ("a and (b or c)", "AVV", "A a a"),
        ("(a or b) and c", "AVV", "V - abc"),
        ("(a or b) and c", "AVA", "A c abc"),
        ("((a and b)? and c) or a", "AAV", "V - abc"),
        ("a and a", "VAA", "V - a"),
    ] {
        assert_eq!(run(text, outcomes), expected, "{text} with {outcomes}");
    }
}

#[test]
fn a_request_without_any_valid_credential_passes_only_what_is_optional() {
    for text in ["a", "a and b", "a or b", "a and b?", "a and b or c", "a and (b or c)?"] {
        assert!(run(text, "AAA").starts_with('A'), "{text}");
    }
    for text in ["a?", "(a and b)?", "a? and b?", "a or b?"] {
        assert!(run(text, "AAA").starts_with('V'), "{text}");
    }
}

#[test]
fn every_unknown_name_is_told_with_its_place() {
    let text = "a and (app or usr)";
    let index = |name: &str| (name == "a").then_some(CheckIndex(0));
    let unknown = Require::parse(text).unwrap().resolve(index).unwrap_err();
    let told: Vec<_> = unknown
        .iter()
        .map(|unknown| (&*unknown.name.text, text.get(unknown.name.range.clone()).unwrap()))
        .collect();
    assert_eq!(told, [("app", "app"), ("usr", "usr")]);
    assert_eq!(unknown[0].to_string(), "no check is named `app`");
}

#[test]
fn checks_are_listed_once_in_order_of_mention() {
    assert_eq!(require("b and (a or b)").checks(), [CheckIndex(1), CheckIndex(0)]);
}

#[test]
fn alternatives_that_were_not_needed_are_known() {
    let unasked = |text: &str, known: &str| -> String {
        let known: Vec<_> = known.chars().map(|c| (c != '-').then(|| outcome(c))).collect();
        require(text).unasked(&known).iter().map(|check| NAMES[check.0]).collect()
    };
    for (text, known, expected) in [
        ("a and b", "VV-", ""),
        ("a or b", "V--", "b"),
        ("a or b", "AV-", ""),
        ("a or b or c", "V--", "bc"),
        ("(a and b) or c", "VV-", "c"),
        ("(a and b) or (a and c)", "VV-", "c"),
        ("a or (b and b)", "V--", "b"),
        ("a and b?", "VA-", ""),
    ] {
        assert_eq!(unasked(text, known), expected, "{text} {known}");
    }
}
