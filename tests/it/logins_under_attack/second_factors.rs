//! One-time codes: each good once, few guesses, and a question that holds for one occasion.

use serde_json::Value;
use serde_json::json;

use super::stage::PASSWORD;
use super::stage::at_once;
use super::stage::body;
use super::stage::code;
use super::stage::count;
use super::stage::hashes;
use super::stage::login;
use super::stage::operate;
use super::stage::post;
use super::stage::with_client;
use super::stage::world_with;
use crate::world::Ask;
use crate::world::World;

struct Enrolled {
    world: World,
    seed: String,
    recovery: Vec<String>,
}

/// Anna, who has a second factor, and Berta, who has none.
#[track_caller]
fn enrolled() -> Enrolled {
    let world = world_with(&["anna", "berta"]);
    let told = operate(
        world.folder(),
        &["user", "totp", "anna", "--master", "file:master.key", "--output", "json"],
    );
    let told: Value = serde_json::from_str(&told.out).unwrap();
    let seed = told["seed"].as_str().unwrap().to_owned();
    let codes = told["recovery_codes"].as_array().unwrap().iter();
    let recovery = codes.map(|code| code.as_str().unwrap().to_owned()).collect();
    Enrolled { world, seed, recovery }
}

impl Enrolled {
    /// The code of so many steps from now.
    fn code(&self, steps: i64) -> String {
        code(&self.seed, self.world.clock.now().seconds() + 30 * steps)
    }

    #[track_caller]
    fn challenge(&self) -> String {
        let answer = self.world.answer(&login("native", "anna", PASSWORD));
        assert_eq!(answer.status(), 401);
        assert_eq!(body(&answer)["reason"], "second_factor_needed");
        body(&answer)["challenge"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    fn gives(&self, ask: &Ask, status: u16, reason: &str) {
        let answer = self.world.answer(ask);
        assert_eq!(answer.status(), status, "{ask:?}: {answer:?}");
        if status != 200 {
            assert_eq!(body(&answer)["reason"], reason, "{ask:?}");
        }
    }

    #[track_caller]
    fn wrong(&self, ask: &Ask) {
        self.gives(ask, 401, "second_factor_wrong");
    }
}

fn with_code(challenge: &str, code: &str) -> Ask {
    let body =
        json!({"username": "anna", "password": PASSWORD, "challenge": challenge, "code": code});
    post("native", "/auth/login", &body)
}

#[test]
fn fifty_uses_of_one_code_at_once_let_one_in() {
    let enrolled = enrolled();
    let challenge = enrolled.challenge();
    let good = with_code(&challenge, &enrolled.code(0));
    let answers = at_once(&enrolled.world, &vec![good.clone(); 50]);
    assert_eq!(count(&answers, 200), 1, "{answers:?}");
    enrolled.world.advance(15 * 60);
    enrolled.wrong(&with_code(&enrolled.challenge(), &enrolled.code(-30)));
    // Nor is there a way around the question.
    let unasked = json!({"username": "anna", "password": PASSWORD, "code": enrolled.code(0)});
    enrolled.gives(&post("native", "/auth/login", &unasked), 400, "missing_field");
}

#[test]
fn a_code_is_good_once_and_none_before_it_after_it() {
    let enrolled = enrolled();
    for steps in [-2, 2] {
        enrolled.wrong(&with_code(&enrolled.challenge(), &enrolled.code(steps)));
    }
    enrolled.gives(&with_code(&enrolled.challenge(), &enrolled.code(0)), 200, "");
    for steps in [0, -1] {
        enrolled.wrong(&with_code(&enrolled.challenge(), &enrolled.code(steps)));
    }
    enrolled.gives(&with_code(&enrolled.challenge(), &enrolled.code(1)), 200, "");
    enrolled.world.advance(30);
    enrolled.wrong(&with_code(&enrolled.challenge(), &enrolled.code(0)));
}

#[test]
fn what_only_looks_like_a_code_is_none() {
    let enrolled = enrolled();
    let good = enrolled.code(0);
    let wide: String = good
        .bytes()
        .map(|digit| char::from_u32(0xff10 + u32::from(digit - b'0')).unwrap())
        .collect();
    for code in [&good[1..], &format!("{good}0"), &format!(" {good}"), &format!("{good}\n"), &wide]
    {
        enrolled.wrong(&with_code(&enrolled.challenge(), code));
    }
    enrolled.gives(&with_code(&enrolled.challenge(), &good), 200, "");
}

#[test]
fn a_question_has_five_tries_and_an_account_ten() {
    let enrolled = enrolled();
    let first = enrolled.challenge();
    for _ in 0..5 {
        enrolled.wrong(&with_code(&first, "000000"));
    }
    enrolled.wrong(&with_code(&first, &enrolled.code(0)));
    // Another question and another sign-in begin no new count.
    let second = enrolled.challenge();
    for _ in 0..5 {
        enrolled.wrong(&with_code(&second, "000000"));
    }
    let third = enrolled.challenge();
    for code in [enrolled.code(0), "000000".to_owned(), enrolled.recovery[0].clone()] {
        enrolled.gives(&with_code(&third, &code), 429, "locked_out");
    }
    enrolled.world.advance(15 * 60);
    enrolled.gives(&with_code(&enrolled.challenge(), &enrolled.code(0)), 200, "");
}

#[test]
fn an_answer_is_good_for_the_user_the_call_and_the_time_that_it_was_asked_for() {
    let enrolled = enrolled();
    let asked = enrolled.challenge();
    let Enrolled { world, .. } = &enrolled;
    // The same user at another service, in the words of that one.
    let ping = json!({
        "customer_email_address": "anna", "customer_password": PASSWORD,
        "two_factor_authentication_public_key": asked,
        "two_factor_authentication_private_key": enrolled.code(0),
    });
    let ping = post("ping", "/v1.0/private/user/customer/login", &ping);
    assert_eq!(world.answer(&with_client(ping, "ping", "198.51.100.7")).status(), 401);
    for other in ["", "0", &"0".repeat(32), &asked.to_uppercase()] {
        if other != asked && !other.is_empty() {
            enrolled.wrong(&with_code(other, &enrolled.code(0)));
        }
    }
    // Nor does a code help who has not the password.
    let body = json!({"username": "anna", "password": "wrong", "challenge": asked, "code": enrolled.code(0)});
    enrolled.gives(&post("native", "/auth/login", &body), 401, "wrong_credentials");
    enrolled.gives(&with_code(&asked, &enrolled.code(0)), 200, "");
    enrolled.world.advance(30);
    enrolled.wrong(&with_code(&asked, &enrolled.code(0)));
    let asked = enrolled.challenge();
    enrolled.world.advance(300);
    enrolled.wrong(&with_code(&asked, &enrolled.code(0)));
}

#[test]
fn a_recovery_code_stands_in_once() {
    let enrolled = enrolled();
    let Enrolled { world, recovery, .. } = &enrolled;
    let challenge = enrolled.challenge();
    let answers = at_once(world, &vec![with_code(&challenge, &recovery[0]); 20]);
    assert_eq!(count(&answers, 200), 1);
    enrolled.world.advance(15 * 60);
    enrolled.wrong(&with_code(&enrolled.challenge(), &recovery[0]));
    enrolled.gives(&with_code(&enrolled.challenge(), &recovery[1]), 200, "");
}

#[test]
fn whoever_lacks_the_password_does_not_learn_of_a_second_factor() {
    let enrolled = enrolled();
    let told = |name: &str| {
        let before = hashes(&enrolled.world);
        let answer = enrolled.world.answer(&login("native", name, "wrong horse battery"));
        let mut document = body(&answer);
        document.as_object_mut().unwrap().remove("request_id");
        (answer.status(), document, hashes(&enrolled.world) - before)
    };
    assert_eq!(told("anna"), told("berta"));
    assert_eq!(told("anna"), told("nobody"));
}

#[test]
fn a_dialect_that_cannot_ask_lets_nobody_in_who_has_a_second_factor() {
    let enrolled = enrolled();
    for service in ["redis", "old", "analogue", "monogoto"] {
        let answer = enrolled.world.answer(&login(service, "anna", PASSWORD));
        assert!(matches!(answer.status(), 401 | 403 | 404), "{service}: {answer:?}");
        assert_eq!(enrolled.world.answer(&login(service, "berta", PASSWORD)).status(), 200);
    }
}
