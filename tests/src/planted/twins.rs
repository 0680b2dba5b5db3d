//! All defects compiled at once: each in a twin of the function that it changes, chosen when a program starts.
//!
//! Building the workspace for each defect would take hours. So the copy holds, beside a function in which defects are
//! planted, a twin of it for each of them; the function begins by asking for the number of the defect in force, which
//! the environment states, and calls the twin of that number. What cannot be twinned so, such as a method of a trait, is
//! [built alone](Woven::numbers).

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use super::defect::{Defect, Edit, read};

/// The environment states in it the number of the defect in force; none is, without it.
pub const IN_FORCE: &str = "OPENRAFT_PLANTED_DEFECT";

/// Where the function is put that reads it, and how each crate calls it.
const HOME: &str = "engine/src/lib.rs";
const CRATES: &[(&str, &str)] = &[
    ("engine/", "crate"),
    ("replication/", "openraft_adapters::engine"),
    ("openraft-core/", "openraft_engine"),
];

/// Sources in which defects have their twins.
#[derive(Clone, Debug, Default)]
pub struct Woven {
    /// The files that differ from those of the workspace, and what they are.
    pub files: BTreeMap<String, String>,
    /// The numbers of the defects that have twins; those without are planted by changing the file, and built alone.
    pub numbers: BTreeMap<String, u32>,
}

/// A function of a file.
#[derive(Clone, Debug)]
struct Function {
    /// Its text, up to the line behind its last brace.
    span: Range<usize>,
    name: String,
    /// Where its parameters end, and its body begins.
    body: usize,
    /// How it calls a function of that name with its own parameters; none if it cannot.
    call: Option<(String, String)>,
}

/// Gives every defect a twin of each function that it changes, as far as it can.
///
/// # Errors
/// If a change does not apply, or a file cannot be read.
pub fn weave<'a>(root: &Path, defects: impl Iterator<Item = &'a Defect>) -> Result<Woven, String> {
    let mut woven = Woven::default();
    // Of each file and function, by where it begins, the twins.
    let mut twins: BTreeMap<String, BTreeMap<usize, Vec<(u32, String)>>> = BTreeMap::new();
    let mut texts: BTreeMap<String, String> = BTreeMap::new();
    for (number, defect) in (1..).zip(defects) {
        defect.changed_files(root)?;
        for edit in &defect.edits {
            if !texts.contains_key(&edit.file) {
                texts.insert(edit.file.clone(), read(&root.join(&edit.file))?);
            }
        }
        let Some(changed) = changed_functions(&defect.edits, &texts) else { continue };
        for ((file, begin), text) in changed {
            twins.entry(file).or_default().entry(begin).or_default().push((number, text));
        }
        woven.numbers.insert(defect.name.clone(), number);
    }
    for (file, twins) in twins {
        let text = with_twins(&file, &texts[&file], &twins);
        woven.files.insert(file, text);
    }
    let home = match woven.files.remove(HOME) {
        Some(text) => text,
        None => read(&root.join(HOME))?,
    };
    woven.files.insert(HOME.to_owned(), format!("{home}{}", asks()));
    Ok(woven)
}

/// The functions that the edits change, by file and where they begin, as the edits make them; `None` if one cannot have
/// a twin.
fn changed_functions(
    edits: &[Edit],
    texts: &BTreeMap<String, String>,
) -> Option<BTreeMap<(String, usize), String>> {
    let mut changed = BTreeMap::new();
    for edit in edits {
        let text = &texts[&edit.file];
        let at = text.find(&edit.find)?;
        let function = functions(text)
            .into_iter()
            .rfind(|function| function.span.start <= at && at + edit.find.len() <= function.span.end)?;
        function.call.as_ref()?;
        let own = changed
            .entry((edit.file.clone(), function.span.start))
            .or_insert_with(|| text[function.span.clone()].to_owned());
        *own = own.replacen(&edit.find, &edit.put, 1);
    }
    Some(changed)
}

/// The file with the twins behind their functions, which choose between them and themselves.
fn with_twins(file: &str, text: &str, twins: &BTreeMap<usize, Vec<(u32, String)>>) -> String {
    let path =
        CRATES.iter().find(|(directory, _)| file.starts_with(directory)).map_or("crate", |(_, path)| path);
    let (mut woven, mut done) = (String::new(), 0);
    for function in functions(text) {
        let Some(twins) = twins.get(&function.span.start) else { continue };
        let (before, after) = function.call.as_ref().expect("only such a function has twins");
        woven.push_str(&text[done..function.span.start]);
        // What asks the environment is no constant.
        woven.push_str(&text[function.span.start..function.body].replacen("const fn ", "fn ", 1));
        for (number, _) in twins {
            let name = twin_name(&function.name, *number);
            woven.push_str(&format!("\nif {path}::is_planted({number}) {{ return {before}{name}{after}; }}"));
        }
        woven.push_str(&text[function.body..function.span.end]);
        for (number, twin) in twins {
            let name = twin_name(&function.name, *number);
            let head = format!("fn {}", function.name);
            woven.push_str(&twin.replacen("const fn ", "fn ", 1).replacen(&head, &format!("fn {name}"), 1));
        }
        done = function.span.end;
    }
    woven.push_str(&text[done..]);
    woven
}

fn twin_name(name: &str, number: u32) -> String {
    format!("{name}_planted_{number}")
}

/// The function by which every other asks whether a defect is in force.
fn asks() -> String {
    format!(
        "
/// Whether the defect of that number is in force.
pub fn is_planted(number: u32) -> bool {{
    static IN_FORCE: std::sync::OnceLock<u32> = std::sync::OnceLock::new();
    let stated = || std::env::var(\"{IN_FORCE}\").ok()?.parse().ok();
    *IN_FORCE.get_or_init(|| stated().unwrap_or(0)) == number
}}
"
    )
}

/// The functions of a source that is formatted as ours are: a function ends with the first brace that stands where its
/// first line does.
fn functions(text: &str) -> Vec<Function> {
    let mut functions = Vec::new();
    let mut of_a_trait = false;
    let mut begin = 0;
    for line in text.split_inclusive('\n') {
        if line.starts_with("impl") {
            let head = &text[begin..];
            of_a_trait = head[..head.find('{').unwrap_or(head.len())].contains(" for ");
        } else if line.starts_with('}') {
            of_a_trait = false;
        }
        if let Some(mut function) = function_at(text, begin, line) {
            if of_a_trait {
                function.call = None;
            }
            functions.push(function);
        }
        begin += line.len();
    }
    functions
}

fn function_at(text: &str, begin: usize, line: &str) -> Option<Function> {
    let head = line.trim_start();
    let indent = line.len() - head.len();
    let (before, after) = head.split_once("fn ")?;
    let is_head =
        before.split_whitespace().all(|word| word.starts_with("pub") || word == "const" || word == "async");
    if !is_head {
        return None;
    }
    let name: String = after.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    let rest = &text[begin..];
    let close = format!("\n{}}}\n", &line[..indent]);
    let end = rest.find(&close)? + close.len();
    // Behind a `where` the brace stands on a line of its own.
    let own_line = format!("\n{}{{\n", &line[..indent]);
    let opens =
        [" {\n", &own_line].iter().filter_map(|brace| Some(rest.find(brace)? + brace.len() - 1)).min();
    let body = opens?;
    let awaits = if before.contains("async") { ".await" } else { "" };
    let call = call(&rest[indent + before.len() + "fn ".len() + name.len()..], awaits, indent > 0);
    Some(Function { span: begin..begin + end, name, body: begin + body, call })
}

/// What stands before and behind the name in a call with the parameters that `signature` begins with.
fn call(signature: &str, awaits: &str, in_impl: bool) -> Option<(String, String)> {
    let (mut depth, mut parts, mut part, mut last) = (0, Vec::new(), String::new(), ' ');
    let mut inside = false;
    for c in signature.chars() {
        match c {
            '(' if depth == 0 => inside = true,
            ')' if depth == 1 && inside => break,
            ',' if depth == 1 && inside => parts.push(std::mem::take(&mut part)),
            _ if inside => part.push(c),
            _ => {}
        }
        match c {
            '(' | '[' | '<' => depth += 1,
            ')' | ']' => depth -= 1,
            '>' if last != '-' => depth -= 1,
            _ => {}
        }
        last = c;
    }
    parts.push(part);
    let (mut of_self, mut names) = (false, Vec::new());
    for part in parts.iter().map(|part| part.trim()).filter(|part| !part.is_empty()) {
        if part.split(['&', ' ']).next_back() == Some("self") {
            of_self = true;
            continue;
        }
        let name = part.split_once(':')?.0.trim_start_matches("mut ");
        if !name.chars().all(|c| c.is_alphanumeric() || c == '_') {
            return None;
        }
        names.push(name.to_owned());
    }
    let before = match (of_self, in_impl) {
        (true, _) => "self.",
        (false, true) => "Self::",
        (false, false) => "",
    };
    Some((before.to_owned(), format!("({}){awaits}", names.join(", "))))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "\
impl<T> Set<T> {
    /// Doc.
    pub(super) fn most(&mut self, mut n: usize, of: impl Fn(&T) -> Option<u64>) -> usize
    where
        T: Ord,
    {
        n / 2 + 1
    }

    fn new(n: usize) -> Self {
        Self(n)
    }
}

impl<T> Default for Set<T> {
    fn default() -> Self {
        Self(0)
    }
}

pub const fn free((a, b): (u64, u64)) -> u64 {
    a + b
}
";

    fn woven(find: &str, put: &str) -> Option<String> {
        let edit = Edit { file: "engine/a.rs".to_owned(), find: find.to_owned(), put: put.to_owned() };
        let texts = BTreeMap::from([(edit.file.clone(), SOURCE.to_owned())]);
        let changed = changed_functions(&[edit], &texts)?;
        let twins = changed.into_iter().map(|((_, begin), text)| (begin, vec![(7, text)])).collect();
        Some(with_twins("engine/a.rs", SOURCE, &twins))
    }

    #[test]
    fn a_function_chooses_between_itself_and_its_twin() {
        let text = woven("n / 2 + 1", "n / 2").expect("it can have a twin");
        assert!(
            text.contains(
                "if crate::is_planted(7) { return self.most_planted_7(n, of); }\n        n / 2 + 1\n"
            )
        );
        assert!(text.contains("pub(super) fn most_planted_7(&mut self, mut n: usize"), "{text}");
        assert!(text.contains("    {\n        n / 2\n    }\n\n    fn new"), "{text}");
        let text = woven("Self(n)", "Self(n + 1)").expect("it can have a twin");
        assert!(text.contains("{ return Self::new_planted_7(n); }\n        Self(n)\n"), "{text}");
    }

    #[test]
    fn what_cannot_call_a_twin_has_none() {
        assert_eq!(woven("Self(0)", "Self(1)"), None, "a method of a trait");
        assert_eq!(woven("a + b", "a - b"), None, "a parameter without a name");
        assert_eq!(woven("/// Doc.", ""), None, "no function");
    }
}
