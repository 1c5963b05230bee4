//! Who is calling is told by the gateway alone, in every spelling and on every route.

use crate::world::APP;
use crate::world::APP_KEY;
use crate::world::Ask;
use crate::world::Message;
use crate::world::Setup;
use crate::world::World;
use crate::world::keys::USER;
use crate::world::oracle;

const SPELLINGS: [&str; 12] = [
    "X-Auth-User",
    "x-auth-user",
    "x-AUTH-user",
    "X_Auth_User",
    "X_AUTH-User",
    "x_auth_user",
    "X.Auth.User",
    "X-Auth.User",
    "XAuthUser",
    "X--Auth-User",
    "X-Auth-User-",
    "_X-Auth-User",
];

const KNOWN: &[(&str, Option<&str>)] = &[("X-Auth-User", Some(USER)), ("X-App-Id", Some(APP))];
const NOBODY: &[(&str, Option<&str>)] = &[("X-Auth-User", None), ("X-App-Id", None)];

/// Forwarded with what the gateway says, or refused: never with what the client said.
#[track_caller]
fn judged(world: &World, ask: &Ask, expected: &[(&str, Option<&str>)]) {
    let mark = world.upstream.mark();
    let answer = world.answer(ask);
    let requests = world.upstream.since(&mark).unwrap();
    match answer.status() {
        200 => {
            assert_eq!(requests.len(), 1, "{ask:?}");
            oracle::identity(&requests[0], expected);
        }
        400 => assert_eq!(requests, [], "{ask:?}"),
        _ => panic!("{ask:?}: {answer:?}"),
    }
}

#[test]
fn a_forged_identity_never_reaches_the_upstream() {
    let world = World::usual_over_both();
    for name in SPELLINGS {
        judged(&world, &Ask::get("/api/x").signed().field(name, "root"), KNOWN);
        judged(&world, &Ask::get("/api/x").field(name, "root").signed(), KNOWN);
        judged(&world, &Ask::get("/api/x").signed().field(name, "root").field(name, "root"), KNOWN);
        judged(&world, &Ask::get("/public/x").field(name, "root"), NOBODY);
        judged(&world, &Ask::get("/public/x").signed().field(name, "root"), NOBODY);
    }
    judged(
        &world,
        &Ask::get("/api/x").signed().field("X-App-Id", "root").field("x_app_id", "root"),
        KNOWN,
    );
    judged(
        &world,
        &Ask::get("/public/x").field("X-App-Id", "root").field("x_app_id", "root"),
        NOBODY,
    );
}

#[test]
fn connection_nominates_neither_our_fields_away_nor_forged_ones_in() {
    let world = World::usual_over_both();
    for nominated in [
        "X-Auth-User",
        "x-auth-user, X-App-Id",
        "close, X-Auth-User",
        "X_Auth_User",
        "keep-alive, x-app-id",
    ] {
        judged(&world, &Ask::get("/api/x").signed().field("Connection", nominated), KNOWN);
        judged(
            &world,
            &Ask::get("/api/x")
                .signed()
                .field("Connection", nominated)
                .field("X-Auth-User", "root"),
            KNOWN,
        );
        judged(
            &world,
            &Ask::get("/public/x").field("Connection", nominated).field("X-Auth-User", "root"),
            NOBODY,
        );
    }
}

#[test]
fn connection_cannot_take_credentials_away_before_they_are_checked() {
    let world = World::usual();
    for nominated in
        ["Authorization", "X-App-Key", "authorization, x-app-key", "Host", "Content-Length"]
    {
        let forwarded = world.pass(&Ask::get("/api/x").signed().field("Connection", nominated));
        oracle::identity(&forwarded, KNOWN);
        world.deny(&Ask::get("/api/x").field("Connection", nominated), &[401]);
    }
}

#[test]
fn trailers_carry_no_identity() {
    let world = World::usual_over_both();
    for name in SPELLINGS {
        for path in ["/api/x", "/public/x"] {
            let ask = Ask::new("POST", path)
                .signed()
                .field("Transfer-Encoding", "chunked")
                .field("Trailer", name)
                .body(format!(
                    "5\r\nhello\r\n0\r\n{name}: root\r\nX-App-Id: root\r\nX-Checksum: 1\r\n\r\n"
                ));
            judged(&world, &ask, if path == "/api/x" { KNOWN } else { NOBODY });
        }
    }
}

#[test]
fn a_field_line_that_is_not_one_is_a_bad_request() {
    let world = World::usual();
    for line in [
        &b"X-Auth-User : root"[..],
        b"X-Auth-User\t: root",
        b" X-Auth-User: root",
        b"\tX-Auth-User: root",
        b"X: y\r\n X-Auth-User: root",
        b"X: y\r\n\tX-Auth-User: root",
        b"X: y\rX-Auth-User: root",
        b"X: y\r\r\nX-Auth-User: root",
        b"\rX-Auth-User: root",
        b"X: y\x00",
        b"X: \x00y",
        b"X\x00: y",
        b"X: \x01",
        b"X: \x7f",
        b": root",
        b":",
        b"X-Auth-User",
        b"X Auth User: root",
        b"X-Auth-User\xff: root",
        b"X\xc3\xa9: y",
        b"(X): y",
        b"X@Y: z",
        b"\"X\": y",
        b"X\\: y",
        b"{X}: y",
    ] {
        world.deny(&Ask::get("/api/x").signed().raw_line(line), &[400]);
        world.deny(&Ask::get("/public/x").raw_line(line), &[400]);
    }
}

#[test]
fn a_field_that_renames_the_path_is_not_believed_and_not_passed_on() {
    let world = World::usual_over_both();
    for name in ["X-Original-URL", "X-Rewrite-URL", "X-Original-URI", "x_original_url"] {
        let forwarded = world.pass(&Ask::get("/public/x").field(name, "/api/admin/x"));
        assert_eq!(forwarded.target(), "/public/x");
        oracle::identity(&forwarded, &[(name, None)]);
        world.deny(&Ask::get("/api/x").field(name, "/public/x"), &[401]);
        world.deny(&Ask::get("/api/admin/x").signed().field(name, "/api/x"), &[403]);
    }
}

#[test]
fn too_many_or_too_large_fields_are_refused() {
    let world = World::usual_over_both();
    let filled = |count: usize| {
        (0..count).fold(Ask::get("/api/x").signed(), |ask, n| ask.field(&format!("X-{n}"), n))
    };
    world.pass(&filled(93));
    for count in [94, 95, 97, 98, 150, 300, 2_000] {
        world.deny(&filled(count), &[431]);
    }
    let large = |size: usize| Ask::get("/api/x").signed().field("X-Large", "x".repeat(size));
    world.pass(&large(30_000));
    for size in [32 * 1024, 40_000, 100_000] {
        world.deny(&large(size), &[431]);
    }
    // Over HTTP/2 a head of this size ends the connection.
    World::usual().deny(&large(300_000), &[431]);
    let narrow = Setup::new().extra("limits: { headers: 2KiB, header_count: 8 }").start();
    narrow.pass(&large(1_000));
    narrow.deny(&large(2_048), &[431]);
    narrow.pass(&filled(5));
    narrow.deny(&filled(6), &[431]);
}

fn forwarded_fields(request: &Message) -> Vec<(&str, &str)> {
    let about = |name: &str| {
        let name = name.to_ascii_lowercase();
        name.starts_with("x-forwarded") || name == "forwarded" || name == "x-real-ip"
    };
    let fields = request.fields.0.iter().filter(|(name, _)| about(name));
    fields.map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

const CLAIMED: [(&str, &str); 10] = [
    ("X-Forwarded-For", "6.6.6.6"),
    ("X-Forwarded-Host", "evil.test"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Port", "666"),
    ("X-Forwarded-Prefix", "/evil"),
    ("X-Forwarded-Server", "evil.test"),
    ("Forwarded", "for=6.6.6.6;host=evil.test;proto=https"),
    ("X-Real-IP", "6.6.6.6"),
    ("X_Forwarded_For", "6.6.6.6"),
    ("X_Real_IP", "6.6.6.6"),
];

#[test]
fn a_stranger_is_not_believed_about_where_a_request_came_from() {
    let world = World::usual_over_both();
    let plain = world.pass(&Ask::get("/api/x").signed());
    assert_eq!(plain.fields.one("x-forwarded-for"), "127.0.0.1");
    assert_eq!(plain.fields.one("x-forwarded-proto"), "http");
    let expected = forwarded_fields(&plain);
    for path in ["/api/x", "/public/x"] {
        for (name, value) in CLAIMED {
            let forwarded =
                world.pass(&Ask::get(path).signed().field(name, value).field(name, value));
            assert_eq!(forwarded_fields(&forwarded), expected, "{name}");
            assert!(!format!("{forwarded:?}").contains(value) || value == "https", "{forwarded:?}");
        }
    }
}

#[test]
fn a_trusted_proxy_is_believed() {
    let world = Setup::new().extra("trusted_proxies: [ \"127.0.0.0/8\" ]").start();
    let forwarded = world.pass(
        &Ask::get("/api/x")
            .signed()
            .field("X-Forwarded-For", "203.0.113.7")
            .field("X-Forwarded-Proto", "https"),
    );
    assert_eq!(forwarded.fields.one("x-forwarded-for"), "203.0.113.7, 127.0.0.1");
    assert_eq!(forwarded.fields.one("x-forwarded-proto"), "https");
    let elsewhere = Setup::new().extra("trusted_proxies: [ \"10.0.0.0/8\" ]").start();
    let forwarded = elsewhere.pass(
        &Ask::get("/api/x")
            .signed()
            .field("X-Forwarded-For", "203.0.113.7")
            .field("X-Forwarded-Proto", "https"),
    );
    assert_eq!(forwarded.fields.one("x-forwarded-for"), "127.0.0.1");
    assert_eq!(forwarded.fields.one("x-forwarded-proto"), "http");
}

#[test]
fn only_a_verified_application_tells_the_address_of_its_client() {
    let checks =
        "\n  app: { app_key: { id: X-Id, secret: X-Secret, client_address: X-Told-Address } }\n";
    let routes = "\n  - { match: \"* /api/**\", to: api }\n  - { match: \"* /api/maybe\", to: api, require: \"app?\" }\n  - { match: \"* /public/**\", to: api, public: true }\n";
    let world = Setup::new()
        .checks(checks)
        .routes(routes)
        .defaults("{ require: app, forward: { X-App-Id: app.id } }")
        .start();
    let paired = |path: &str| Ask::get(path).field("X-Id", APP).field("X-Secret", APP_KEY);
    for path in ["/api/x", "/api/maybe"] {
        let told = world.pass(&paired(path).field("X-Told-Address", "192.0.2.7"));
        assert_eq!(told.fields.one("x-told-address"), "192.0.2.7");
        for bad in ["", "nobody", "192.0.2.7, 192.0.2.8"] {
            let answer = world.answer(&paired(path).field("X-Told-Address", bad));
            assert_eq!(answer.status(), 400, "{bad:?}");
        }
    }
    let pretended = ["/api/maybe", "/public/x"].map(Ask::get);
    for ask in pretended.into_iter().chain([paired("/public/x")]) {
        for name in ["X-Told-Address", "x_told_address", "X-Told_ADDRESS"] {
            let sent = world.pass(&ask.clone().field(name, "6.6.6.6").field("X-Told", "kept"));
            assert!(!format!("{sent:?}").contains("6.6.6.6"), "{name}: {sent:?}");
            assert_eq!(sent.fields.one("x-told"), "kept");
        }
    }
}

#[test]
fn a_header_of_the_gateway_itself_cannot_tell_who_calls() {
    let with = |name: &str| {
        let rule = format!("{{ require: app and user, forward: {{ {name}: user.sub }} }}");
        Setup::new().defaults(&rule).try_start()
    };
    for name in ["X-Forwarded-For", "x_forwarded_host", "X-ForwardedProto", "X-Request-Id", "Host"]
    {
        assert!(with(name).is_err(), "{name}");
    }
    for name in ["X-Forwarded-User", "X-Request-User"] {
        let request = with(name).unwrap().pass(&Ask::get("/api/x").signed());
        oracle::identity(&request, &[(name, Some(USER))]);
        assert_eq!(request.fields.one("x-forwarded-for"), "127.0.0.1");
    }
}
