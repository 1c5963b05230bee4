//! Recorded exchanges as they stand in `*.http` files: sections of commands, a request and its answer.
//!
//! A section begins with `### title`; `(soon)` at its end means that the answer may take a moment to
//! become this one. Then come lines `> command`, a request, and an answer: a status line, or `UPSTREAM`
//! when the request is to be let through. `!Name` leaves out a header of `> always` before a request,
//! and says that a header is absent after the answer.

/// One section.
#[derive(Debug, Default)]
pub struct Section {
    /// What it shows.
    pub title: String,
    /// Whether the answer may come to be right a moment later.
    pub is_soon: bool,
    /// What is done before the request.
    pub commands: Vec<String>,
    /// The request and what is expected, if it has any.
    pub exchange: Option<Exchange>,
}

/// A request and its answer.
#[derive(Debug)]
pub struct Exchange {
    /// `POST /path`.
    pub line: String,
    /// Its head and body.
    pub request: Part,
    /// The status; none when it is let through.
    pub status: Option<u16>,
    /// The head and body of the answer, or of what the upstream sees.
    pub expected: Part,
}

/// Head and body of one side.
#[derive(Debug, Default)]
pub struct Part {
    /// Name and value; no value for `!Name`.
    pub headers: Vec<(String, Option<String>)>,
    /// The body without the line break at its end.
    pub body: String,
}

/// Reads a whole file.
pub fn read(text: &str) -> Vec<Section> {
    let mut sections = text.split("\n### ");
    assert_eq!(sections.next().unwrap_or_default().trim(), "", "before the first section");
    sections.map(section).collect()
}

fn section(text: &str) -> Section {
    let (title, rest) = text.split_once('\n').unwrap_or((text, ""));
    let lines: Vec<&str> = rest.lines().filter(|line| !line.starts_with("# ")).collect();
    let asked = lines.iter().position(|line| is_request(line)).unwrap_or(lines.len());
    let (before, exchange) = lines.split_at(asked);
    let title = title.trim();
    Section {
        title: title.to_owned(),
        is_soon: title.ends_with("(soon)"),
        commands: before
            .iter()
            .filter_map(|line| line.strip_prefix("> "))
            .map(str::to_owned)
            .collect(),
        exchange: exchange.split_first().map(|(line, rest)| read_exchange(title, line, rest)),
    }
}

fn is_request(line: &str) -> bool {
    let word = line.split(' ').next().unwrap_or_default();
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_uppercase()) && line.contains(" /")
}

fn read_exchange(title: &str, line: &str, rest: &[&str]) -> Exchange {
    let is_answer = |line: &&str| line.starts_with("HTTP/1.1 ") || *line == "UPSTREAM";
    let answered = rest.iter().position(is_answer).unwrap_or_else(|| panic!("no answer: {title}"));
    let (request, answer) = rest.split_at(answered);
    let status = answer[0].strip_prefix("HTTP/1.1 ").map(|rest| rest[..3].parse().unwrap());
    let (request, expected) = (part(request), part(&answer[1..]));
    Exchange { line: line.to_owned(), request, status, expected }
}

fn part(lines: &[&str]) -> Part {
    let end = lines.iter().position(|line| line.is_empty()).unwrap_or(lines.len());
    let (head, body) = lines.split_at(end);
    let header = |line: &&str| {
        if let Some(name) = line.strip_prefix('!') {
            return (name.to_owned(), None);
        }
        let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("a header: {line}"));
        (name.to_owned(), Some(value.trim().to_owned()))
    };
    Part { headers: head.iter().map(header).collect(), body: body.join("\n").trim().to_owned() }
}
