//! Ten thousand routes: the right one is found, and finding it costs what it costs among ten.

use std::fmt::Write;
use std::hint::black_box;
use std::time::Duration;
use std::time::Instant;

use portcullis::route::Lookup;
use portcullis::route::Pattern;
use portcullis::route::RouteTable;

use crate::world::Ask;
use crate::world::Setup;

const MANY: usize = 10_000;

/// The n-th route: five for each resource, on four hosts and on any.
fn route(number: usize) -> (&'static str, String) {
    let resource = number / 5;
    let host = ["", "a.test", "b.a.test", "*.a.test", "gw.test"][resource % 5];
    let (methods, path) = match number % 5 {
        0 => ("GET", format!("/r{resource}")),
        1 => ("POST", format!("/r{resource}")),
        2 => ("GET", format!("/r{resource}/{{id}}")),
        3 => ("PUT,DELETE", format!("/r{resource}/{{id}}/items/{{item}}")),
        _ => ("*", format!("/r{resource}/**")),
    };
    (methods, format!("{host}{path}"))
}

/// Which of `count` routes takes this request, worked out from how they are made.
fn expected(
    count: usize,
    host: &str,
    resource: usize,
    method: &str,
    rest: &[&str],
) -> Option<usize> {
    let takes_host = match resource % 5 {
        0 => true,
        1 => host == "a.test",
        2 => host == "b.a.test",
        3 => host.ends_with(".a.test"),
        _ => host == "gw.test",
    };
    let number = resource * 5
        + match (method, rest) {
            ("GET" | "HEAD", []) => 0,
            ("POST", []) => 1,
            ("GET" | "HEAD", [_]) => 2,
            ("PUT" | "DELETE", [_, "items", _]) => 3,
            _ => 4,
        };
    (takes_host && number < count).then_some(number)
}

fn table(count: usize) -> RouteTable<usize> {
    let pattern = |number| {
        let (methods, place) = route(number);
        (Pattern::parse(&format!("{methods} {place}")).unwrap(), number)
    };
    RouteTable::build((0..count).map(pattern).collect()).unwrap()
}

fn found(table: &RouteTable<usize>, method: &str, host: &str, path: &str) -> Option<usize> {
    match table.find(method, host, path) {
        Lookup::Found { route, .. } => Some(*route),
        Lookup::Unmatched { .. } => None,
    }
}

#[test]
fn the_right_one_of_ten_thousand_is_found() {
    let table = table(MANY);
    let hosts = ["a.test", "b.a.test", "c.b.a.test", "gw.test", "x"];
    let rests: [&[&str]; 6] =
        [&[], &["7"], &["7", "items", "8"], &["7", "items"], &["a", "b", "c", "d"], &["items"]];
    // A step without a common factor meets every resource, and beyond the last one.
    for at in 0..MANY {
        let resource = (at * 7_919) % (MANY / 5 + 100);
        let host = hosts[at % hosts.len()];
        let rest = rests[(at / 5) % rests.len()];
        let method = ["GET", "POST", "PUT", "HEAD", "DELETE", "PATCH"][(at / 30) % 6];
        let path = [&[format!("/r{resource}").as_str()], rest].concat().join("/");
        let expected = expected(MANY, host, resource, method, rest);
        assert_eq!(found(&table, method, host, &path), expected, "{method} {host}{path}");
    }
    for path in ["/", "/r", "/r10000", "/R1", "/r1x", "/r01", "/r0.", "//r0"] {
        assert_eq!(found(&table, "GET", "x", path), None, "{path}");
    }
}

/// The shortest of many tries: what interrupts one does not lengthen all.
fn shortest(table: &RouteTable<usize>, resource: usize) -> Duration {
    let paths = [format!("/r{resource}"), format!("/r{resource}/1"), format!("/r{resource}/a/b")];
    let try_once = || {
        let begun = Instant::now();
        for _ in 0..20 {
            for path in &paths {
                black_box(found(table, "GET", "x", black_box(path)));
            }
        }
        begun.elapsed()
    };
    (0..200).map(|_| try_once()).min().unwrap()
}

#[test]
fn a_search_among_ten_thousand_costs_what_it_costs_among_a_hundred() {
    let (few, many) = (table(100), table(MANY));
    let (few, many) = (shortest(&few, 10), shortest(&many, MANY / 10));
    // Were each route looked at, it would be a hundred times as much.
    assert!(many < few * 20, "{many:?} against {few:?}");
}

#[test]
fn a_gateway_with_ten_thousand_routes_starts_and_judges() {
    let mut routes = String::from("\n  - { match: \"* /api/**\", to: api }\n");
    for number in 0..MANY {
        let (methods, place) = route(number);
        // One route in five is open; which one answers shows in the name that is counted.
        let open = if number % 5 == 0 { ", public: true" } else { "" };
        let match_ = format!("{methods} {place}");
        writeln!(routes, "  - {{ match: \"{match_}\", to: api, name: n{number}{open} }}").unwrap();
    }
    let world = Setup::new().routes(&routes).start();
    for resource in [0, 5, 1_004, 1_999] {
        let bare = format!("/r{resource}");
        world.pass(&Ask::get(&bare));
        world.deny(&Ask::post(&bare, "x"), &[401]);
        world.deny(&Ask::get(&format!("{bare}/7")), &[401]);
        world.pass(&Ask::get(&format!("{bare}/7")).signed());
        world.pass(&Ask::new("DELETE", &format!("{bare}/7/items/8")).signed());
        world.pass(&Ask::new("PATCH", &format!("{bare}/7/items/8")).signed());
        let page = world.admin("/metrics").text();
        for (offset, code) in [(0, 200), (1, 401), (2, 401), (2, 200), (3, 200), (4, 200)] {
            let label = format!("code=\"{code}\"");
            let name = format!("route=\"n{}\"", resource * 5 + offset);
            let counted = |line: &str| line.contains(&label) && line.contains(&name);
            assert!(page.lines().any(counted), "{name} {label}");
        }
    }
    // On a host that these routes do not name there is nothing.
    world.deny(&Ask::get("/r1999").instead("Host", "x.test"), &[401]);
    world.deny(&Ask::get("/r1999").signed().instead("Host", "x.test"), &[404]);
    world.pass(&Ask::get("/r0").instead("Host", "x.test"));
    for target in ["/r2000", "/r1999x", "/R0"] {
        world.deny(&Ask::get(target).signed(), &[404]);
        world.deny(&Ask::get(target), &[401]);
    }
}
