//! Instants as people write and read them.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::config::Length;

/// Reads `2026-11-05T12:00:00Z`, or a distance from `now` such as `+10m` and `-1h`.
pub(super) fn parse(text: &str, now: Timestamp) -> Option<Timestamp> {
    if let Some(length) = text.strip_prefix('+') {
        return Length::parse(length).map(|length| now.plus(length.0));
    }
    if let Some(length) = text.strip_prefix('-') {
        return Length::parse(length).map(|length| now.minus(length.0));
    }
    let instant: jiff::Timestamp = text.parse().ok()?;
    Some(Timestamp::from_millis(instant.as_millisecond()))
}

/// RFC 3339 in UTC to the second; the bare number beyond every calendar.
pub(super) fn civil(at: Timestamp) -> String {
    jiff::Timestamp::from_second(at.seconds())
        .map_or_else(|_| at.seconds().to_string(), |at| at.to_string())
}

/// How far `at` lies from `now`, in its two largest units: `in 2h 5m`, `3d ago`.
pub(super) fn distance(at: Timestamp, now: Timestamp) -> String {
    if at > now {
        format!("in {}", length(at.since(now)))
    } else {
        format!("{} ago", length(now.since(at)))
    }
}

fn length(length: Duration) -> String {
    let seconds = length.as_secs();
    let parts = [
        (seconds / 86_400, "d"),
        (seconds / 3600 % 24, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
    ];
    let shown = parts.iter().skip_while(|(count, _)| *count == 0).take(2);
    let words: Vec<String> = shown
        .filter(|(count, _)| *count > 0)
        .map(|(count, unit)| format!("{count}{unit}"))
        .collect();
    if words.is_empty() { "0s".to_owned() } else { words.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    #[test]
    fn an_instant_is_written_whole_or_as_a_distance() {
        let seconds = |text: &str| parse(text, NOW).map(Timestamp::seconds);
        assert_eq!(seconds("2027-01-15T08:00:00Z"), Some(1_800_000_000));
        assert_eq!(seconds("2027-01-15T09:00:00+01:00"), Some(1_800_000_000));
        assert_eq!(seconds("+10m"), Some(1_800_000_600));
        assert_eq!(seconds("-1h"), Some(1_799_996_400));
        for bad in ["", "now", "10m", "+10", "+-1m", "2027-01-15", "1800000000"] {
            assert_eq!(seconds(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_distance_is_told_in_its_two_largest_units() {
        let told = |seconds: i64| distance(Timestamp::from_seconds(1_800_000_000 + seconds), NOW);
        assert_eq!(told(0), "0s ago");
        assert_eq!(told(1), "in 1s");
        assert_eq!(told(-59), "59s ago");
        assert_eq!(told(60), "in 1m");
        assert_eq!(told(3725), "in 1h 2m");
        assert_eq!(told(-86_400), "1d ago");
        assert_eq!(told(86_400 * 3 + 7), "in 3d");
        assert_eq!(civil(NOW), "2027-01-15T08:00:00Z");
        assert_eq!(civil(Timestamp::from_millis(i64::MAX)), (i64::MAX / 1000).to_string());
    }
}
