//! Turns commands into tasks.
//!
//! A transaction has the results of some commands, and the offset behind these commands. After a crash, of the
//! processor or of Kafka, there are both or neither, so each command has its result once. Several instances may run:
//! Kafka gives the commands to one of them, and when it gives them to another one, `init_transactions` ends whatever
//! the former has not finished. Then the state is read anew: the topic of the tasks is the only state.
//!
//! Each result also names the offset of its command. So no command is repeated if Kafka has forgotten the offset of
//! the group, which it does after a week without a processor. librdkafka's mock never keeps those of transactions.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{BorrowedMessage, Header, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};
use tracing::{info, warn};

use crate::kafka::{PARTITION, PATIENCE, Reader, config};
use crate::tasks::{self, COMMANDS, Command, Effect, REMEMBERED, State, TASKS};

const POLL: Duration = Duration::from_millis(100);
/// How many commands a transaction has at most.
const BATCH: usize = 500;

/// Processes commands until `stop` is set. After each error it begins anew, as after a crash.
pub(crate) fn run(servers: &str, stop: &AtomicBool) {
    while let Err(error) = process(servers, stop) {
        warn!(%error, "the processor begins anew");
        thread::sleep(Duration::from_secs(1));
    }
}

fn process(servers: &str, stop: &AtomicBool) -> KafkaResult<()> {
    let consumer: BaseConsumer = config(servers)
        .set("group.id", "todo-processor")
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .set("session.timeout.ms", "6000")
        .create()?;
    consumer.subscribe(&[COMMANDS])?;
    let mut turn: Option<Turn> = None;
    while !stop.load(Ordering::Relaxed) {
        let first = consumer.poll(POLL).transpose()?;
        if consumer.assignment()?.count() == 0 {
            turn = None;
            continue;
        }
        let turn = match &mut turn {
            Some(turn) => turn,
            none => none.insert(Turn::begin(servers, &consumer)?),
        };
        let Some(first) = first else { continue };
        let mut commands = vec![first];
        while commands.len() < BATCH
            && let Some(next) = consumer.poll(Duration::ZERO)
        {
            commands.push(next?);
        }
        turn.execute(&consumer, &commands)?;
    }
    Ok(())
}

/// The time in which the commands are this processor's.
struct Turn {
    producer: ThreadedProducer<DefaultProducerContext>,
    state: State,
}

impl Turn {
    fn begin(servers: &str, consumer: &BaseConsumer) -> KafkaResult<Self> {
        let producer: ThreadedProducer<_> = config(servers)
            .set("transactional.id", "todo-processor")
            .set("transaction.timeout.ms", PATIENCE.as_millis().to_string())
            .set("linger.ms", "0")
            .create()?;
        producer.init_transactions(PATIENCE)?;
        // From here on no other processor can write.
        let committed = consumer.committed_offsets(consumer.assignment()?, PATIENCE)?;
        let committed = committed.find_partition(COMMANDS, PARTITION);
        let committed = committed.and_then(|partition| partition.offset().to_raw());

        let mut state = State::default();
        let mut tasks = Reader::new(servers, TASKS, Offset::Beginning)?;
        while !tasks.is_at_end() {
            if let Some(record) = tasks.poll() {
                state.read(&record);
            }
        }
        state.done = state.done.max(committed.unwrap_or(0));
        let remembered = i64::try_from(REMEMBERED).unwrap_or(i64::MAX);
        let from = Offset::Offset((state.done - remembered).max(0));
        let mut commands = Reader::new(servers, COMMANDS, from)?;
        while !commands.is_at_end() {
            match commands.poll() {
                Some(record) if record.offset() < state.done => state.read(&record),
                Some(_) => break,
                None => {}
            }
        }
        info!(tasks = state.len(), done = state.done, "the processor begins");
        Ok(Self { producer, state })
    }

    /// Writes the results of commands, and that these commands are done.
    fn execute(
        &mut self,
        consumer: &BaseConsumer,
        commands: &[BorrowedMessage<'_>],
    ) -> KafkaResult<()> {
        self.producer.begin_transaction()?;
        for record in commands {
            if record.offset() < self.state.done {
                continue;
            }
            match (tasks::id(record), tasks::command(record)) {
                (Some(id), Some(command)) => {
                    let time = record.timestamp().to_millis().unwrap_or_default();
                    let effect = self.state.execute(id, &command, time);
                    self.write(id, &command, record.offset(), &effect)?;
                }
                _ => warn!(offset = record.offset(), "a record is no command"),
            }
            self.state.done = record.offset() + 1;
        }
        let mut done = TopicPartitionList::new();
        done.add_partition_offset(COMMANDS, PARTITION, Offset::Offset(self.state.done))?;
        let group = consumer.group_metadata().ok_or(KafkaError::Canceled)?;
        self.producer.send_offsets_to_transaction(&done, &group, PATIENCE)?;
        self.producer.commit_transaction(PATIENCE)
    }

    fn write(&self, id: &str, command: &Command, offset: i64, effect: &Effect) -> KafkaResult<()> {
        let value = match effect {
            Effect::Put(task) => Some(serde_json::to_vec(task).expect("it has no maps")),
            Effect::Delete => None,
            Effect::Nothing => return Ok(()),
        };
        let header = |key, value| Header { key, value: Some(value) };
        let headers = OwnedHeaders::new()
            .insert(header("etag", &command.idempotency_key))
            .insert(header("owner", &command.owner))
            .insert(header("command", &offset.to_string()));
        let mut record = BaseRecord::<str, [u8]>::to(TASKS).key(id).headers(headers);
        record.payload = value.as_deref();
        self.producer.send(record).map_err(|(error, _)| error)
    }
}
