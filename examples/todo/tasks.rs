//! Tasks, the commands that change them, and how both are written into topics.
//!
//! The etag of a task is the idempotency key of the command that made it what it is. So whoever sends a command knows
//! the etag that shows its success, and a command that is repeated has no second effect.

use std::collections::{HashMap, VecDeque};

use rdkafka::Message;
use rdkafka::message::Headers as _;
use serde::{Deserialize, Serialize};

/// What tasks are: a compacted topic, the latest record of each task under its id.
pub(crate) const TASKS: &str = "tasks";
/// What was asked for: the commands under the id of their task.
pub(crate) const COMMANDS: &str = "task-commands";

/// A command that is repeated is recognized among this many that came last.
pub(crate) const REMEMBERED: usize = 10_000;

/// What a client says of a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Content {
    pub(crate) title: String,
    #[serde(default)]
    pub(crate) completed: bool,
}

/// The value of a record of [`TASKS`], and the headers of the record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Task {
    #[serde(flatten)]
    pub(crate) content: Content,
    /// The time of the first command, in milliseconds since 1970.
    pub(crate) created: i64,
    #[serde(skip)]
    pub(crate) etag: String,
    /// The user, or nothing where all users share their tasks.
    #[serde(skip)]
    pub(crate) owner: String,
}

/// The value of a record of [`COMMANDS`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Command {
    pub(crate) idempotency_key: String,
    pub(crate) owner: String,
    pub(crate) action: Action,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Action {
    Create { content: Content },
    Replace { if_match: String, content: Content },
    Delete { if_match: String },
}

/// What to write for a command: the task under its id, or a tombstone.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Put(Task),
    Delete,
    /// The task has changed, is not there, belongs to somebody else, or the command was here before.
    Nothing,
}

/// What is in both topics: all tasks, and the last commands.
#[derive(Debug, Default)]
pub(crate) struct State {
    tasks: HashMap<String, Task>,
    commands: HashMap<(String, String), (String, Action)>,
    order: VecDeque<(String, String)>,
    /// The offset behind the last command that had a result.
    pub(crate) done: i64,
}

impl State {
    /// A task, if it is there and belongs to this user.
    pub(crate) fn task(&self, id: &str, owner: &str) -> Option<&Task> {
        self.tasks.get(id).filter(|task| task.owner == owner)
    }

    pub(crate) fn len(&self) -> usize {
        self.tasks.len()
    }

    /// What a user asked for by an idempotency key: the id of the task, and the action.
    pub(crate) fn command(&self, owner: &str, idempotency_key: &str) -> Option<&(String, Action)> {
        self.commands.get(&(owner.to_owned(), idempotency_key.to_owned()))
    }

    /// Decides about a command that was written at this time, and takes its effect.
    pub(crate) fn execute(&mut self, id: &str, command: &Command, time: i64) -> Effect {
        let is_new = self.remember(id, command);
        let task = self.tasks.get(id);
        let current = self.task(id, &command.owner);
        let put = |content: &Content, created| Task {
            content: content.clone(),
            created,
            etag: command.idempotency_key.clone(),
            owner: command.owner.clone(),
        };
        let effect = match (&command.action, current) {
            _ if !is_new => Effect::Nothing,
            (Action::Create { content }, None) if task.is_none() => Effect::Put(put(content, time)),
            (Action::Replace { if_match, content }, Some(task)) if task.etag == *if_match => {
                Effect::Put(put(content, task.created))
            }
            (Action::Delete { if_match }, Some(task)) if task.etag == *if_match => Effect::Delete,
            _ => Effect::Nothing,
        };
        match &effect {
            Effect::Put(task) => drop(self.tasks.insert(id.to_owned(), task.clone())),
            Effect::Delete => drop(self.tasks.remove(id)),
            Effect::Nothing => {}
        }
        effect
    }

    /// Remembers a command; whether it is the first one of its key.
    pub(crate) fn remember(&mut self, id: &str, command: &Command) -> bool {
        let key = (command.owner.clone(), command.idempotency_key.clone());
        if self.commands.contains_key(&key) {
            return false;
        }
        self.commands.insert(key.clone(), (id.to_owned(), command.action.clone()));
        self.order.push_back(key);
        if self.order.len() > REMEMBERED {
            self.order.pop_front().map(|oldest| self.commands.remove(&oldest));
        }
        true
    }

    /// Takes a record of one of the topics, each read in order.
    pub(crate) fn read(&mut self, record: &impl Message) {
        let Some((id, value)) = id(record).map(|id| (id.to_owned(), record.payload())) else {
            return;
        };
        if record.topic() == COMMANDS {
            if let Some(command) = command(record) {
                self.remember(&id, &command);
            }
            return;
        }
        let command: Option<i64> = header(record, "command").parse().ok();
        self.done = self.done.max(command.map_or(0, |offset| offset + 1));
        if let Some(task) = value.and_then(|value| serde_json::from_slice(value).ok()) {
            let (etag, owner) = (header(record, "etag"), header(record, "owner"));
            self.tasks.insert(id, Task { etag, owner, ..task });
        } else {
            self.tasks.remove(&id);
        }
    }
}

/// The id of the task that a record is of.
pub(crate) fn id(record: &impl Message) -> Option<&str> {
    record.key().and_then(|key| str::from_utf8(key).ok())
}

/// The command of a record of [`COMMANDS`].
pub(crate) fn command(record: &impl Message) -> Option<Command> {
    record.payload().and_then(|value| serde_json::from_slice(value).ok())
}

fn header(record: &impl Message, name: &str) -> String {
    let mut headers = record.headers().into_iter().flat_map(|headers| headers.iter());
    let value = headers.find(|header| header.key == name).and_then(|header| header.value);
    String::from_utf8_lossy(value.unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(title: &str) -> Content {
        Content { title: title.to_owned(), completed: false }
    }

    fn create(key: &str, owner: &str) -> Command {
        let action = Action::Create { content: content("a") };
        Command { idempotency_key: key.to_owned(), owner: owner.to_owned(), action }
    }

    fn replace(key: &str, owner: &str, if_match: &str) -> Command {
        let action = Action::Replace { if_match: if_match.to_owned(), content: content("b") };
        Command { idempotency_key: key.to_owned(), owner: owner.to_owned(), action }
    }

    fn delete(key: &str, owner: &str, if_match: &str) -> Command {
        let action = Action::Delete { if_match: if_match.to_owned() };
        Command { idempotency_key: key.to_owned(), owner: owner.to_owned(), action }
    }

    #[test]
    fn a_command_has_an_effect_only_on_the_task_that_its_sender_has_seen() {
        let mut state = State::default();
        let Effect::Put(task) = state.execute("t", &create("k1", "ada"), 1) else { panic!() };
        assert_eq!((&*task.etag, &*task.owner), ("k1", "ada"));
        for (why, command) in [
            ("it is there", create("k2", "ada")),
            ("it is there, and somebody else's", create("k2", "bob")),
            ("it has another etag", replace("k3", "ada", "k0")),
            ("it is somebody else's", replace("k4", "bob", "k1")),
            ("it has another etag", delete("k5", "ada", "k0")),
            ("it is somebody else's", delete("k6", "bob", "k1")),
        ] {
            assert_eq!(state.execute("t", &command, 1), Effect::Nothing, "{why}");
            assert_eq!(state.task("t", "ada"), Some(&task), "{why}");
        }
        let Effect::Put(task) = state.execute("t", &replace("k7", "ada", "k1"), 2) else {
            panic!()
        };
        assert_eq!((&*task.content.title, task.created, &*task.etag), ("b", 1, "k7"));
        assert_eq!(state.execute("t", &delete("k8", "ada", "k7"), 1), Effect::Delete);
        assert_eq!(state.execute("t", &replace("k9", "ada", "k7"), 1), Effect::Nothing);
    }

    #[test]
    fn a_repeated_command_has_no_second_effect() {
        let mut state = State::default();
        state.execute("t", &create("k1", "ada"), 1);
        state.execute("t", &delete("k2", "ada", "k1"), 1);
        // Without its key, the task would be there again.
        assert_eq!(state.execute("t", &create("k1", "ada"), 1), Effect::Nothing);
        // Keys of different users are different keys.
        assert!(matches!(state.execute("t", &create("k1", "bob"), 1), Effect::Put(_)));
    }

    #[test]
    fn the_last_ten_thousand_commands_are_remembered() {
        let mut state = State::default();
        for number in 0..=REMEMBERED {
            assert!(state.remember("t", &create(&number.to_string(), "ada")));
        }
        assert_eq!((state.commands.len(), state.order.len()), (REMEMBERED, REMEMBERED));
        assert_eq!(state.command("ada", "0"), None);
        assert!(!state.remember("t", &create("1", "ada")), "the oldest that is remembered");
        assert!(state.remember("t", &create("0", "ada")));
    }
}
