//! What a page shows against what came. `…` in a line stands for whatever varies there: a time, a port, a process id. A
//! line of its own, it stands for any number of lines.

/// What varies.
const VARIES: char = '…';

/// Whether this line of a page stands for any number of lines.
pub fn any_lines(shown: &str) -> bool {
    shown.trim() == "…"
}

/// Whether `came` is what the line `shown` shows. Space at the end does not count.
pub fn line_matches(shown: &str, came: &str) -> bool {
    let (shown, came) = (shown.trim_end(), came.trim_end());
    let mut pieces = shown.split(VARIES);
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = came.strip_prefix(first) else { return false };
    let mut pieces: Vec<&str> = pieces.collect();
    let Some(last) = pieces.pop() else { return rest.is_empty() };
    for piece in pieces {
        match rest.find(piece) {
            Some(at) => rest = &rest[at + piece.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// Whether the lines that came are the lines shown, all of them.
pub fn lines_match(shown: &[&str], came: &[&str]) -> bool {
    match shown {
        [] => came.is_empty(),
        [first, rest @ ..] if any_lines(first) => (0..=came.len()).any(|n| lines_match(rest, &came[n..])),
        [first, rest @ ..] => match came {
            [one, others @ ..] => line_matches(first, one) && lines_match(rest, others),
            [] => false,
        },
    }
}
