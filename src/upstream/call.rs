//! How long a client gives a call of gRPC: a bound that it set itself, so nobody else is to blame for it.

use std::time::Duration;
use std::time::Instant;

use http::HeaderMap;

/// When a call that was let through at `now` has to be over, if its client says so.
///
/// One that cannot be read binds nobody here; whoever serves the call is told and refuses it.
pub(super) fn deadline(headers: &HeaderMap, now: Instant) -> Option<Instant> {
    let text = headers.get("grpc-timeout")?.as_bytes();
    let (unit, digits) = text.split_last()?;
    let digits = std::str::from_utf8(digits).ok()?;
    if digits.len() > MOST_DIGITS || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    let timeout = match unit {
        b'H' => Duration::from_secs(count.checked_mul(3600)?),
        b'M' => Duration::from_secs(count.checked_mul(60)?),
        b'S' => Duration::from_secs(count),
        b'm' => Duration::from_millis(count),
        b'u' => Duration::from_micros(count),
        b'n' => Duration::from_nanos(count),
        _ => return None,
    };
    now.checked_add(timeout)
}

/// As the protocol allows.
const MOST_DIGITS: usize = 8;

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_deadline_is_eight_digits_and_a_unit_or_none() {
        let now = Instant::now();
        let read = |text: &'static str| {
            let headers =
                [("grpc-timeout".parse().unwrap(), HeaderValue::from_static(text))].into_iter();
            deadline(&headers.collect(), now).map(|at| at - now)
        };
        for (text, timeout) in [
            ("1H", Duration::from_hours(1)),
            ("2M", Duration::from_mins(2)),
            ("3S", Duration::from_secs(3)),
            ("0m", Duration::ZERO),
            ("00000025m", Duration::from_millis(25)),
            ("99999999u", Duration::from_micros(99_999_999)),
            ("5n", Duration::from_nanos(5)),
        ] {
            assert_eq!(read(text), Some(timeout), "{text}");
        }
        for wrong in ["", "S", "1", "1s", "1 S", "-1S", "+1S", "1.5S", "123456789m", "1SS", "one"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        assert_eq!(deadline(&HeaderMap::new(), now), None);
    }
}
