//! A page as steps to be taken.
//!
//! Blocks are fenced by three backticks or more:
//!
//! | kind | what is done |
//! |---|---|
//! | `sh` | its commands are run, one after another; each must succeed |
//! | `text` | what the block before it printed, or a conversation with a program in a terminal: what is typed stands after `> ` |
//! | `rust`, `toml` | becomes a file |
//!
//! What a page says in words, a directive says to the walk, in a comment on the line before the block:
//!
//! | directive | before | meaning |
//! |---|---|---|
//! | `terminal NAME` | `sh` | in a terminal of its own, where the last command goes on running |
//! | `in NAME` | `text` | a conversation in that terminal |
//! | `file PATH` | `rust`, `toml` | the file's content; the paragraph before must name the file |
//! | `program` | `rust` | a whole `src/main.rs`, for a package such as the guide makes; the next `text` shows what it prints |
//! | `not run: REASON` | `sh` | only for the test command |
//! | `interrupt NAME`, `kill NAME`, `close NAME` | | Ctrl-C, SIGKILL, the end of input, in that terminal |
//! | `end of NAME` | | the program there ends by itself, and well |

use super::Failure;
use super::pages::TEST_COMMAND;

/// What a page consists of.
#[derive(Debug)]
pub enum Item {
    /// A fenced block.
    Block(Block),
    /// A directive of the walk.
    Directive(Directive),
    /// A line of prose.
    Prose(usize, String),
}

/// A fenced block.
#[derive(Debug)]
pub struct Block {
    /// The line of its fence.
    pub line: usize,
    /// The first word of what follows the fence, `rust` of `rust,no_run`.
    pub kind: String,
    /// Its lines with their numbers.
    pub lines: Vec<(usize, String)>,
}

impl Block {
    fn text(&self) -> String {
        self.lines.iter().map(|(_, line)| format!("{line}\n")).collect()
    }
}

/// A directive of the walk.
#[derive(Debug)]
pub struct Directive {
    /// Where it stands.
    pub line: usize,
    /// What it says.
    pub words: String,
}

/// A command as a reader would paste it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Where it begins.
    pub line: usize,
    /// The command, of several lines where these end with a backslash.
    pub text: String,
}

/// What a page shows, with its first line's number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Where its fence stands.
    pub line: usize,
    /// Its lines with their numbers.
    pub lines: Vec<(usize, String)>,
}

/// How a terminal's program is acted upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Ctrl-C; the program is to end.
    Interrupt,
    /// SIGKILL.
    Kill,
    /// Ctrl-D: the end of input; the program is to end well.
    Close,
    /// Nothing: the program is to end by itself, and well.
    Await,
}

/// What is to be done next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Commands in the reader's terminal; what they print is what is shown, or nothing.
    Run {
        /// The commands.
        commands: Vec<Command>,
        /// What the page shows of it.
        shown: Option<Shown>,
    },
    /// Commands in a terminal of their own, the last of which goes on running.
    Start {
        /// The terminal's name.
        terminal: String,
        /// The commands.
        commands: Vec<Command>,
    },
    /// What appears in a terminal, and what is typed there.
    Talk {
        /// The terminal's name.
        terminal: String,
        /// What is typed, after `> `, and what appears.
        shown: Shown,
    },
    /// A file is written.
    File {
        /// The line of its fence.
        line: usize,
        /// Its path, from where the reader is.
        path: String,
        /// Its content.
        text: String,
    },
    /// A program is made into a package, compiled and run.
    Program {
        /// The line of its fence.
        line: usize,
        /// Its `src/main.rs`.
        text: String,
        /// What it prints.
        shown: Shown,
    },
    /// A terminal's program is ended, or ends.
    Act {
        /// Where it says so.
        line: usize,
        /// How.
        act: Act,
        /// The terminal's name.
        terminal: String,
    },
    /// The test command, which is not run here.
    NotRun {
        /// The command.
        command: Command,
        /// Why.
        reason: String,
    },
}

/// The items of a page.
///
/// # Errors
/// A fence without an end, or of another kind than backticks.
pub fn items(page: &str, text: &str) -> Result<Vec<Item>, Failure> {
    let mut items = Vec::new();
    let mut open: Option<(String, Block)> = None;
    for (number, line) in (1..).zip(text.lines()) {
        let trimmed = line.trim();
        let fence: String = trimmed.chars().take_while(|c| *c == '`').collect();
        if let Some((opened, block)) = &mut open {
            if trimmed == fence && fence.len() >= opened.len() {
                items.extend(open.take().map(|(_, block)| Item::Block(block)));
            } else {
                block.lines.push((number, line.to_owned()));
            }
        } else if fence.len() >= 3 {
            let info = trimmed[fence.len()..].trim();
            let kind = info.split([',', ' ']).next().unwrap_or_default().to_owned();
            open = Some((fence, Block { line: number, kind, lines: Vec::new() }));
        } else if trimmed.starts_with("~~~") {
            return Err(Failure::at(
                page,
                number,
                trimmed,
                "blocks are fenced by backticks",
                "another fence",
            ));
        } else if let Some(words) =
            trimmed.strip_prefix("<!-- walk:").and_then(|rest| rest.strip_suffix("-->"))
        {
            items.push(Item::Directive(Directive { line: number, words: words.trim().to_owned() }));
        } else if trimmed.starts_with("<!-- walk") {
            return Err(Failure::at(page, number, trimmed, "<!-- walk: … --> on one line", "something else"));
        } else {
            items.push(Item::Prose(number, line.to_owned()));
        }
    }
    match open {
        None => Ok(items),
        Some((fence, block)) => {
            Err(Failure::at(page, block.line, &fence, "an end of the block", "the end of the page"))
        }
    }
}

/// The steps that a page asks its reader to take.
///
/// # Errors
/// A block or a directive that the walk does not understand, or that lacks its other half.
pub fn steps(page: &str, text: &str) -> Result<Vec<Step>, Failure> {
    let mut reading = Reading {
        page,
        steps: Vec::new(),
        paragraph: String::new(),
        directive: None,
        program: None,
        after_commands: false,
    };
    for item in items(page, text)? {
        match item {
            Item::Prose(_, line) => {
                reading.no_directive_left()?;
                // An empty line does not yet begin another paragraph: the block may follow it.
                if line.trim().is_empty() {
                    reading.paragraph.push('\n');
                } else if reading.paragraph.ends_with("\n\n") || reading.paragraph.is_empty() {
                    reading.paragraph = line + "\n";
                } else {
                    reading.paragraph += &(line + "\n");
                }
            }
            Item::Directive(directive) => {
                reading.no_directive_left()?;
                reading.directive(directive)?;
            }
            Item::Block(block) => {
                reading.block(block)?;
                reading.paragraph.clear();
            }
        }
    }
    reading.no_directive_left()?;
    match reading.program {
        None => Ok(reading.steps),
        Some((line, _)) => Err(Failure::at(
            page,
            line,
            "a program",
            "a text block that shows what it prints",
            "the end of the page",
        )),
    }
}

/// The commands in the prose of a page: what stands between backticks and begins as a command does.
///
/// # Errors
/// As [`items`].
pub fn commands_in_prose(page: &str, text: &str) -> Result<Vec<Command>, Failure> {
    let mut commands = Vec::new();
    for item in items(page, text)? {
        let Item::Prose(line, prose) = item else { continue };
        let spans = prose.split('`').skip(1).step_by(2);
        let spans = spans.filter(|span| {
            ["cargo ", "curl ", "git ", "bash ", "sh ", "cd "].iter().any(|program| span.starts_with(program))
        });
        commands.extend(spans.map(|span| Command { line, text: span.to_owned() }));
    }
    Ok(commands)
}

/// A page that is being read.
struct Reading<'a> {
    page: &'a str,
    steps: Vec<Step>,
    /// The prose since the last block, its last paragraph.
    paragraph: String,
    /// A directive that awaits its block.
    directive: Option<Directive>,
    /// A program that awaits what it prints: its line and text.
    program: Option<(usize, String)>,
    /// The last block holds commands, so that a text block shows what they print.
    after_commands: bool,
}

impl Reading<'_> {
    fn wrong(&self, line: usize, doing: &str, expected: &str, came: &str) -> Failure {
        Failure::at(self.page, line, doing, expected, came)
    }

    fn no_directive_left(&self) -> Result<(), Failure> {
        match &self.directive {
            None => Ok(()),
            Some(left) => {
                Err(self.wrong(left.line, &left.words, "the block on the next line", "something else"))
            }
        }
    }

    fn directive(&mut self, directive: Directive) -> Result<(), Failure> {
        let words = directive.words.as_str();
        for (verb, act) in [
            ("interrupt ", Act::Interrupt),
            ("kill ", Act::Kill),
            ("close ", Act::Close),
            ("end of ", Act::Await),
        ] {
            if let Some(terminal) = words.strip_prefix(verb) {
                self.steps.push(Step::Act { line: directive.line, act, terminal: terminal.to_owned() });
                return Ok(());
            }
        }
        let known = ["terminal ", "in ", "file ", "not run: "];
        if words != "program" && !known.iter().any(|begin| words.starts_with(begin)) {
            let expected = "a directive that tests/src/walk/page.rs describes";
            return Err(self.wrong(directive.line, words, expected, "an unknown one"));
        }
        self.directive = Some(directive);
        Ok(())
    }

    fn block(&mut self, block: Block) -> Result<(), Failure> {
        let directive = self.directive.take().map(|d| d.words).unwrap_or_default();
        let (verb, rest) = match directive.split_once(' ') {
            Some(("not", rest)) => ("not run", rest.trim_start_matches("run:").trim()),
            Some((verb, rest)) => (verb, rest.trim()),
            None => (directive.as_str(), ""),
        };
        let after_commands =
            std::mem::replace(&mut self.after_commands, block.kind == "sh" && verb != "not run");
        match (block.kind.as_str(), verb) {
            ("sh", "") => {
                let commands = self.commands(&block)?;
                self.steps.push(Step::Run { commands, shown: None });
                Ok(())
            }
            ("sh", "terminal") => {
                let commands = self.commands(&block)?;
                self.steps.push(Step::Start { terminal: rest.to_owned(), commands });
                Ok(())
            }
            ("sh", "not run") => self.not_run(&block, rest),
            ("text", "") => self.shown(Shown { line: block.line, lines: block.lines }, after_commands),
            ("text", "in") => {
                let shown = Shown { line: block.line, lines: block.lines };
                self.steps.push(Step::Talk { terminal: rest.to_owned(), shown });
                Ok(())
            }
            ("rust" | "toml", "file") => self.file(&block, rest),
            ("rust", "program") => {
                self.program = Some((block.line, block.text()));
                Ok(())
            }
            (kind, verb) => Err(self.wrong(
                block.line,
                &format!("a block of kind {kind:?} with the directive {verb:?}"),
                "a kind and a directive that tests/src/walk/page.rs describes",
                "a block of which nobody could say whether it is true",
            )),
        }
    }

    /// What is shown without further words is what the block before it printed, or is to print: a program and the
    /// commands that run it may show the same.
    fn shown(&mut self, shown: Shown, after_commands: bool) -> Result<(), Failure> {
        let program = self.program.take();
        match self.steps.last_mut() {
            Some(Step::Run { shown: none @ None, .. }) if after_commands => *none = Some(shown.clone()),
            Some(Step::Start { terminal, .. }) if after_commands => {
                let terminal = terminal.clone();
                self.steps.push(Step::Talk { terminal, shown: shown.clone() });
            }
            _ if program.is_some() => {}
            _ => {
                let expected = "a block before it that prints it";
                return Err(self.wrong(shown.line, "a text block", expected, "none"));
            }
        }
        if let Some((line, text)) = program {
            self.steps.push(Step::Program { line, text, shown });
        }
        Ok(())
    }

    fn file(&mut self, block: &Block, path: &str) -> Result<(), Failure> {
        if !self.paragraph.contains(&format!("`{path}`")) {
            let expected = format!("`{path}` in the paragraph before the block");
            return Err(self.wrong(block.line, "a file", &expected, self.paragraph.trim()));
        }
        self.steps.push(Step::File { line: block.line, path: path.to_owned(), text: block.text() });
        Ok(())
    }

    fn not_run(&mut self, block: &Block, reason: &str) -> Result<(), Failure> {
        let commands = self.commands(block)?;
        match &commands[..] {
            [command] if command.text == TEST_COMMAND && !reason.is_empty() => {
                self.steps.push(Step::NotRun { command: command.clone(), reason: reason.to_owned() });
                Ok(())
            }
            _ => Err(self.wrong(
                block.line,
                "a block that is not run",
                &format!("commands are run, all but `{TEST_COMMAND}`, which gives its reason"),
                &block.text(),
            )),
        }
    }

    fn commands(&self, block: &Block) -> Result<Vec<Command>, Failure> {
        let mut commands: Vec<Command> = Vec::new();
        let mut unfinished = false;
        for (line, text) in &block.lines {
            if unfinished && let Some(last) = commands.last_mut() {
                last.text += &format!("\n{text}");
            } else if text.trim().is_empty() || text.trim().starts_with('#') {
                continue;
            } else {
                commands.push(Command { line: *line, text: text.clone() });
            }
            unfinished = text.ends_with('\\');
        }
        match commands.is_empty() {
            false => Ok(commands),
            true => Err(self.wrong(block.line, "a block of commands", "commands", "none")),
        }
    }
}
