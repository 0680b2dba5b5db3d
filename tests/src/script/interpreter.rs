//! Carries out the commands of one scenario; `flow` holds those that bring the world forward.

mod flow;

use std::collections::{BTreeMap, BTreeSet};

use openraft_engine::ServerState;

use super::select::{Selector, link};
use super::{change, print};
use crate::world::{Node, Settings, World};

/// The state between two commands.
#[derive(Default)]
pub(super) struct Interpreter {
    world: Option<World>,
    /// Links on which everything is lost.
    cut: BTreeSet<(u64, u64)>,
    held_links: BTreeSet<(u64, u64)>,
    held_disks: BTreeSet<u64>,
    held_machines: BTreeSet<u64>,
    /// How many messages of which kind arrived on which link.
    arrived: BTreeMap<(u64, u64, &'static str), usize>,
    printed: Vec<String>,
}

type Done = Result<(), String>;

impl Interpreter {
    /// Carries out one command. Returns the lines it prints.
    pub(super) fn carry_out(&mut self, command: &str) -> Result<Vec<String>, String> {
        let words: Vec<&str> = command.split_whitespace().collect();
        let (name, rest) = words.split_first().ok_or("an empty command")?;
        self.dispatch(name, rest)?;
        self.work();
        self.take_notes();
        if let Some(world) = &self.world {
            world.check().map_err(|broken| {
                let so_far = self.printed.join("\n  ");
                format!("{broken}, after\n  {so_far}")
            })?;
        }
        Ok(std::mem::take(&mut self.printed))
    }

    fn dispatch(&mut self, name: &str, rest: &[&str]) -> Done {
        match name {
            "cluster" => self.cluster(rest),
            "node" => self.add_node(rest),
            "log" if rest.first().is_some_and(|word| word.ends_with(':')) => self.plant(rest),
            "campaign" => self.campaign(node(rest)?),
            "elect" => self.elect(node(rest)?),
            "fire" => self.fire(node(rest)?),
            "due" => self.due(node(rest)?),
            "sleep" => self.sleep(rest),
            "retry" => self.retry(rest),
            "propose" => self.propose(rest),
            "read" => self.read(rest),
            "lease-read" => self.lease_read(rest),
            "seek-election" => self.seek_election(node(rest)?),
            "forget-leader" => self.forget_leader(node(rest)?),
            "transfer" => self.transfer(rest),
            "member" => self.change(rest),
            "snapshot" => self.snapshot(node(rest)?),
            "deliver" => self.deliver(&Selector::parse(rest)?),
            "drop" => self.lose(&Selector::parse(rest)?),
            "duplicate" => self.repeat(&Selector::parse(rest)?),
            "flush" => self.flush(rest),
            "apply" => self.apply(node(rest)?),
            "crash" => self.crash(rest),
            "restart" => self.restart(node(rest)?),
            "wipe" => self.wipe(node(rest)?),
            "give-up" => self.give_up(rest),
            "partition" => self.partition(rest),
            "cut" => self.links(rest, |this, link| _ = this.cut.insert(link)),
            "heal" => {
                self.cut.clear();
                Ok(())
            }
            "hold" => self.hold(rest, true),
            "release" => self.hold(rest, false),
            "stabilise" => self.stabilise(),
            "advance" => self.advance(rest),
            "run" => self.run(rest),
            "tally" => self.tally(&Selector::parse(rest)?),
            "messages" => {
                let lines = self.world()?.messages().iter().map(ToString::to_string).collect::<Vec<_>>();
                self.printed.extend(lines);
                Ok(())
            }
            "state" => self.print(rest, |node| vec![print::state(node)]),
            "log" => self.print(rest, |node| vec![print::log(node)]),
            "disk" => self.print(rest, print::disk),
            "members" => self.print(rest, |node| vec![print::members(node)]),
            "machine" => self.print(rest, |node| vec![print::machine(node)]),
            "promises" => self.print(rest, |node| vec![print::promise(node)]),
            "progress" => self.print(rest, |node| {
                node.tasks().map(|(to, task)| format!("{} {}", node.id, print::progress(to, task))).collect()
            }),
            _ => Err(format!("there is no command {name}")),
        }
    }

    /// The world as it is, if there is one.
    pub(super) fn into_world(self) -> Option<World> {
        self.world
    }

    fn world(&mut self) -> Result<&mut World, String> {
        self.world.as_mut().ok_or_else(|| "there is no cluster yet".to_owned())
    }

    /// The world, once a command has named it: every command but `cluster` needs it.
    fn formed(&mut self) -> &mut World {
        self.world.as_mut().expect("the command asked for the world first")
    }

    fn ids(&self) -> Vec<u64> {
        self.world.iter().flat_map(|world| world.nodes().keys().copied()).collect()
    }

    fn take_notes(&mut self) {
        if let Some(world) = &mut self.world {
            self.printed.extend(world.take_notes());
        }
    }

    fn cluster(&mut self, words: &[&str]) -> Done {
        let mut settings = Settings::default();
        let mut voters = Vec::new();
        for word in words {
            match word.split_once('=') {
                Some((name, value)) => settings.set(name, value)?,
                None if *word == "bare" => (settings.pre_vote, settings.promises) = (false, false),
                None => voters.push(number(word)?),
            }
        }
        let mut world = World::formed(&voters, settings);
        world.tell();
        *self = Self { world: Some(world), ..Self::default() };
        Ok(())
    }

    fn add_node(&mut self, words: &[&str]) -> Done {
        let [id, "empty"] = words else { return Err("say: node 4 empty".to_owned()) };
        let id = number(id)?;
        self.world()?.add_empty(id);
        Ok(())
    }

    fn plant(&mut self, words: &[&str]) -> Done {
        let id = self.known(words[0].trim_end_matches(':'))?;
        let (terms, term) = match words[1..].iter().position(|word| *word == "term") {
            None => (&words[1..], None),
            Some(at) => (&words[1..at + 1], Some(words.get(at + 2).ok_or("which term?")?)),
        };
        let terms = terms.iter().map(|word| number(word)).collect::<Result<Vec<u64>, _>>()?;
        let term = term.map(|word| number(word)).transpose()?;
        self.world()?.plant(id, &terms, term);
        Ok(())
    }

    fn known(&mut self, word: &str) -> Result<u64, String> {
        let id = number(word)?;
        if self.world()?.nodes().contains_key(&id) { Ok(id) } else { Err(format!("there is no node {id}")) }
    }

    fn role(&mut self, id: u64) -> Result<ServerState, String> {
        let node = self.world()?.nodes().get(&id).ok_or_else(|| format!("there is no node {id}"))?;
        node.engine().map(|engine| engine.role()).ok_or_else(|| format!("{id} is down"))
    }

    fn campaign(&mut self, id: u64) -> Done {
        let before = self.role(id)?;
        if before == ServerState::Leader {
            return Err(format!("{id} leads"));
        }
        let vote = |this: &mut Self| this.formed().nodes()[&id].engine().map(|engine| engine.vote());
        let had = vote(self);
        // A deadline of another kind may come first; it is not what was asked for.
        for _ in 0..16 {
            if !self.formed().fire(id) {
                return Err(format!("{id} waits for no election timeout"));
            }
            let role = self.role(id)?;
            if role != before || vote(self) != had {
                return Ok(());
            }
        }
        self.printed.push(format!("{id} does not campaign"));
        Ok(())
    }

    fn elect(&mut self, id: u64) -> Done {
        self.campaign(id)?;
        self.stabilise()?;
        self.take_notes();
        // How an election goes is told elsewhere.
        let won = format!("{id} leads, ");
        self.printed.retain(|line| line.starts_with(&won));
        if self.role(id)? == ServerState::Leader { Ok(()) } else { Err(format!("{id} was not elected")) }
    }

    fn fire(&mut self, id: u64) -> Done {
        if self.world()?.fire(id) { Ok(()) } else { Err(format!("{id} waits for no deadline")) }
    }

    fn due(&mut self, id: u64) -> Done {
        if self.world()?.due(id) { Ok(()) } else { Err(format!("{id}'s engine waits for no deadline")) }
    }

    fn propose(&mut self, words: &[&str]) -> Done {
        let (id, texts) = words.split_first().ok_or("propose where?")?;
        if texts.is_empty() {
            return Err("propose what?".to_owned());
        }
        let id = self.known(id)?;
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        let line = match self.formed().propose(id, &texts) {
            Ok(last) => format!("{id} takes {} up to {last}", texts.join(" ")),
            Err(refused) => format!("{id} does not take {}: {refused}", texts.join(" ")),
        };
        self.printed.push(line);
        Ok(())
    }

    fn read(&mut self, words: &[&str]) -> Done {
        let [id, name] = words else { return Err("say: read 1 r".to_owned()) };
        let id = self.known(id)?;
        self.formed().read(id, name);
        Ok(())
    }

    fn lease_read(&mut self, words: &[&str]) -> Done {
        let [id, name] = words else { return Err("say: lease-read 1 r".to_owned()) };
        let id = self.known(id)?;
        self.formed().read_lease(id, name);
        Ok(())
    }

    fn seek_election(&mut self, id: u64) -> Done {
        if !self.world()?.trigger_elect(id) {
            self.printed.push(format!("{id} may not campaign"));
        }
        Ok(())
    }

    fn forget_leader(&mut self, id: u64) -> Done {
        if !self.world()?.forget_leader(id) {
            self.printed.push(format!("{id} knows of no other leader"));
        }
        Ok(())
    }

    fn transfer(&mut self, words: &[&str]) -> Done {
        let (id, to) = match words {
            [id] => (self.known(id)?, None),
            [id, "to", to] => (self.known(id)?, Some(number(to)?)),
            _ => return Err("say: transfer 1 to 2".to_owned()),
        };
        self.formed().transfer(id, to);
        Ok(())
    }

    fn change(&mut self, words: &[&str]) -> Done {
        let (id, rest) = words.split_first().ok_or("say: member 1 add 4")?;
        let id = self.known(id)?;
        let asked = change::parse(rest, self.formed())?;
        self.formed().change(id, &asked.change, &asked.preconditions);
        Ok(())
    }

    fn snapshot(&mut self, id: u64) -> Done {
        if !self.world()?.snapshot(id) {
            self.printed.push(format!("{id} builds none: nothing new, or one is under way"));
        }
        Ok(())
    }

    fn flush(&mut self, words: &[&str]) -> Done {
        match words {
            ["all"] => {
                self.world()?;
                for id in self.ids() {
                    self.formed().flush(id, usize::MAX);
                }
                return Ok(());
            }
            [id] => {
                let id = self.known(id)?;
                self.formed().flush(id, usize::MAX);
            }
            [id, count] => {
                let (id, count) = (self.known(id)?, number(count)? as usize);
                self.formed().flush(id, count);
            }
            _ => return Err("say: flush 1, flush 1 2 or flush all".to_owned()),
        }
        Ok(())
    }

    fn apply(&mut self, id: u64) -> Done {
        if self.world()?.work(id) { Ok(()) } else { Err(format!("{id}'s state machine has nothing to do")) }
    }

    fn crash(&mut self, words: &[&str]) -> Done {
        let (id, kept) = match words {
            [id] => (self.known(id)?, 0),
            [id, "keep", kept] => (self.known(id)?, number(kept)? as usize),
            _ => return Err("say: crash 1 keep 2".to_owned()),
        };
        self.formed().crash(id, kept);
        Ok(())
    }

    fn restart(&mut self, id: u64) -> Done {
        if self.world()?.restart(id) { Ok(()) } else { Err(format!("{id} is not down")) }
    }

    fn wipe(&mut self, id: u64) -> Done {
        self.known(&id.to_string())?;
        self.formed().wipe(id);
        Ok(())
    }

    fn give_up(&mut self, words: &[&str]) -> Done {
        let [word] = words else { return Err("say: give-up 1->2".to_owned()) };
        let (from, to) = link(word)?;
        if self.world()?.give_up(from, to) {
            Ok(())
        } else {
            Err(format!("{from} does not replicate to {to}"))
        }
    }

    fn retry(&mut self, words: &[&str]) -> Done {
        let [word] = words else { return Err("say: retry 1->2".to_owned()) };
        let (from, to) = link(word)?;
        if self.world()?.retry(from, to) { Ok(()) } else { Err(format!("{from} does not pause before {to}")) }
    }

    fn tally(&mut self, selector: &Selector) -> Done {
        let arrived = std::mem::take(&mut self.arrived);
        for ((from, to, kind), count) in arrived {
            if selector.fits(from, to, kind) {
                self.printed.push(format!("{from}->{to} {kind}: {count}"));
            }
        }
        Ok(())
    }

    fn print(&mut self, words: &[&str], lines: impl Fn(&Node) -> Vec<String>) -> Done {
        let ids = match words {
            [] => self.ids(),
            words => words.iter().map(|word| self.known(word)).collect::<Result<_, _>>()?,
        };
        for id in ids {
            let printed = lines(&self.world()?.nodes()[&id]);
            self.printed.extend(printed);
        }
        Ok(())
    }
}

fn number(word: &str) -> Result<u64, String> {
    word.parse().map_err(|_| format!("{word} is no number"))
}

/// The only word, a node.
fn node(words: &[&str]) -> Result<u64, String> {
    let [word] = words else { return Err("this takes one node".to_owned()) };
    number(word)
}
