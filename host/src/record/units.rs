//! Numbers as people read them: three or four digits and a unit.

/// Bytes in decimal units with three digits: `999 B`, `1.23 kB`, `12.3 MB`.
pub fn bytes(count: u64) -> String {
    if count < 1000 {
        return format!("{count} B");
    }
    let mut value = count as f64;
    for unit in ["kB", "MB", "GB", "TB", "PB", "EB"] {
        value /= 1000.0;
        // 999.5 and more would be rounded to four digits: the next unit says it in three.
        if value < 999.5 || unit == "EB" {
            let decimals = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
            return format!("{value:.decimals$} {unit}");
        }
    }
    unreachable!("the last unit takes every value")
}

/// A share as a percentage with two decimals: `91.40 %`.
pub fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}

/// A duration: `4.1 ms`, `0.42 s`, `12.3 s`, `4 min 05 s`, `2 h 10 min`.
pub fn seconds(duration: f64) -> String {
    if !duration.is_finite() || duration < 0.0 {
        return "–".into();
    }
    if duration < 0.0995 && duration > 0.0 {
        return format!("{:.1} ms", duration * 1e3);
    }
    if duration < 9.995 {
        return format!("{duration:.2} s");
    }
    if duration < 59.95 {
        return format!("{duration:.1} s");
    }
    let whole = duration.round() as u64;
    if whole < 3600 {
        return format!("{} min {:02} s", whole / 60, whole % 60);
    }
    format!("{} h {:02} min", whole / 3600, whole % 3600 / 60)
}

/// A whole number in groups of three: `1,663,370`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_three_digits_and_a_decimal_unit() {
        let cases = [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.00 kB"),
            (1234, "1.23 kB"),
            (9994, "9.99 kB"),
            (9996, "10.0 kB"),
            (99_960, "100 kB"),
            (999_499, "999 kB"),
            (999_500, "1.00 MB"),
            (6_653_480, "6.65 MB"),
            (u64::MAX, "18.4 EB"),
        ];
        for (count, shown) in cases {
            assert_eq!(bytes(count), shown);
        }
    }

    #[test]
    fn durations_change_their_unit_with_their_size() {
        let cases = [
            (0.0, "0.00 s"),
            (0.0041, "4.1 ms"),
            (9.994, "9.99 s"),
            (9.996, "10.0 s"),
            (59.94, "59.9 s"),
            (59.96, "1 min 00 s"),
            (3599.4, "59 min 59 s"),
            (3599.6, "1 h 00 min"),
            (f64::NAN, "–"),
        ];
        for (duration, shown) in cases {
            assert_eq!(seconds(duration), shown);
        }
    }

    #[test]
    fn counts_are_grouped_and_shares_are_percentages() {
        assert_eq!([count(0), count(999), count(1000), count(1_663_370)], ["0", "999", "1,000", "1,663,370"]);
        assert_eq!(percent(0.914), "91.40 %");
    }
}
