//! The table's behaviour, request by request.

use super::Conflict;
use super::Lookup;
use super::Pattern;
use super::RouteTable;

pub(super) fn table(texts: &[&str]) -> Result<RouteTable<String>, Vec<Conflict>> {
    RouteTable::build(
        texts.iter().map(|text| (Pattern::parse(text).unwrap(), (*text).to_owned())).collect(),
    )
}

/// The pattern found, or `- enclosing… [allow]`.
fn find(table: &RouteTable<String>, method: &str, host: &str, path: &str) -> String {
    match table.find(method, host, path) {
        Lookup::Found { route, .. } => route.clone(),
        Lookup::Unmatched { enclosing, allow } => {
            let enclosing: Vec<_> = enclosing.into_iter().map(String::as_str).collect();
            format!("- {} {allow:?}", enclosing.join(" + ")).replace('"', "")
        }
    }
}

#[test]
fn the_most_specific_route_that_takes_the_method_wins() {
    let table = table(&[
        "* /**",
        "* /a/**",
        "GET /a/b",
        "GET /a/{id}",
        "DELETE /a/*",
        "PUT,PATCH /a/{id}/x",
        "* /a/b/x",
        "GET /a/",
        "HEAD /h",
        "GET /h",
        "* /h",
    ])
    .unwrap();
    for (method, path, expected) in [
        ("GET", "/a/b", "GET /a/b"),
        ("HEAD", "/a/b", "GET /a/b"),
        ("POST", "/a/b", "* /a/**"),
        ("DELETE", "/a/b", "DELETE /a/*"),
        ("GET", "/a/c", "GET /a/{id}"),
        ("PUT", "/a/c/x", "PUT,PATCH /a/{id}/x"),
        ("PUT", "/a/b/x", "* /a/b/x"),
        ("POST", "/a/c/x", "* /a/**"),
        ("GET", "/a", "* /a/**"),
        ("GET", "/a/", "GET /a/"),
        ("POST", "/a/", "* /a/**"),
        ("GET", "/a/b/c/d", "* /a/**"),
        ("GET", "/", "* /**"),
        ("GET", "/ab", "* /**"),
        ("HEAD", "/h", "HEAD /h"),
        ("GET", "/h", "GET /h"),
        ("get", "/h", "- HEAD /h + GET /h + * /h [DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT]"),
    ] {
        assert_eq!(find(&table, method, "x", path), expected, "{method} {path}");
    }
}

#[test]
fn the_host_is_compared_before_the_path() {
    let table = table(&[
        "* /a/b/c",
        "* *.example.com/a/b",
        "* *.eu.example.com/a/**",
        "* api.eu.example.com/**",
        "GET only.example.com/a",
    ])
    .unwrap();
    for (host, path, expected) in [
        ("api.eu.example.com", "/a/b", "* api.eu.example.com/**"),
        ("b.eu.example.com", "/a/b", "* *.eu.example.com/a/**"),
        ("a.b.eu.example.com", "/a/b", "* *.eu.example.com/a/**"),
        ("eu.example.com", "/a/b", "* *.example.com/a/b"),
        ("example.com", "/a/b", "-  []"),
        ("example.com", "/a/b/c", "* /a/b/c"),
        ("b.eu.example.com", "/a/b/c", "* *.eu.example.com/a/**"),
        ("us.example.com", "/a/b/c", "* /a/b/c"),
        ("xexample.com", "/a/b", "-  []"),
        ("", "/a/b/c", "* /a/b/c"),
    ] {
        assert_eq!(find(&table, "GET", host, path), expected, "{host} {path}");
    }
    assert_eq!(find(&table, "POST", "only.example.com", "/a/b"), "* *.example.com/a/b");
}

#[test]
fn one_segment_is_never_empty_and_rest_may_be() {
    let table = table(&["* /a/*", "* /b/**", "* /c/*/**"]).unwrap();
    for (path, expected) in [
        ("/a/x", "* /a/*"),
        ("/a/", "-  []"),
        ("/a", "-  []"),
        ("/a/x/", "- * /a/* []"),
        ("/b", "* /b/**"),
        ("/b/", "* /b/**"),
        ("/c", "-  []"),
        ("/c/", "-  []"),
        ("/c/x", "* /c/*/**"),
        ("/c/x/", "* /c/*/**"),
        ("", "-  []"),
        ("*", "-  []"),
    ] {
        assert_eq!(find(&table, "OPTIONS", "x", path), expected, "{path}");
    }
}

#[test]
fn an_unmatched_request_is_told_what_encloses_it_and_which_methods_there_are() {
    let table = table(&[
        "GET /a/**",
        "PUT /a/**",
        "POST /a/b",
        "DELETE /a/{id}",
        "GET /a/b/c",
        "PATCH h.example/a/x",
    ])
    .unwrap();
    for (method, host, path, expected) in [
        ("PATCH", "x", "/a/b", "- POST /a/b [DELETE, GET, HEAD, POST, PUT]"),
        ("PATCH", "x", "/a/b/c", "- GET /a/b/c [GET, HEAD, PUT]"),
        ("PATCH", "x", "/a/b/c/d", "- GET /a/b/c [GET, HEAD, PUT]"),
        ("PATCH", "x", "/a", "- GET /a/** + PUT /a/** [GET, HEAD, PUT]"),
        ("PATCH", "x", "/z", "-  []"),
        ("POST", "h.example", "/a/x", "- PATCH h.example/a/x [DELETE, GET, HEAD, PATCH, PUT]"),
        ("POST", "h.example", "/z", "-  []"),
    ] {
        assert_eq!(find(&table, method, host, path), expected, "{method} {host}{path}");
    }
}

#[test]
fn a_literal_spelled_in_another_case_is_taken_by_nothing() {
    let table = table(&["* /**", "* /users/{id}", "GET /users/me", "GET /users/me/keys/**"]);
    let table = table.unwrap();
    for (path, expected) in [
        ("/users/me", "GET /users/me"),
        ("/users/you", "* /users/{id}"),
        ("/users/Me", "- GET /users/me []"),
        ("/USERS/me", "- GET /users/me []"),
        ("/users/ME/other", "- GET /users/me []"),
        ("/users/me/KEYS/1", "- GET /users/me/keys/** []"),
        ("/users/me/other", "* /**"),
        ("/userS", "- * /** []"),
    ] {
        assert_eq!(find(&table, "GET", "x", path), expected, "{path}");
    }
    assert_eq!(find(&table, "POST", "x", "/users/me"), "* /users/{id}");
    assert_eq!(find(&table, "POST", "x", "/users/ME"), "- GET /users/me []");
}

#[test]
fn another_spelling_of_a_literal_opens_no_laxer_route() {
    let table =
        table(&["* /api/**", "* /API/**", "GET /api/admin", "GET /API/open", "* /api/{id}/x"]);
    let table = table.unwrap();
    for (path, expected) in [
        ("/api/z", "* /api/**"),
        ("/API/z", "* /API/**"),
        ("/api/admin", "GET /api/admin"),
        ("/API/open", "GET /API/open"),
        ("/api/open", "- GET /API/open []"),
        ("/Api/z", "- * /api/** []"),
        ("/api/1/x", "* /api/{id}/x"),
    ] {
        assert_eq!(find(&table, "GET", "x", path), expected, "{path}");
    }
    assert!(find(&table, "GET", "x", "/API/admin").starts_with('-'));
    assert!(find(&table, "GET", "x", "/API/1/x").starts_with('-'));
    assert_eq!(find(&table, "POST", "x", "/API/admin"), "* /API/**");
}

#[test]
fn named_segments_are_captured() {
    let table = table(&["GET /a/{x}/*/{y}/**", "POST /a/{z}"]).unwrap();
    let captured = |method: &str, path: &str| {
        let Lookup::Found { params, .. } = table.find(method, "h", path) else { panic!() };
        params
            .ranges()
            .iter()
            .map(|range| path.get(range.clone()).unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(captured("GET", "/a/1/2/3"), ["1", "3"]);
    assert_eq!(captured("GET", "/a/1/2/3/4/"), ["1", "3"]);
    assert_eq!(captured("POST", "/a/zz"), ["zz"]);
}

#[test]
fn ties_and_unreachable_routes_are_conflicts() {
    let tie = |first, second| vec![Conflict::Tie { first, second }];
    let unreachable = |pattern| vec![Conflict::Unreachable { pattern }];
    for (texts, expected) in [
        (vec!["GET /a", "GET /a"], tie(0, 1)),
        (vec!["GET,POST /a", "PUT,POST /a"], tie(0, 1)),
        (vec!["* /b", "* /a/{x}", "* /a/{y}"], tie(1, 2)),
        (vec!["* /a/{x}", "* /a/*"], tie(0, 1)),
        (vec!["* /a/**", "* /a/**"], tie(0, 1)),
        (vec!["* H.example/a", "* h.example/a"], tie(0, 1)),
        (vec!["* /%61", "* /a"], tie(0, 1)),
        (vec!["GET /a/**", "* /a", "* /a/", "* /a/*/**"], unreachable(0)),
        (
            vec![
                "GET,PUT /a/**",
                "* /a",
                "GET,PUT /a/",
                "* /a/{x}",
                "* /a/*/",
                "PUT,GET /a/*/*/**",
            ],
            unreachable(0),
        ),
        (vec!["* /**", "* /", "* /*/**"], unreachable(0)),
    ] {
        assert_eq!(table(&texts).err(), Some(expected), "{texts:?}");
    }
    for texts in [
        vec!["GET /a", "POST /a", "* /a", "HEAD /a"],
        vec!["GET /a", "GET /a/", "GET /a/*", "GET /a/**"],
        vec!["GET /a", "GET /A"],
        vec!["* h.example/a", "* *.example/a", "* /a"],
        vec!["* /a/**", "GET /a", "* /a/", "* /a/*/**"],
        vec!["* /a/**", "* /a", "* /a/*/**"],
        vec!["* /**", "* /*/**"],
        vec!["GET,PUT /a/**", "* /a", "* /a/", "GET /a/*/**"],
    ] {
        assert!(table(&texts).is_ok(), "{texts:?}");
    }
}
