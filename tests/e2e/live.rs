//! Streams that tell when they have all that was there.

use rdkafka::producer::{BaseRecord, Producer as _};

use crate::support::{Record, SOON, Version, id, kafka, real_kafka, server};

fn live(offsets: &[(i64, i64)]) -> String {
    format!("event:live\ndata:{{}}\nid:{}\n", id(offsets))
}

#[tokio::test]
async fn it_comes_once_behind_what_was_there_to_who_asked() {
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    kafka.produce(&topic, Record::value("1"));
    let server = server(&kafka).run().await;
    for (number, version) in (1..).zip(Version::BOTH) {
        let open = async |path: &str| server.get(path).over(version).open().await;
        let by_query = open(&format!("/all/{topic}?liveEvent=true")).await;
        let mut asked = [by_query, open(&format!("/live/{topic}")).await];
        let mut other = open(&format!("/all/{topic}?liveEvent=yes")).await;
        for stream in &mut asked {
            let told = stream.take(number + 1).await;
            let offset = i64::try_from(number).expect("a small number");
            assert_eq!(told[number], live(&[(0, offset)]), "{version:?}");
            assert!(told[..number].iter().all(|told| told.starts_with("data:")), "{told:?}");
        }
        other.take(number).await;
        kafka.produce(&topic, Record::value("next"));
        for stream in asked.iter_mut().chain([&mut other]) {
            assert!(stream.next().await.starts_with("data:next\n"), "{version:?}");
        }
    }
}

#[tokio::test]
async fn a_filter_that_nothing_passes_is_live() {
    let kafka = kafka().await;
    let topic = kafka.topic(2).await;
    for partition in [0, 1, 0] {
        kafka.produce(&topic, Record::value("x").key("key").partition(partition));
    }
    let server = server(&kafka).run().await;
    let path = format!("/keys/{topic}/none?liveEvent=true");
    let expected = live(&[(0, 2), (1, 1)]);
    assert_eq!(server.get(&path).open().await.next().await, expected);
    // Resumed, too: a stream each.
    let resumed = server.get(&path).last_event_id(id(&[(0, 1), (1, 1)]));
    assert_eq!(resumed.open().await.next().await, expected);
}

#[tokio::test]
async fn a_live_start_is_live_at_once() {
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    kafka.produce(&topic, Record::value("1"));
    let server = server(&kafka).live(&topic).run().await;
    let mut stream = server.get(&format!("/live/{topic}")).open().await;
    assert_eq!(stream.take(2).await, ["id:AQIAAg==\n".to_owned(), live(&[(0, 1)])]);
}

#[tokio::test]
async fn the_markers_of_transactions_hold_up_nobody() {
    let Some(kafka) = real_kafka().await else { return };
    let topic = kafka.topic(1).await;
    let server = server(&kafka).bootstrap(&topic).run().await;
    let path = format!("/live/{topic}");
    let mut early = server.get(&path).open().await;
    assert_eq!(early.next().await, live(&[(0, 0)]));
    let producer = kafka.transactional(&topic);
    for (value, commit) in [("aborted", false), ("committed", true)] {
        producer.begin_transaction().expect("begun");
        producer.send(BaseRecord::<(), str>::to(&topic).partition(0).payload(value)).expect("sent");
        producer.flush(SOON).expect("written");
        let ended = if commit {
            producer.commit_transaction(SOON)
        } else {
            producer.abort_transaction(SOON)
        };
        ended.expect("ended");
    }
    // Offset 0 is the aborted record, 1 its marker, 3 the marker of the other one.
    let committed = format!("data:committed\nid:{}\n", id(&[(0, 3)]));
    assert_eq!(early.next().await, committed);
    let mut late = server.get(&path).open().await;
    assert_eq!(late.take(2).await, [committed, live(&[(0, 4)])]);
    kafka.produce(&topic, Record::value("next"));
    for stream in [&mut early, &mut late] {
        assert_eq!(stream.next().await, format!("data:next\nid:{}\n", id(&[(0, 5)])));
    }
}
