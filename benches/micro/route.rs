//! What it costs to find a route among 10, 1,000 and 10,000, and to judge an expression.
#![expect(clippy::unwrap_used, reason = "a benchmark stops at the first surprise")]

use std::hint::black_box;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::sync::Arc;

use criterion::Criterion;
use criterion::criterion_group;
use criterion::criterion_main;
use portcullis::clock::Timestamp;
use portcullis::policy::Expression;
use portcullis::policy::Facts;
use portcullis::policy::Policy;
use portcullis::principal::Permissions;
use portcullis::principal::Principal;
use portcullis::principal::Subject;
use portcullis::route::Pattern;
use portcullis::route::RouteTable;
use serde_json::json;

/// Five routes of each of `count / 5` resources.
fn table(count: usize) -> RouteTable<usize> {
    let routes = (0..count)
        .map(|number| {
            let resource = number / 5;
            let text = match number % 5 {
                0 => format!("GET /api/v1/resource{resource}"),
                1 => format!("POST /api/v1/resource{resource}"),
                2 => format!("GET /api/v1/resource{resource}/{{id}}"),
                3 => format!("PUT,DELETE /api/v1/resource{resource}/{{id}}/items/{{item}}"),
                _ => format!("* /api/v1/resource{resource}/**"),
            };
            (Pattern::parse(&text).unwrap(), number)
        })
        .collect();
    RouteTable::build(routes).unwrap()
}

fn find(criterion: &mut Criterion) {
    for count in [10, 1_000, 10_000] {
        let table = table(count);
        let resource = count / 5 - 1;
        for (name, path) in [
            ("literal", format!("/api/v1/resource{resource}")),
            ("params", format!("/api/v1/resource{resource}/42/items/7")),
            ("rest", format!("/api/v1/resource{resource}/a/b/c/d")),
            ("unmatched", "/api/v1/other/42".to_owned()),
        ] {
            let method = if name == "params" { "PUT" } else { "GET" };
            let find = || table.find(black_box(method), "api.example.com", black_box(&path));
            criterion.bench_function(&format!("{name}/{count}"), |bencher| bencher.iter(find));
        }
    }
}

fn judge(criterion: &mut Criterion) {
    let serde_json::Value::Object(claims) = json!({"sub": "u1", "groups": ["staff", "eu"]}) else {
        return;
    };
    let user = Subject {
        identity: "u1".into(),
        issuer: "self".into(),
        claims,
        permissions: Permissions::Names(vec!["a:b".into()]),
        expires_at: Timestamp::from_seconds(0),
        bound_to: None,
        own: None,
    };
    let principal =
        Principal { app: None, user: Some(Arc::new(user)), facts: None, certificate: None };
    let facts = Facts {
        principal: &principal,
        method: "GET",
        host: "api.example.com",
        path: "/users/u1",
        params: &[7..9, 7..9],
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
    };
    for (name, text) in [
        ("can", r#"user.can("a:b") && request.method == "GET""#),
        ("own", "request.params.id == user.id"),
        ("claim", r#""eu" in user.claims.groups"#),
    ] {
        let allow = Some(Expression::parse(text, &["id"]).unwrap());
        let policy = Policy { permissions: Vec::new(), allow };
        criterion.bench_function(&format!("allow/{name}"), |bencher| {
            bencher.iter(|| black_box(&policy).permit(black_box(&facts)));
        });
    }
}

criterion_group!(benches, find, judge);
criterion_main!(benches);
