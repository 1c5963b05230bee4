//! Paths with two readings are refused; what was judged is what is forwarded.

use crate::world::Ask;
use crate::world::Setup;
use crate::world::World;
use crate::world::oracle;

/// Sends a request line with a target of any bytes, with good credentials and without any.
#[track_caller]
fn refused(world: &World, target: &[u8], statuses: &[u16]) {
    let line = [b"GET ", target, b" HTTP/1.1"].concat();
    world.deny(&Ask::get("/").signed().with_line(line.clone()), statuses);
    let anonymous = [statuses, &[401]].concat();
    world.deny(&Ask::get("/").with_line(line), &anonymous);
}

#[test]
fn a_path_with_two_readings_is_a_bad_request() {
    let world = World::usual_over_both();
    for target in [
        &b"/public/../api/admin/x"[..],
        b"/public/%2e%2e/api/admin/x",
        b"/public/%2E%2E/api/admin/x",
        b"/public/.%2e/api/admin/x",
        b"/public/%2e./api/admin/x",
        b"/public/..%2fapi/admin/x",
        b"/public/..%2Fapi/admin/x",
        b"/public/..%5capi/admin/x",
        b"/public/..%5Capi/admin/x",
        b"/public/..\\api/admin/x",
        b"/public/%252e%252e/api/admin/x",
        b"/public/%252E%252e/api/admin/x",
        b"/public/..%252fapi/admin/x",
        b"/public/..%255capi/admin/x",
        b"/public%2f..%2fapi/admin/x",
        b"//api/admin/x",
        b"///api/admin/x",
        b"/api//admin/x",
        b"/api/admin//x",
        b"/api/./admin/x",
        b"/api/%2e/admin/x",
        b"/./api/admin/x",
        b"/../api/admin/x",
        b"/..",
        b"/.",
        b"/public/..",
        b"/public/.",
        b"/api/x/..",
        b"/api;x=1/admin/x",
        b"/api/admin;x=1/x",
        b"/api/admin;/x",
        b"/public/..;/api/admin/x",
        b"/public/..;a=b/api/admin/x",
        b"/api/%3b/admin/x",
        b"/api/admin%3bx=1/x",
        b"/api/admin%00/x",
        b"/api/admin%00",
        b"/public/%2500/x",
        b"/api/%c0%ae%c0%ae/admin/x",
        b"/api/%c0%af/admin/x",
        b"/api/%e0%80%ae/x",
        b"/api/%ff/x",
        b"/api/%c3/x",
        b"/api/%ed%a0%80/x",
        b"/api/%zz/x",
        b"/api/%2",
        b"/api/%",
        b"/api/%u0061dmin/x",
        b"/api/%%61dmin/x",
        b"/api/admin/x%0d%0aX-Auth-User:%20root",
        b"/public/x%0aX-Auth-User:%20root",
        b"/public/x%0d",
        b"/public/x%09",
        b"/public/x%7f",
        b"/public/x%1b",
        b"/public/x%23/../api",
    ] {
        refused(&world, target, &[400, 403]);
    }
}

#[test]
fn a_target_that_is_not_a_path_is_a_bad_request() {
    let world = World::usual_over_both();
    for target in [
        &b"api/admin/x"[..],
        b"public/x",
        b"*",
        b"?",
        b"gw.test:80",
        b"/api/admin\t/x",
        b"/public/\x00x",
        b"/public/x\x0b",
        b"/public/x\x7f",
        b"/public/\xefx",
        b"/public/\xc3\xa9",
        b"/public/\xff",
        b"http://user:pw@gw.test/api/x",
        b"http://user@gw.test/api/x",
        b"http://@gw.test/api/x",
        b"http:///api/x",
        b"http://gw.test:port/api/x",
        b"http://other.test/api/x",
        b"ftp://gw.test/api/x",
        b"file:///etc/passwd",
        b"http://gw.test/public/../api/admin/x",
    ] {
        refused(&world, target, &[400]);
    }
}

#[test]
fn the_absolute_form_is_judged_like_any_other() {
    let world = World::usual();
    let line = |target: &str| format!("GET http://gw.test{target} HTTP/1.1");
    let forwarded = world.pass(&Ask::get("/").signed().with_line(line("/api/x?q=1")));
    assert_eq!(forwarded.target(), "/api/x?q=1");
    world.deny(&Ask::get("/").with_line(line("/api/x")), &[401]);
    world.deny(&Ask::get("/").signed().with_line(line("/api/admin/x")), &[403]);
    world.deny(&Ask::get("/").signed().with_line(line("/nowhere")), &[404]);
}

#[test]
fn reserved_ground_stays_reserved_in_every_spelling() {
    let world = World::usual_over_both();
    for target in [
        "/api/admin",
        "/api/admin/",
        "/api/admin/x",
        "/api/admin?x",
        "/api/admin/?x",
        "/api/admin/x#y",
        "/api/%61dmin/x",
        "/api/%61%64%6d%69%6e",
        "/%61pi/admin/x",
        "/api/a%64min/",
    ] {
        refused(&world, target.as_bytes(), &[403]);
    }
}

#[test]
fn a_literal_in_another_case_is_not_found() {
    let world = World::usual_over_both();
    for target in
        ["/api/ADMIN/x", "/api/%41dmin/x", "/api/Admin", "/api/aDMIN/", "/API/x", "/Public/x"]
    {
        refused(&world, target.as_bytes(), &[404]);
    }
}

#[test]
fn a_literal_with_blanks_or_dots_at_its_end_is_not_forwarded() {
    let world = World::usual_over_both();
    for target in ["/api/admin%20/x", "/api/admin%20", "/api/admin./x", "/api/admin..."] {
        refused(&world, target.as_bytes(), &[400, 403, 404]);
    }
}

#[test]
fn what_no_route_names_is_found_by_nobody() {
    let world = World::usual_over_both();
    for target in ["/", "/apix", "/ap", "/apiadmin/x", "/publicx/y", "/favicon.ico", "/?/api/x"] {
        refused(&world, target.as_bytes(), &[404]);
    }
}

#[test]
fn what_was_judged_is_forwarded_byte_for_byte() {
    let world = World::usual_over_both();
    for (target, sent) in [
        ("/api/x", "/api/x"),
        ("/api", "/api"),
        ("/api/", "/api/"),
        ("/api/x/", "/api/x/"),
        ("/api/administrators", "/api/administrators"),
        ("/api/admi", "/api/admi"),
        ("/api/%61bc", "/api/abc"),
        ("/api/%7Ea%2D%2Eb%5F", "/api/~a-.b_"),
        ("/api/%C3%A9", "/api/%C3%A9"),
        ("/api/a+b", "/api/a+b"),
        ("/api/a:b@c!$&'()*,=", "/api/a:b@c!$&'()*,="),
        ("/api/...", "/api/..."),
        ("/api/.hidden", "/api/.hidden"),
        ("/api/x?", "/api/x?"),
        ("/api/x?a=b&a=c;d=%2e%2e/&e=%zz", "/api/x?a=b&a=c;d=%2e%2e/&e=%zz"),
        ("/api/x?/../admin", "/api/x?/../admin"),
        ("/api/x?//admin\\", "/api/x?//admin\\"),
        ("/api/x?y?z", "/api/x?y?z"),
        ("/api/x#fragment", "/api/x"),
        ("/public/x?/../api/admin", "/public/x?/../api/admin"),
    ] {
        let forwarded = world.pass(&Ask::get(target).signed());
        assert_eq!(forwarded.target(), sent, "{target}");
        assert!(!oracle::aggressive(forwarded.target()).starts_with("/api/admin/"), "{target}");
    }
}

#[test]
fn an_overlong_target_is_told_so() {
    let world = World::usual_over_both();
    let of = |length: usize| format!("/api/{}", "a".repeat(length - "/api/".len()));
    world.pass(&Ask::get(&of(8 * 1024)).signed());
    for length in [8 * 1024 + 1, 9_000, 20_000, 60_000] {
        world.deny(&Ask::get(&of(length)).signed(), &[414]);
        world.deny(&Ask::get(&of(length)), &[414]);
    }
    // Over HTTP/2 a target beyond 64 KiB resets its stream.
    World::usual().deny(&Ask::get(&of(70_000)).signed(), &[414]);
    let narrow = Setup::new().extra("limits: { target: 64B }").start();
    narrow.pass(&Ask::get(&of(64)).signed());
    narrow.deny(&Ask::get(&of(65)).signed(), &[414]);
    narrow.deny(&Ask::get(&format!("/api/x?{}", "a".repeat(64))).signed(), &[414]);
}
