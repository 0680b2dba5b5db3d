//! Shows where what happened differs from what a file says.

/// The lines around the first difference, and every line that differs from there on, `-` for what the file says and
/// `+` for what happened; `None` if they are equal.
pub fn difference(said: &str, happened: &str) -> Option<String> {
    if said == happened {
        return None;
    }
    let (said, happened): (Vec<&str>, Vec<&str>) = (said.lines().collect(), happened.lines().collect());
    let common = said.iter().zip(&happened).take_while(|(a, b)| a == b).count();
    let after =
        said[common..].iter().rev().zip(happened[common..].iter().rev()).take_while(|(a, b)| a == b).count();
    let mut lines = vec![format!("line {}:", common + 1)];
    lines.extend(said[common.saturating_sub(6)..common].iter().map(|line| format!("  {line}")));
    lines.extend(said[common..said.len() - after].iter().map(|line| format!("- {line}")));
    lines.extend(happened[common..happened.len() - after].iter().map(|line| format!("+ {line}")));
    Some(lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_have_no_difference() {
        assert_eq!(difference("a\nb", "a\nb"), None);
    }

    #[test]
    fn a_changed_line_is_shown_in_its_place() {
        let shown = difference("a\nb\nc", "a\nx\nc").expect("they differ");
        assert_eq!(shown, "line 2:\n  a\n- b\n+ x");
    }

    #[test]
    fn lines_that_are_missing_or_too_many_are_shown() {
        assert_eq!(difference("a\nb", "a").expect("they differ"), "line 2:\n  a\n- b");
        assert_eq!(difference("a", "a\nb").expect("they differ"), "line 2:\n  a\n+ b");
    }
}
