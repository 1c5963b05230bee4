//! What can be said of a requirement at load time, by trying every outcome of every check.

use super::CheckIndex;
use super::Outcome;
use super::Require;
use super::Step;

/// The most checks whose outcomes are all tried: 3⁹ requests. Two requirements that mention more
/// between them are judged by their worst case instead.
const MAX_TRIED: usize = 9;

const OUTCOMES: [Outcome; 3] = [Outcome::Absent, Outcome::Valid, Outcome::Invalid];

impl Require {
    /// Whether some request passes here that `default` would refuse.
    pub fn weaker_than(&self, default: &Self) -> bool {
        let mut checks = self.checks();
        checks.extend(default.checks());
        checks.sort_unstable();
        checks.dedup();
        some_request(&checks, |outcomes| {
            self.passes(outcomes).is_some() && default.passes(outcomes).is_none()
        })
    }

    /// Whether some request could pass with two valid checks of one role, such as two users.
    /// Checks without a role yield nobody.
    pub fn could_yield_two<R: PartialEq>(&self, role: impl Fn(CheckIndex) -> Option<R>) -> bool {
        let checks = self.checks();
        some_request(&checks, |outcomes| {
            let mut roles: Vec<R> = Vec::new();
            self.passes(outcomes).unwrap_or_default().into_iter().any(|check| {
                let Some(role) = role(check) else { return false };
                let is_second = roles.contains(&role);
                roles.push(role);
                is_second
            })
        })
    }

    /// The checks that were asked and valid, if a request with these outcomes passes.
    fn passes(&self, outcomes: &[(CheckIndex, Outcome)]) -> Option<Vec<CheckIndex>> {
        let last = outcomes.iter().map(|(check, _)| check.0).max().unwrap_or(0);
        let mut known = vec![None; last + 1];
        let mut valid = Vec::new();
        loop {
            match self.next(&known) {
                Step::Done(outcome, _) => return (outcome == Outcome::Valid).then_some(valid),
                Step::Ask(check) => {
                    let (_, outcome) = outcomes.iter().find(|(known, _)| *known == check)?;
                    *known.get_mut(check.0)? = Some(*outcome);
                    if *outcome == Outcome::Valid {
                        valid.push(check);
                    }
                }
            }
        }
    }
}

/// Whether `holds` for some assignment of outcomes to `checks`, or there are too many to try.
fn some_request(
    checks: &[CheckIndex],
    mut holds: impl FnMut(&[(CheckIndex, Outcome)]) -> bool,
) -> bool {
    let Some(count) = (checks.len() <= MAX_TRIED)
        .then(|| u32::try_from(checks.len()).ok())
        .flatten()
        .and_then(|checks| 3_usize.checked_pow(checks))
    else {
        return true;
    };
    let mut outcomes = Vec::with_capacity(checks.len());
    (0..count).any(|mut number| {
        outcomes.clear();
        outcomes.extend(checks.iter().map(|check| {
            let outcome = OUTCOMES.get(number % 3).copied().unwrap_or(Outcome::Valid);
            number /= 3;
            (*check, outcome)
        }));
        holds(&outcomes)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn require(text: &str) -> Require {
        let index = |name: &str| {
            let names = ["app", "user", "other", "key"];
            names.iter().position(|known| *known == name).map(CheckIndex)
        };
        Require::parse(text).unwrap().resolve(index).unwrap()
    }

    #[test]
    fn weaker_is_what_lets_pass_what_the_default_refuses() {
        for (route, default, weaker) in [
            ("app and user", "app and user", false),
            ("user and app", "app and user", false),
            ("app and user and other", "app and user", false),
            ("app and (user or other)", "app and user or app and other", false),
            ("app and user?", "app and user", true),
            ("app", "app and user", true),
            ("(app and user)?", "app and user", true),
            ("app or user", "app and user", true),
            ("other", "app", true),
            ("user?", "app", true),
            ("app and user", "app?", false),
        ] {
            assert_eq!(
                require(route).weaker_than(&require(default)),
                weaker,
                "{route} / {default}"
            );
        }
    }

    #[test]
    fn an_invalid_optional_credential_is_refused_where_the_default_never_asks_for_it() {
        // `app and user?` refuses a bad user that plain `app` never looks at; not the reverse.
        assert!(!require("app and user?").weaker_than(&require("app")));
        assert!(require("app").weaker_than(&require("app and user?")));
    }

    #[test]
    fn two_principals_of_one_role_are_found() {
        let role = |check: CheckIndex| match check.0 {
            0 => Some("app"),
            1 | 2 => Some("user"),
            _ => None,
        };
        for (text, two) in [
            ("app and user", false),
            ("user or other", false),
            ("app and (user or other)", false),
            ("user and user", false),
            ("user and key", false),
            ("user and other", true),
            ("user and other?", true),
            ("user? and other?", true),
            ("user and (app or other)", true),
            ("(app and user)? and other", true),
        ] {
            assert_eq!(require(text).could_yield_two(role), two, "{text}");
        }
    }

    #[test]
    fn what_is_too_large_to_try_is_judged_by_its_worst_case() {
        let many: Vec<_> = (0..=MAX_TRIED).map(CheckIndex).collect();
        assert!(some_request(&many, |_| false));
        assert!(!some_request(&many[1..], |_| false));
    }
}
