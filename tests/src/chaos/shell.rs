//! Commands of the system, run to their end, with what they said if they failed.

use std::process::{Command, Stdio};

/// Runs `command` and returns its standard output, or its command line and standard error.
pub(super) fn output(command: &mut Command) -> Result<String, String> {
    let result = command.stdin(Stdio::null()).output();
    let output = result.map_err(|e| format!("{} cannot be run: {e}", shown(command)))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said: Vec<&str> = said.lines().map(str::trim).collect();
    Err(format!("{} ended with {}: {}", shown(command), output.status, said.join(" ")))
}

/// The same for a program and its arguments, separated by spaces.
pub(super) fn run(line: &str) -> Result<String, String> {
    let mut words = line.split_whitespace();
    let program = words.next().ok_or("an empty command")?;
    output(Command::new(program).args(words))
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_fails_is_told_with_its_words() {
        assert_eq!(run("echo a  b").unwrap(), "a b\n");
        let error = run("ls /nowhere-at-all").unwrap_err();
        assert!(error.starts_with("ls /nowhere-at-all ended with"), "{error}");
        assert!(run("no-such-program-anywhere").unwrap_err().contains("cannot be run"));
    }
}
