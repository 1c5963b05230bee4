//! The demonstration: what it prints is true, and nothing of it stays.

use std::net::SocketAddr;
use std::net::TcpListener;

use crate::shell::Folder;
use crate::shell::exchange;

#[test]
fn every_line_that_the_demo_prints_is_answered_as_it_says() {
    let folder = Folder::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let run = folder.start(&["demo", "--port", &port]);
    let told = run.line();
    assert!(told.contains("cannot be used") && told.contains(&port), "{told}");
    let (mut expected, mut statuses) = (None, Vec::new());
    loop {
        let line = run.line();
        if let Some(rest) = line.strip_prefix("#    expect ") {
            let (status, shows) = rest.split_once(" with ").unwrap();
            expected = Some((status.parse::<u16>().unwrap(), shows.to_owned()));
        } else if line.starts_with("curl") {
            let (address, request) = request_of(&line);
            let (expected, shows) = expected.take().unwrap();
            let (status, answer) = exchange(address, &request);
            assert!(status == expected && answer.contains(&shows), "{line}\n{answer}");
            statuses.push(status);
        } else if line.starts_with("Ctrl-C") {
            break;
        }
    }
    assert_eq!(
        statuses,
        [
            [200, 401, 401, 401, 401, 401, 403, 200, 200, 401, 404, 400].as_slice(),
            &[200, 499, 200, 401],
            &[200, 200, 401].repeat(4),
        ]
        .concat()
    );
    run.signal("INT");
    assert_eq!(run.end().0, 0);
    assert_eq!(std::fs::read_dir(folder.path("tmp")).unwrap().count(), 0);
    assert_eq!(std::fs::read_dir(folder.0.path()).unwrap().count(), 1, "only tmp itself");
}

#[test]
fn the_demo_checks_itself_and_leaves_nothing_behind() {
    let folder = Folder::new();
    let out = folder.good(&["demo", "--port", "0", "--check"]);
    assert_eq!(out.lines().filter(|line| line.starts_with("ok ")).count(), 28, "{out}");
    for signal in ["TERM", "HUP", "QUIT"] {
        let run = folder.start(&["demo", "--port", "0"]);
        run.line_with("Ctrl-C");
        run.signal(signal);
        assert_eq!(run.end().0, 0, "{signal}");
    }
    assert_eq!(std::fs::read_dir(folder.path("tmp")).unwrap().count(), 0);
}

/// The request that a printed `curl` line sends.
fn request_of(curl: &str) -> (SocketAddr, String) {
    let mut words = Vec::new();
    for (number, part) in curl.split('\'').enumerate() {
        match number % 2 {
            0 => words.extend(part.split_whitespace().map(str::to_owned)),
            _ => words.push(part.to_owned()),
        }
    }
    let mut words = words.into_iter();
    assert_eq!(words.next().as_deref(), Some("curl"));
    let (mut method, mut url) = ("GET".to_owned(), String::new());
    let (mut headers, mut body) = (String::new(), String::new());
    while let Some(word) = words.next() {
        match word.as_str() {
            "-i" => {}
            "-X" => method = words.next().unwrap(),
            "-H" => headers.extend([words.next().unwrap().as_str(), "\r\n"]),
            "-d" => body = words.next().unwrap(),
            _ => url = word,
        }
    }
    let (authority, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut fixed = format!("Connection: close\r\nContent-Length: {}\r\n", body.len());
    if !headers.contains("Host: ") {
        fixed.extend(["Host: ", authority, "\r\n"]);
    }
    let request = format!("{method} /{path} HTTP/1.1\r\n{fixed}{headers}\r\n{body}");
    (authority.parse().unwrap(), request)
}
