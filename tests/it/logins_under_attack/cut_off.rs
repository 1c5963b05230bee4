//! What is cut off is cut off everywhere: on every worker, within a second, and after a sudden death.

use std::time::Duration;
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use serde_json::json;

use super::stage::PASSWORD;
use super::stage::becomes;
use super::stage::body;
use super::stage::login;
use super::stage::operate;
use super::stage::operate_with;
use super::stage::post;
use super::stage::send;
use super::stage::setup;
use super::stage::started;
use super::stage::thing;
use super::stage::token;
use super::stage::world_with;
use crate::binary::Served;
use crate::cli::folder_with;
use crate::world::Ask;
use crate::world::Client;
use crate::world::DEADLINE;
use crate::world::World;

/// A second is promised; the rest is for a machine that is busy with something else.
const PROMPTLY: Duration = Duration::from_secs(3);

/// Connections that every worker has some of, each of which has had this token judged good.
fn everywhere(world: &World, ask: &Ask) -> Vec<Client> {
    let mut clients: Vec<_> = (0..24).map(|_| world.connect()).collect();
    for client in &mut clients {
        client.send(&ask.bytes());
        assert_eq!(client.answer("GET").unwrap().status(), 200, "{ask:?}");
    }
    clients
}

#[track_caller]
fn refused_everywhere(clients: &mut [Client], ask: &Ask, since: Instant) {
    for client in clients {
        loop {
            client.send(&ask.bytes());
            let status = client.answer("GET").unwrap().status();
            if status == 401 {
                break;
            }
            assert_eq!(status, 200);
            assert!(since.elapsed() < DEADLINE, "{ask:?} is still good");
        }
    }
    let took = since.elapsed();
    assert!(took < PROMPTLY, "{took:?}");
}

fn four_workers() -> World {
    started(setup().extra("workers: 4"), &["anna", "berta"])
}

fn session_of(token: &str) -> String {
    let header = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
    let header: Value = serde_json::from_slice(&header).unwrap();
    header["sid"].as_str().unwrap().to_owned()
}

#[test]
fn what_an_operator_ends_is_refused_on_every_worker() {
    let world = four_workers();
    for service in ["native", "analogue", "redis"] {
        let berta = thing(service, &token(&world, service, "berta"));
        let mut unharmed = everywhere(&world, &berta);
        for act in ["session", "logout", "disable"] {
            let token = token(&world, service, "anna");
            let ask = thing(service, &token);
            let mut clients = everywhere(&world, &ask);
            let session = session_of(&token);
            let arguments = match act {
                "session" => vec!["session", "revoke", &session],
                act => vec!["user", act, "anna"],
            };
            operate(world.folder(), &arguments);
            refused_everywhere(&mut clients, &ask, Instant::now());
            world.deny(&ask, &[401]);
        }
        operate(world.folder(), &["user", "enable", "anna"]);
        becomes(&world, &login(service, "anna", PASSWORD), 200);
        for client in &mut unharmed {
            client.send(&berta.bytes());
            assert_eq!(client.answer("GET").unwrap().status(), 200);
        }
    }
}

#[test]
fn one_token_is_revoked_and_its_session_goes_on() {
    let world = four_workers();
    let granted = body(&world.answer(&login("native", "anna", PASSWORD)));
    let text = granted["access_token"].as_str().unwrap();
    let claims = URL_SAFE_NO_PAD.decode(text.split('.').nth(1).unwrap()).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    let ask = thing("native", text);
    let mut clients = everywhere(&world, &ask);
    operate(world.folder(), &["session", "revoke", "--token", claims["jti"].as_str().unwrap()]);
    refused_everywhere(&mut clients, &ask, Instant::now());
    let refresh = json!({"refresh_token": granted["refresh_token"]});
    let next = body(&world.answer(&post("native", "/auth/refresh", &refresh)));
    world.pass(&thing("native", next["access_token"].as_str().unwrap()));
    world.deny(&ask, &[401]);
}

#[test]
fn the_tokens_of_a_deleted_user_are_refused_on_every_worker() {
    let world = four_workers();
    let ask = thing("analogue", &token(&world, "analogue", "anna"));
    let mut clients = everywhere(&world, &ask);
    operate(world.folder(), &["user", "delete", "anna"]);
    refused_everywhere(&mut clients, &ask, Instant::now());
    // A new user of the same name is another.
    super::stage::add(world.folder(), "anna", PASSWORD);
    let again = thing("analogue", &token(&world, "analogue", "anna"));
    world.pass(&again);
    world.deny(&ask, &[401]);
}

#[test]
fn a_locked_user_keeps_tokens_and_gets_no_more() {
    let world = world_with(&["anna"]);
    let ask = thing("native", &token(&world, "native", "anna"));
    operate(world.folder(), &["user", "lock", "anna"]);
    let answer = world.answer(&login("native", "anna", PASSWORD));
    assert_eq!(answer.status(), 403);
    assert_eq!(world.answer(&login("native", "anna", "wrong horse battery")).status(), 401);
    world.pass(&ask);
    operate(world.folder(), &["user", "unlock", "anna"]);
    assert_eq!(world.answer(&login("native", "anna", PASSWORD)).status(), 200);
}

#[test]
fn a_logout_ends_its_own_session_and_a_changed_password_the_others() {
    let world = four_workers();
    let [first, second, third] = [(); 3].map(|()| token(&world, "native", "anna"));
    let ask = thing("native", &first);
    let mut clients = everywhere(&world, &ask);
    let out = post("native", "/auth/logout", &json!({})).bearing(&first);
    assert_eq!(world.answer(&out).status(), 204);
    refused_everywhere(&mut clients, &ask, Instant::now());
    world.pass(&thing("native", &second));
    let change = json!({"password": PASSWORD, "new_password": "another battery"});
    let change = post("native", "/auth/password", &change).bearing(&third);
    let (kept, ended) = (thing("native", &third), thing("native", &second));
    let mut clients = everywhere(&world, &ended);
    assert_eq!(world.answer(&change).status(), 204);
    refused_everywhere(&mut clients, &ended, Instant::now());
    world.pass(&kept);
    assert_eq!(world.answer(&login("native", "anna", PASSWORD)).status(), 401);
}

#[test]
fn the_sessions_of_a_revoked_application_end_with_it() {
    let world = four_workers();
    let made = operate(world.folder(), &["app", "create", "other", "--output", "json"]);
    let made: Value = serde_json::from_str(&made.out).unwrap();
    let (id, key) = (made["id"].as_str().unwrap(), made["key"].as_str().unwrap());
    let signing_in = login("ping", "anna", PASSWORD).instead("X-App-Key", key);
    let token = super::stage::token_in("ping", &world.answer(&signing_in));
    // The token with another application's key, which stays good.
    let ask = thing("ping", &token);
    let mut clients = everywhere(&world, &ask);
    operate(world.folder(), &["app", "revoke", id]);
    refused_everywhere(&mut clients, &ask, Instant::now());
}

#[test]
fn a_retired_key_signs_nothing_more_and_what_it_signed_ends_when_told() {
    let world = four_workers();
    let old = thing("native", &token(&world, "native", "anna"));
    let other = thing("redis", &token(&world, "redis", "anna"));
    let mut clients = everywhere(&world, &old);
    let master = ["--master", "file:master.key"];
    operate(world.folder(), &[&["key", "rotate", "native", "--after", "0s"][..], &master].concat());
    let keys = || {
        let listed = operate(world.folder(), &["key", "list", "--output", "json"]);
        let listed: Value = serde_json::from_str(&listed.out).unwrap();
        let native = listed.as_array().unwrap().iter().filter(|key| key["family"] == "native");
        native.map(|key| key["kid"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let published = Ask::get("/.well-known/jwks.json").instead("Host", "native.test");
    let both = Instant::now();
    while body(&world.answer(&published))["keys"].as_array().unwrap().len() < 2 {
        assert!(both.elapsed() < DEADLINE, "the new key is not published");
    }
    let new = thing("native", &token(&world, "native", "anna"));
    for ask in [&old, &new] {
        world.pass(ask);
    }
    operate(world.folder(), &["key", "retire", &keys()[0], "--verifies-for", "0s"]);
    refused_everywhere(&mut clients, &old, Instant::now());
    world.deny(&old, &[401]);
    world.pass(&other);
    let after = thing("native", &token(&world, "native", "anna"));
    world.pass(&after);
}

#[test]
fn what_was_cut_off_stays_so_after_a_sudden_death() {
    let setup = setup();
    let folder = folder_with(&setup);
    let mut served = Served::new(&folder);
    super::stage::add(folder.path(), "anna", PASSWORD);
    super::stage::add(folder.path(), "berta", PASSWORD);
    let sign_in = |served: &Served, service: &str, user: &str| {
        super::stage::token_in(service, &served.ask(&login(service, user, PASSWORD)))
    };
    let mut asks = Vec::new();
    for service in ["native", "redis", "analogue", "monogoto", "ping"] {
        let ended = sign_in(&served, service, "anna");
        let kept = sign_in(&served, service, "berta");
        assert_eq!(served.ask(&thing(service, &ended)).status(), 200);
        asks.push((thing(service, &ended), thing(service, &kept)));
        if service != "ping" {
            operate(folder.path(), &["session", "revoke", &session_of(&ended)]);
        }
    }
    operate_with(folder.path(), &["user", "password", "anna"], "another battery");
    // It may not even have noticed.
    served.process.signal("KILL");
    drop(served);
    served = Served::new(&folder);
    let mark = setup.upstream.mark();
    for (ended, _) in &asks {
        assert_eq!(served.ask(ended).status(), 401, "{ended:?}");
    }
    assert!(setup.upstream.since(&mark).unwrap().is_empty());
    for (_, kept) in &asks {
        assert_eq!(served.ask(kept).status(), 200, "{kept:?}");
    }
}

#[test]
fn a_call_that_began_with_a_good_token_alters_nothing_once_that_is_revoked() {
    let world = world_with(&["anna"]);
    for of_all in [true, false] {
        let token = token(&world, "analogue", "anna");
        let session = session_of(&token);
        let act = if of_all { ["user", "logout", "anna"] } else { ["session", "revoke", &session] };
        let body = json!({"user": {"password": "stolen battery"}}).to_string();
        let update = send("PUT", "analogue", "/api/user", &body)
            .field("Authorization", format!("Token {token}"))
            .field("Expect", "100-continue");
        let bytes = update.bytes();
        let (head, body) = bytes.split_at(bytes.len() - body.len());
        let mut slow = world.connect();
        slow.send(head);
        // Asked for once the head was let through.
        slow.until(b"100 Continue\r\n\r\n").unwrap();
        operate(world.folder(), &act);
        becomes(&world, &thing("analogue", &token), 401);
        slow.send(body);
        assert_eq!(slow.answer("PUT").unwrap().status(), 401, "{act:?}");
        world.deny(&login("analogue", "anna", "stolen battery"), &[422]);
        assert_eq!(world.answer(&login("analogue", "anna", PASSWORD)).status(), 200, "{act:?}");
    }
}
