//! A scenario file: title, prose, commands and what they print.

use std::path::Path;

use super::compare::difference;
use super::interpreter::Interpreter;

/// A scenario as its file has it.
#[derive(Clone, Debug)]
pub struct Scenario {
    name: String,
    text: String,
}

/// A part of a scenario's text.
enum Part<'a> {
    Prose(&'a str),
    Command(&'a str),
}

impl Scenario {
    /// A scenario of this text, `name` for what it is called in messages.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self { name: name.into(), text: text.into() }
    }

    /// Its first line.
    pub fn title(&self) -> &str {
        self.text.lines().next().unwrap_or_default()
    }

    /// Everything but what was printed.
    fn parts(&self) -> Vec<(usize, Part<'_>)> {
        let mut parts = Vec::new();
        let mut printed = false;
        for (number, line) in (1..).zip(self.text.lines()) {
            if let Some(command) = line.strip_prefix("> ") {
                parts.push((number, Part::Command(command)));
                printed = true;
            } else if !(printed && line.starts_with("  ")) {
                parts.push((number, Part::Prose(line)));
                printed = false;
            }
        }
        parts
    }

    /// Carries out the commands. Returns the scenario's text with what they printed.
    ///
    /// # Errors
    /// A command that is none, or an invariant that was broken, with the line.
    pub fn run(&self) -> Result<String, String> {
        if self.title().is_empty() || self.title().starts_with("> ") {
            return Err(format!("{}: a scenario begins with its title", self.name));
        }
        let mut interpreter = Interpreter::default();
        let mut text = String::new();
        for (number, part) in self.parts() {
            match part {
                Part::Prose(line) => text.push_str(line),
                Part::Command(command) => {
                    let shown = Shown { name: &self.name, number, command };
                    text.push_str("> ");
                    text.push_str(command);
                    let printed = interpreter
                        .carry_out(command)
                        .map_err(|error| format!("{}:{number}: {command}: {error}", self.name))?;
                    for line in printed {
                        text.push_str("\n  ");
                        text.push_str(&line);
                    }
                    drop(shown);
                }
            }
            text.push('\n');
        }
        Ok(text)
    }
}

/// Names the command in a panic's output.
struct Shown<'a> {
    name: &'a str,
    number: usize,
    command: &'a str,
}

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}:{}: > {}", self.name, self.number, self.command);
        }
    }
}

/// Runs the scenario in a file and compares what it prints with what the file says; or, if `write`, puts it there.
///
/// # Errors
/// Where they differ, or why it could not be run.
pub fn run_file(path: &Path, write: bool) -> Result<(), String> {
    let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let said = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let happened = Scenario::new(&name, &said).run()?;
    if write {
        if said != happened {
            std::fs::write(path, &happened).map_err(|error| format!("{}: {error}", path.display()))?;
        }
        return Ok(());
    }
    match difference(&said, &happened) {
        None => Ok(()),
        Some(difference) => Err(format!(
            "{name} does not say what happens (- the file, + the run; SCENARIOS_WRITE=1 writes it):\n{difference}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALONE: &str = "A node alone\n\nIt elects itself.\n\n> cluster 1\n> elect 1\n> log\n";

    #[test]
    fn what_is_printed_stands_behind_its_command_and_running_again_changes_nothing() {
        let printed = Scenario::new("alone", ALONE).run().expect("it runs");
        assert!(printed.contains("> log\n  1: 0 1"), "{printed}");
        assert_eq!(Scenario::new("alone", &printed).run().expect("it runs"), printed);
    }

    #[test]
    fn a_word_that_is_no_command_is_named_with_its_line() {
        let error = Scenario::new("odd", "Title\n\n> cluster 1\n> jump 1\n").run().expect_err("no command");
        assert_eq!(error, "odd:4: jump 1: there is no command jump");
    }

    #[test]
    fn a_scenario_has_a_title() {
        assert!(Scenario::new("untitled", "> cluster 1\n").run().is_err());
    }
}
