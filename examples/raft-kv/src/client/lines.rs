//! Keys and values as text: one pair a line, escaped so that any value survives; and the package index of Debian.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use bytes::Bytes;

/// What is wrong with a line of the input.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub(crate) struct LineError {
    /// Counted from 1.
    pub(crate) line: usize,
    pub(crate) reason: String,
}

/// The pairs of an input. A key that occurs several times has its last value.
pub(crate) type Pairs = BTreeMap<String, Bytes>;

/// Writes one pair: key, tab, value, newline. In both, backslash, tab, newline and carriage return are written as
/// `\\`, `\t`, `\n`, `\r`, and a byte that is not UTF-8 as `\xHH`; a space in a key needs no escape, because the tab
/// comes first.
pub(crate) fn write_line(out: &mut String, key: &str, value: &[u8]) {
    escape(out, key.as_bytes());
    out.push('\t');
    escape(out, value);
    out.push('\n');
}

fn escape(out: &mut String, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => out.push_str("\\\\"),
                '\t' => out.push_str("\\t"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                c => out.push(c),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}"); // A String takes everything.
        }
    }
}

/// Undoes [`write_line`]'s escapes.
fn unescape(text: &[u8]) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.iter().copied();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        out.push(match rest.next() {
            Some(b'\\') => b'\\',
            Some(b't') => b'\t',
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b'x') => {
                let mut digit = || rest.next().and_then(|d| char::from(d).to_digit(16));
                match (digit(), digit()) {
                    (Some(high), Some(low)) => (high * 16 + low) as u8,
                    _ => return Err("`\\x` needs two hexadecimal digits".to_owned()),
                }
            }
            _ => {
                return Err(
                    "a backslash begins \\\\, \\t, \\n, \\r or \\xHH; write \\\\ for itself".to_owned()
                );
            }
        });
    }
    Ok(out)
}

/// Reads lines `key<TAB>value`, or `key value` where a line has no tab: the first space then ends the key. Empty lines
/// are skipped.
pub(crate) fn parse_lines(input: &[u8]) -> Result<Pairs, LineError> {
    let mut pairs = Pairs::new();
    for (i, line) in input.split(|b| *b == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            continue;
        }
        let fail = |reason: String| LineError { line: i + 1, reason };
        let end = [b'\t', b' '].iter().find_map(|s| line.iter().position(|b| b == s));
        let Some(end) = end else {
            return Err(fail("no tab and no space ends the key; write `key<TAB>value`".to_owned()));
        };
        let key = unescape(&line[..end]).map_err(fail)?;
        let key = String::from_utf8(key).map_err(|_| fail("the key is not UTF-8".to_owned()))?;
        let value = unescape(&line[end + 1..]).map_err(fail)?;
        insert(&mut pairs, key, Bytes::from(value)).map_err(fail)?;
    }
    Ok(pairs)
}

/// Reads stanzas as `apt-cache dumpavail` and the Packages files of Debian have them: the package's name is the key,
/// its version the value.
pub(crate) fn parse_dpkg(input: &[u8]) -> Result<Pairs, LineError> {
    let mut pairs = Pairs::new();
    let (mut package, mut version) = (None, None);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    let end_of_input = [&b""[..]];
    for (i, line) in input.split(|b| *b == b'\n').chain(end_of_input).enumerate() {
        if let Some(name) = line.strip_prefix(b"Package:") {
            package = Some(text(name));
        } else if let Some(number) = line.strip_prefix(b"Version:") {
            version = Some(text(number));
        } else if line.trim_ascii().is_empty() {
            let reason = match (package.take(), version.take()) {
                (None, None) => continue,
                (Some(key), Some(value)) => match insert(&mut pairs, key, Bytes::from(value)) {
                    Ok(()) => continue,
                    Err(reason) => reason,
                },
                (Some(key), None) => format!("the stanza of package {key} has no Version"),
                (None, Some(_)) => "a stanza has a Version but no Package".to_owned(),
            };
            return Err(LineError { line: i + 1, reason });
        }
    }
    Ok(pairs)
}

fn insert(pairs: &mut Pairs, key: String, value: Bytes) -> Result<(), String> {
    crate::limits::check_key(&key).map_err(|e| e.to_string())?;
    crate::limits::check_value(value.len() as u64).map_err(|e| e.to_string())?;
    pairs.insert(key, value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(expected: &[(&str, &[u8])]) -> Pairs {
        expected.iter().map(|(k, v)| ((*k).to_owned(), Bytes::copy_from_slice(v))).collect()
    }

    #[test]
    fn any_pair_survives_being_written_and_read() {
        let all = pairs(&[
            ("plain", b"value"),
            ("with space\tand tab", b"back\\slash"),
            ("empty", b""),
            ("lines", b"one\ntwo\r\n"),
            ("bytes", &[0xff, 0x00, b'a', 0xc3]),
            ("ä", "€".as_bytes()),
        ]);
        let mut text = String::new();
        for (key, value) in &all {
            write_line(&mut text, key, value);
        }
        assert_eq!(parse_lines(text.as_bytes()).unwrap(), all);
    }

    #[test]
    fn the_first_space_ends_the_key_where_there_is_no_tab_and_the_last_value_stays() {
        let read = parse_lines(b"a b c\r\n\nk 1\nk 2\nx y\tz\n").unwrap();
        assert_eq!(read, pairs(&[("a", b"b c"), ("k", b"2"), ("x y", b"z")]));
    }

    #[test]
    fn a_line_that_is_not_a_pair_is_named_with_its_reason() {
        for (text, line, reason) in [
            ("a 1\nnothing\n", 2, "ends the key"),
            ("a \\q\n", 1, "a backslash begins"),
            ("a \\x4\n", 1, "two hexadecimal digits"),
            ("\tv\n", 1, "the key is empty"),
            ("\\xff v\n", 1, "not UTF-8"),
        ] {
            let error = parse_lines(text.as_bytes()).unwrap_err();
            assert!(error.line == line && error.reason.contains(reason), "{text:?}: {error}");
        }
    }

    #[test]
    fn package_stanzas_give_name_and_version_and_ignore_what_is_indented() {
        let text = "Package: a\nDescription: x\n Package: not me\nVersion: 1.0-1\n\nPackage: b\nVersion: 2";
        assert_eq!(parse_dpkg(text.as_bytes()).unwrap(), pairs(&[("a", b"1.0-1"), ("b", b"2")]));
        let error = parse_dpkg(b"Package: a\n\n").unwrap_err();
        assert_eq!((error.line, error.reason.as_str()), (2, "the stanza of package a has no Version"));
    }
}
